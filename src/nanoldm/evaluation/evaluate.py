"""Evaluation: a model, or a file of samples -> a report with metrics, intervals and floors."""

import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from nanoldm import __version__
from nanoldm.data import ImageSet
from nanoldm.diffusion import LOG_SNRS
from nanoldm.evaluation import metrics
from nanoldm.evaluation.class_scores import check_labels, class_scores, labelled
from nanoldm.evaluation.features import check_fit
from nanoldm.evaluation.intervals import BATCHES, check_count, shuffled, with_intervals
from nanoldm.evaluation.judge import NOISE, Judge, Observed
from nanoldm.evaluation.reference import (
    DEFAULT_REFERENCE,
    RealImages,
    Reference,
    as_model,
    results_folder,
)
from nanoldm.evaluation.report import EQUAL, table, write_html
from nanoldm.evaluation.samples import SampleFile, SampleSet
from nanoldm.pipeline.folders import DEFAULT_MODEL, METRICS_FILE, find_model, read_metrics
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.distributed import from_main
from nanoldm.utils.files import digest, write_json
from nanoldm.utils.images import to_bytes, to_float
from nanoldm.utils.ranges import seed_range
from nanoldm.utils.seeding import Stream
from nanoldm.utils.text import duration

LATENTS = 1000  # as many as the training encodes at a time: the same rounding
Columns = dict[str, tuple[int, dict[str, float]]]  # name -> (number of images, their metrics)


def evaluate(model: str | Path | LatentDiffusion | None = None,
             reference: Reference = DEFAULT_REFERENCE, *, samples: Path | None = None,
             n: int = 10_000, seed: int = 0, settings: Sampling | None = None,
             out: Path | None = None) -> dict[str, Any]:
    """Evaluate `n` images of `model` with seeds from `seed` on, or the `samples` of an .npz file.

    model: default `DEFAULT_MODEL`. Given with `samples`, its autoencoder and denoiser are measured.
    settings: how images are generated (default: the model's own).
    Writes report.json, report.html, pictures and samples to `out` (default: evaluation/NAME).
    Returns the content of report.json, a pure function of the arguments. Several processes share
    the generation (`utils.distributed`); rank 0 measures.
    Raises InputError for files, names and sizes that do not fit.
    """
    if model is None and samples is None:
        model = DEFAULT_MODEL
    model = None if model is None else as_model(model)
    name = model and model.name
    out = results_folder("evaluation", samples.stem if samples else name, out)
    seeds, real = seed_range(n, seed), reference.load(name)
    source = (fitting_file(samples, real) if samples
              else new_samples(model, out / "samples.npz", seeds, settings, real))
    check_count(len(source))
    # Before it starts, also into a file
    from_main(lambda: print(*source.announcement(), sep="\n", flush=True))
    began, images = time.monotonic(), source.image_set()

    def measure() -> dict[str, Any]:
        report = write_report(out, real, source, images, model, seed)
        spent = duration(time.monotonic() - began)
        print(f"{table(report)}\nwrote report.html and report.json to {out}, in {spent}")
        return report

    return from_main(measure)


def fitting_file(file: Path, real: RealImages) -> SampleFile:
    """The samples in `file`. Raises InputError unless sizes and labels are those of real images."""
    samples = SampleFile(file)
    check_fit(real.features, samples.images.images, real.data.name)
    check_labels(samples.images.labels, real.train, real.test,
                 "leave out `labels`, or give features of the data that they belong to")
    return samples


def new_samples(model: LatentDiffusion, file: Path, seeds: range, settings: Sampling | None,
                real: RealImages) -> SampleSet:
    """The samples of a model. Raises InputError for classes that labelled data does not have."""
    samples = SampleSet(model, file, seeds, settings)
    if labelled(real.train, real.test):
        check_labels(torch.tensor([*samples.labels.values()]), real.train, real.test,
                     "give features and data that the model belongs to")
    return samples


def write_report(out: Path, real: RealImages, source: SampleFile | SampleSet, images: ImageSet,
                 model: LatentDiffusion | None, seed: int) -> dict[str, Any]:
    """Measure the images of a source, and write report.json and report.html."""
    judge = real.judge()
    observed = judge.observe(images.images)
    name = model and model.name
    records = read_metrics(find_model(name) / METRICS_FILE) if name else []
    columns, found = comparisons(judge, observed, seed), {}
    if model:
        columns["reconstructions"], found = measure_model(judge, model, records)
    if (images.labels >= 0).all() and labelled(real.train, real.test):
        device = model.device if model else "cpu"
        found["class_conditional"] = class_scores(judge, images, observed, seed, device)
    facts = {"images": len(images), "images_sha256": digest({"images": images.images})}
    report = {"nanoldm": __version__, "judged": {"model": name, **source.facts(), **facts},
              "data": real.data.model_dump(), "features": real.features.facts, "batches": BATCHES,
              "counts": {name: count for name, (count, _) in columns.items()},
              "class_names": real.train.class_names, "metrics": tabulate(judge, observed, columns),
              **histograms({"samples": observed, "test set": judge.test}), **found}
    write_json(out / "report.json", report)
    write_html(out, report, images.images, judge, observed, records)
    return report


def comparisons(judge: Judge, observed: Observed, seed: int) -> Columns:
    """The samples and the floors; equal numbers of both if there are too few real images."""
    count, real = len(observed), judge.real_count(len(observed))
    sizes = {"real images": real, "test set": len(judge.test), "noise": min(count, NOISE)}
    floors = judge.floors(count, seed)
    columns = {name: (size, floors[name]) for name, size in sizes.items()}
    if real < count:  # metrics of different N must not be compared
        part = observed[shuffled(count, Stream.EQUAL)[:real]]
        columns[EQUAL] = (real, judge.summarise(part))
    return columns


def tabulate(judge: Judge, observed: Observed, columns: Columns) -> dict[str, dict[str, float]]:
    """{metric: {"value": ..., "interval": ..., column: ...}}"""
    return {name: found | {column: of[name] for column, (_, of) in columns.items() if name in of}
            for name, found in with_intervals(judge, observed).items()}


def measure_model(judge: Judge, model: LatentDiffusion, records: list[dict[str, Any]]
                  ) -> tuple[tuple[int, dict[str, float]], dict[str, Any]]:
    """The column "reconstructions", and errors of the autoencoder and the denoiser."""
    images, labels = to_float(judge.test_set.images), judge.test_set.labels
    copies = model.reconstruct(images)
    column = judge.summarise(judge.observe(to_bytes(copies), "reconstructions"))
    errors = {"mean_squared_error": F.mse_loss(copies, images).item(),
              "cross_entropy": F.binary_cross_entropy(copies, images).item()}
    found = {"reconstruction": errors}
    if not model.student:  # which knows few noise levels
        latents = model.encode(images[:LATENTS])
        own = model.denoising_error(latents, labels)
        found["denoising_error"] = {"log_snr": list(LOG_SNRS), "EMA weights": own} | raw(records)
    return (len(images), column), found


def raw(records: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The denoising error of the weights without EMA, if the log has it."""
    logged = [record["denoising_error"] for record in records if "denoising_error" in record]
    known = logged and isinstance(logged[-1], list) and len(logged[-1]) == len(LOG_SNRS)
    return {"raw weights": logged[-1]} if known else {}


def histograms(observed: dict[str, Observed]) -> dict[str, Any]:
    """{"histogram": {name: share of each class}}; {} without a classifier."""
    found = {name: metrics.histogram(seen.probabilities["classifier"]).tolist()
             for name, seen in observed.items() if "classifier" in seen.probabilities}
    return {"histogram": found} if found else {}
