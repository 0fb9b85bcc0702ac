"""Comparison of samplers: which settings need the fewest network evaluations (NFE)?"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from nanoldm import __version__
from nanoldm.evaluation.candidates import DEFAULT_CANDIDATES, MOST_NFE, Candidates
from nanoldm.evaluation.compare_report import chart, distance, metric_of, table
from nanoldm.evaluation.intervals import BATCHES, check_count, with_intervals
from nanoldm.evaluation.judge import Judge
from nanoldm.evaluation.reference import DEFAULT_REFERENCE, Reference, as_model, results_folder
from nanoldm.evaluation.samples import SampleSet, seconds
from nanoldm.pipeline.folders import BUNDLED, DEFAULT_MODEL, SAMPLING, find_model
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling, default_settings, save_settings
from nanoldm.utils import images as pictures
from nanoldm.utils.distributed import from_main
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import write_json
from nanoldm.utils.paths import check_target
from nanoldm.utils.ranges import seed_range
from nanoldm.utils.seeding import Stream, generator
from nanoldm.utils.text import duration, shell

RULE = (f"the fewest NFE, at most {MOST_NFE}, with a Frechet distance that is not above that of "
        "the baseline by more than its interval (of several, the nearest); if there are none, "
        f"the nearest of at most {MOST_NFE} NFE")
Row = dict[str, Any]


def compare(model: str | Path | LatentDiffusion = DEFAULT_MODEL,
            reference: Reference = DEFAULT_REFERENCE, candidates: Candidates = DEFAULT_CANDIDATES,
            *, n: int = 1000, seed: int = 0, save: bool = False,
            out: Path | None = None) -> dict[str, Any]:
    """Evaluate `n` images, with seeds from `seed` on, of each of the `candidates`.

    They are compared with all steps of the default sampler. RULE selects `chosen` of the report;
    `save` stores it as the model's own settings.
    Writes compare.json, compare.png and samples to `out` (default: compare/NAME); reuses samples.
    Returns the content of compare.json, a pure function of the arguments. Several processes share
    the generation (`utils.distributed`); rank 0 measures. Raises InputError.
    """
    model = as_model(model)
    out = results_folder("compare", model.name, out)
    check_count(n)
    if save:
        check_saving(model.name, candidates.nfe)
    sets = sample_sets(model, candidates, seed_range(n, seed), out / "samples")
    real = reference.load(model.name)
    from_main(lambda: print(announcement(sets), flush=True))  # before it starts, also into a file
    began = time.monotonic()
    images = [each.images(f"{k} of {len(sets)}: {caption(each)}")
              for k, each in enumerate(sets, 1)]

    def measure() -> dict[str, Any]:
        judge = real.judge()
        facts = {"nanoldm": __version__, "model": model.name, "images": n, "first_seed": seed,
                 "data": real.data.model_dump(), "features": real.features.facts,
                 "batches": BATCHES, "nfe": sorted(set(candidates.nfe))}
        rows = [row(judge, *pair) for pair in zip(sets, images, strict=True)]
        report = facts | summary(judge, rows, n, seed)
        write_report(out, model, report, save)
        print(f"wrote compare.json and compare.png to {out}, in "
              f"{duration(time.monotonic() - began)}")
        return report

    return from_main(measure)


def write_report(out: Path, model: LatentDiffusion, report: dict[str, Any], save: bool) -> None:
    """Write compare.json and compare.png, store the choice if `save`, and print the table."""
    write_json(out / "compare.json", report)
    pictures.save(chart(report), out / "compare.png")
    # Before printing: the terminal may be closed.
    stored = save_choice(model, report) if save and report["chosen"] else None
    print(table(report))
    if stored:
        print(f"wrote {stored}: nanoldm sample {shell(model.name)} uses these settings")


def check_saving(model: str | None, nfe: Sequence[int]) -> None:
    """Raise InputError if the choice could not be stored with the model."""
    if model is None:
        raise InputError("save writes into the folder of the model: save the model first")
    folder = find_model(model)
    if folder.is_relative_to(BUNDLED):
        name = folder.name
        raise InputError(f"save writes into the folder of the model, and {name} is bundled: copy "
                         f"it with nanoldm export {name} FOLDER, and give that folder")
    if min(nfe, default=0) > MOST_NFE:
        raise InputError(f"save needs candidates with {MOST_NFE} NFE or fewer: give nfe such a "
                         "number")
    check_target(folder / SAMPLING, ".json")


def sample_sets(model: LatentDiffusion, candidates: Candidates, seeds: range,
                folder: Path) -> list[SampleSet]:
    """The baseline, then the candidates. Equal settings are one set."""
    schedule, sets = model.denoiser.schedule, {}
    chosen = {"baseline": default_settings(schedule)} | candidates.settings(schedule)
    for name, settings in chosen.items():
        each = SampleSet(model, folder / f"{name}.npz", seeds, settings)
        sets.setdefault(each.key, each)
    first, *others = sets.values()
    if not others:
        raise InputError(f"nothing to compare: the only candidate is {first.settings.name} with "
                         f"{first.nfe} NFE, the baseline")
    return [first, *others]


def announcement(sets: Sequence[SampleSet]) -> str:
    """What is compared, what is reused, and the estimated time."""
    first, missing = sets[0], sum(bool(each.missing) for each in sets)
    what = (f"comparing {len(sets) - 1} settings with {first.settings.name} with {first.nfe} NFE, "
            f"{len(first):,} images each")
    if not missing:
        return f"{what}\nreusing the samples in {first.file.parent}"
    reused = f" ({len(sets) - missing} of {len(sets)} exist)" if missing < len(sets) else ""
    return f"{what}\ngenerating them takes about {duration(seconds(sets))}{reused}"


def caption(each: SampleSet) -> str:
    return f"{each.settings.name}, {each.settings.spacing}, {each.nfe} NFE"


def row(judge: Judge, each: SampleSet, images: Tensor) -> Row:
    """Settings of a sample set, and all its metrics except the slow search for copies."""
    settings: Sampling = each.settings
    observed = judge.observe(images, caption(each), nearest=False)
    return {"nfe": each.nfe, "sampler": settings.name, "spacing": settings.spacing,
            "steps": settings.steps or len(settings.timesteps),
            "metrics": with_intervals(judge, observed)}


def summary(judge: Judge, rows: Sequence[Row], n: int, seed: int) -> dict[str, Any]:
    """The part of the report that depends on the metrics."""
    first, *others = rows
    best = choose(first, others)
    names = ("sampler", "steps", "spacing")
    return {"metric": metric_of(first), "baseline": first, "rows": others,
            "real images": judge.real_images(n, generator(seed, 0, Stream.FLOORS)),
            "real_count": judge.real_count(n), "rule": RULE,
            "chosen": best and {name: best[name] for name in ("nfe", *names)}}


def choose(baseline: Row, rows: Sequence[Row]) -> Row | None:
    """The row that RULE selects; None if all cost more than MOST_NFE."""
    cheap = [row for row in rows if row["nfe"] <= MOST_NFE]
    most = distance(baseline)["value"] + distance(baseline)["interval"]
    good = [row for row in cheap if distance(row)["value"] <= most]
    if good:
        return min(good, key=lambda row: (row["nfe"], distance(row)["value"]))
    return min(cheap, key=lambda row: distance(row)["value"], default=None)


def save_choice(model: LatentDiffusion, report: dict[str, Any]) -> Path:
    """Store the chosen settings as the model's own, with the metrics that chose them."""
    chosen = report["chosen"]
    row = next(row for row in report["rows"] if chosen.items() <= row.items())
    model.settings = Sampling(chosen["sampler"], chosen["steps"], chosen["spacing"])
    measured = {"nfe": row["nfe"], report["metric"]: distance(row),
                "baseline": distance(report["baseline"]), "images": report["images"],
                "first_seed": report["first_seed"], "features": report["features"]["name"]}
    return save_settings(find_model(model.name), model.settings, measured=measured)
