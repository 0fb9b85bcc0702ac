"""A model, or a file of samples, in; a report with floors and intervals out."""

import time
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from nanoldm import __version__
from nanoldm.cli.use import count_steps
from nanoldm.data import ImageSet
from nanoldm.data.npz import load_images
from nanoldm.diffusion import LOG_SNRS
from nanoldm.evaluation import metrics
from nanoldm.evaluation.feature_training import BATCH_SIZE, train_network
from nanoldm.evaluation.features import Features, check_fit, images_to_judge, load_features
from nanoldm.evaluation.judge import NOISE, Judge, Observed
from nanoldm.evaluation.report import EQUAL, table, write_html
from nanoldm.evaluation.samples import Drawing
from nanoldm.experiments.stages import encode, proxy_errors
from nanoldm.pipeline.fast import usual
from nanoldm.pipeline.folders import DEFAULT_MODEL, find_model, read_metrics
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.training.batches import epoch_length
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import digest, write_json
from nanoldm.utils.images import to_bytes, to_float
from nanoldm.utils.paths import check_folder
from nanoldm.utils.ranges import seed_range
from nanoldm.utils.seeding import generator
from nanoldm.utils.text import duration

BATCHES, QUANTILE = 10, 2.262       # disjoint batches, and the 97.5 % quantile of Student's t with 9 degrees of freedom
FEWEST = 20                         # samples: two in each batch
SCORE_STEPS, SCORE_WIDTH = 500, 16  # of the small network behind the classification accuracy score


def evaluate(model: str | Path | None = None, *, samples: Path | None = None, n: int = 10_000, seed: int = 0,
             sampling: Sampling | None = None, features: str | Path | Features = "digits-v1", out: Path | None = None,
             device: torch.device | str = "cpu", compiled: bool = False, data: str | None = None) -> dict[str, Any]:
    """Judge `n` images that `model` draws with seeds seed ... seed + n - 1, or the ready `samples` of an .npz file.

    sampling: how they are drawn (default: all steps of the default sampler; the few-step setting for models of fast recipes).
    compiled: draw through torch.compile, which pays from some thousand images on. data: measure by these images instead of those that the
    model, or without a model the feature networks, were trained on.
    Writes report.json, report.html, the pictures in it and the samples drawn to the folder `out` (default: evaluation/NAME), and
    returns the content of report.json, which is a pure function of the arguments. A model given together with `samples` is judged
    by them, and its autoencoder and proxy are measured too.
    Raises InputError for files, names and sizes that do not fit.
    """
    model = DEFAULT_MODEL if model is None and samples is None else model
    judges = load_features(features)
    pipeline = None if model is None else LatentDiffusion.from_pretrained(model, device)
    if pipeline and compiled:
        pipeline.compile()
    out = out or Path("evaluation") / (samples.stem if samples else Path(model).resolve().name)
    check_folder(out)
    seeds = seed_range(n, seed)
    given = load_images(samples) if samples else None
    drawing = None if given else Drawing(pipeline, out / "samples.npz", seeds, sampling or usual(model, Sampling()))
    count = len(given) if given else n
    check_count(count)
    data, train, test = images_to_judge(judges, model, data)
    if given:
        check_fit(judges, given.images, data.name)
    if given and (given.labels >= 0).all():
        check_labels(given, train, test)
    if drawing:
        count_steps(pipeline, drawing.sampling)
    for line in drawing.announce() if drawing else [f"judging {count:,} images of {samples}"]:
        print(line, flush=True)     # before it starts, also into a file
    began = time.monotonic()
    judge = Judge(judges, train, test, progress=True)
    drawn = given or ImageSet(drawing.images(), drawing.labels())
    observed = judge.observe(drawn.images)
    count, records = len(drawn.images), []
    columns = {"samples": judge.summarise(observed), **judge.floors(count, seed)}
    counts = {"samples": count, "real images": judge.real_count(count), "test set": len(test), "noise": min(count, NOISE)}
    if counts["real images"] < count:       # figures of different N must not be compared
        counts[EQUAL] = counts["real images"]
        columns[EQUAL] = judge.summarise(observed[shuffled(count, 4)[: counts[EQUAL]]])
    report: dict[str, Any] = {
        "nanoldm": __version__,
        "judged": {"model": str(model) if model else None, "file": str(samples) if samples else None, "images": count,
                   "images_sha256": digest({"images": drawn.images})} | (drawing.facts() if drawing else {}),
        "data": data.model_dump(), "features": judges.facts, "batches": BATCHES,
        "counts": counts, "class_names": train.class_names}
    if pipeline:
        columns["reconstructions"], report["reconstruction"] = reconstruction(judge, pipeline, test)
        counts["reconstructions"] = len(test)
        records = read_metrics(find_model(model) / "metrics.jsonl")
        report["proxy"] = proxies(pipeline, records, test)
    report["measures"] = {name: {"value": value, "interval": interval}
                          | {column: figures[name] for column, figures in columns.items() if column != "samples" and name in figures}
                          for (name, value), interval in zip(columns["samples"].items(), intervals(judge, observed), strict=True)}
    if "classifier" in judge.networks:
        report["histogram"] = {name: metrics.histogram(seen.probabilities["classifier"]).tolist()
                               for name, seen in {"samples": observed, "test set": judge.test}.items()}
    if (drawn.labels >= 0).all() and (given or labelled(train, test)):
        report["class_conditional"] = class_conditional(judge, drawn, observed, seed, device)
    write_json(out / "report.json", report)
    write_html(out, report, drawn.images, judge, observed, records)
    print(table(report))
    print(f"wrote {out / 'report.html'} and report.json beside it, in {duration(time.monotonic() - began)}")
    return report


def check_count(count: int) -> None:
    """Raise InputError for fewer images than intervals can be told from."""
    if count < FEWEST:
        raise InputError(f"{count} images are too few to judge: at least {FEWEST} are needed, and figures settle at 10,000")


def intervals(judge: Judge, observed: Observed, leave_out: tuple[str, ...] = ()) -> list[float]:
    """Half the width of a 95 % interval for each measure, from its spread over disjoint batches of the samples.

    t s / sqrt(batches), with s the standard deviation between the batches' figures. The batches are drawn at random. A small batch has the
    same upward bias as every other one, which leaves the spread alone; a bootstrap would draw images twice and move the distance itself.
    """
    order = shuffled(len(observed), 3)
    parts = [judge.summarise(observed[part], leave_out) for part in order.tensor_split(BATCHES)]
    spread = torch.tensor([list(part.values()) for part in parts], dtype=torch.float64).std(0)
    return (QUANTILE * spread / len(parts) ** 0.5).tolist()


def shuffled(count: int, stream: int) -> torch.Tensor:
    """The numbers of `count` samples in an order drawn at random, always the same: a file of samples may be sorted."""
    return torch.randperm(count, generator=generator(0, 0, stream))


def reconstruction(judge: Judge, pipeline: LatentDiffusion, test: ImageSet) -> tuple[dict[str, float], dict[str, float]]:
    """Measures of decode(encode(test)), and its error per pixel: what the autoencoder costs before any diffusion."""
    images, copies = to_float(test.images), pipeline.reconstruct(to_float(test.images))
    errors = {"mean_squared_error": F.mse_loss(copies, images).item(), "cross_entropy": F.binary_cross_entropy(copies, images).item()}
    return judge.summarise(judge.observe(to_bytes(copies), "reconstructions")), errors


def proxies(pipeline: LatentDiffusion, records: list[dict[str, Any]], test: ImageSet) -> dict[str, Any]:
    """The proxy of the model (its EMA weights), and of the raw weights as the end of the training logged it in `records`."""
    latents = encode(pipeline.autoencoder, test.images[:1000])
    found: dict[str, Any] = {"log_snr": list(LOG_SNRS),
                             "EMA weights": proxy_errors(pipeline.denoiser, latents, test.labels, pipeline.clip_sample_range)}
    logged = [record["proxy"] for record in records if isinstance(record.get("proxy"), list) and len(record["proxy"]) == len(LOG_SNRS)]
    return found | ({"raw weights": logged[-1]} if logged else {})


def class_count(train: ImageSet, test: ImageSet) -> int:
    """How many classes the data has; a class may be missing from one of the two sets."""
    return int(max(train.labels.max(), test.labels.max())) + 1


def labelled(train: ImageSet, test: ImageSet) -> bool:
    """Whether there are classes to be told apart, and every real image has one."""
    return class_count(train, test) > 1 and bool((train.labels >= 0).all() and (test.labels >= 0).all())


def check_labels(given: ImageSet, train: ImageSet, test: ImageSet) -> None:
    """Raise InputError if the labels of ready samples cannot be those of the data."""
    classes = class_count(train, test)
    if not labelled(train, test) or int(given.labels.max()) >= classes:
        raise InputError(f"the samples have labels up to {int(given.labels.max())}, the data has classes 0 to {classes - 1}: "
                         "leave out `labels`, or name the data they belong to by --features")


def class_conditional(judge: Judge, drawn: ImageSet, observed: Observed, seed: int, device: torch.device | str) -> dict[str, Any]:
    """Do labelled samples show what their labels say, and can a network learn the classes from them?

    Classification accuracy score (Ravuri and Vinyals 2019, arXiv 1905.10887): a small network trained on the labelled samples alone,
    tested on the real test set; beside it the same network trained on as many real images (of a training set that has fewer, on all of
    them, and on as many samples).
    """
    classes = class_count(judge.train_set, judge.test_set)
    order = torch.randperm(len(judge.train_set), generator=generator(seed, 0, 2))[: len(drawn)]
    found: dict[str, Any] = {}
    as_many = drawn.select(shuffled(len(drawn), 5)[: len(order)])
    for name, images in {"samples": as_many, "real images": judge.train_set.select(order)}.items():
        epochs = SCORE_STEPS / epoch_length(len(images), BATCH_SIZE)
        network = train_network(images, epochs=epochs, width=SCORE_WIDTH, seed=seed, device=device, classes=classes,
                                name=f"score of {name}")
        predicted = metrics.extract(network, judge.test_set.images)[1].argmax(1)
        found[f"score, {name}"] = (predicted == judge.test_set.labels).double().mean().item()
        found[f"score by class, {name}"] = metrics.class_accuracy(predicted, judge.test_set.labels, classes)
    if "classifier" in judge.networks:
        predicted = observed.probabilities["classifier"].argmax(1)
        found["accuracy"] = (predicted == drawn.labels).double().mean().item()
        found["accuracy by class"] = metrics.class_accuracy(predicted, drawn.labels, classes)
    return found
