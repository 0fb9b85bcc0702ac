"""Which sampler needs the fewest network passes? Many settings draw the same seeds, and are judged beside the full-length default."""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from rich.table import Table

from nanoldm import __version__
from nanoldm.diffusion import NoiseSchedule
from nanoldm.evaluation import plots as charts
from nanoldm.evaluation.evaluate import BATCHES, check_count, intervals
from nanoldm.evaluation.features import Features, images_to_judge, load_features
from nanoldm.evaluation.judge import MEASURES, NEAREST, Judge
from nanoldm.evaluation.report import number, printed
from nanoldm.evaluation.samples import Drawing, seconds
from nanoldm.pipeline.fast import FILE, save_fast
from nanoldm.pipeline.folders import BUNDLED, DEFAULT_MODEL, find_model
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils import images as pictures
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import write_json
from nanoldm.utils.paths import check_folder, check_target
from nanoldm.utils.ranges import seed_range
from nanoldm.utils.seeding import generator
from nanoldm.utils.text import duration, shell

PASSES, SAMPLERS, SPACINGS = (4, 8, 16, 32), ("dpm++2m", "ab2", "ab3"), ("shifted", "log-snr")     # what is compared by default
FAST_PASSES = 16        # --fast costs no more network passes than these
RULE = (f"the setting of the fewest network passes, {FAST_PASSES} at most, whose Frechet distance is not above the reference's by more "
        f"than the reference's interval (of several, the nearest); if none is so good, the nearest of at most {FAST_PASSES} passes")
Row = dict[str, Any]


def compare(model: str | Path = DEFAULT_MODEL, *, n: int = 1000, seed: int = 0, passes: Sequence[int] = PASSES,
            samplers: Sequence[str] = SAMPLERS, grids: Sequence[str] = SPACINGS, features: str | Path | Features = "digits-v1",
            save: bool = False, out: Path | None = None, device: str = "cpu", data: str | None = None) -> dict[str, Any]:
    """Judge `n` images, of the seeds seed ... seed + n - 1, of every sampler on every grid at each number of network passes.

    The reference is the model's default sampler with all its steps. `fast` of the report is chosen by RULE; `save` stores it with the
    model, where `nanoldm sample --fast` and `LatentDiffusion.fast` find it.
    data: judge by these images instead of those that the model was trained on.
    Writes compare.json, compare.png and the samples to the folder `out` (default: compare/NAME), and returns the content of
    compare.json, which is a pure function of the arguments. Samples that are there already are not drawn again.
    Raises InputError for names, numbers and files that do not fit.
    """
    judges, folder = load_features(features), find_model(model)
    pipeline = LatentDiffusion.from_pretrained(folder, device)
    out = out or Path("compare") / Path(model).resolve().name
    check_folder(out)
    seeds = seed_range(n, seed)
    check_count(n)
    if save:
        check_saving(folder, passes)
    drawings: dict[str, Drawing] = {}
    for name, chosen in ({"reference": Sampling()} | candidates(pipeline, passes, samplers, grids)).items():
        drawing = Drawing(pipeline, out / "samples" / f"{name}.npz", seeds, chosen)
        drawings.setdefault(drawing.key, drawing)       # two ways to say the same are one
    reference, *others = drawings.values()
    if not others:
        raise InputError(f"nothing to compare: all that is asked for is {reference.sampler} in {reference.passes} passes, the reference")
    data, train, test = images_to_judge(judges, model, data)

    print(announcement(reference, others), flush=True)      # before it starts, also into a file
    began = time.monotonic()
    judge = Judge(judges, train, test, progress=True)
    first, *rows = [judged(judge, drawing, f"{k} of {len(drawings)}") for k, drawing in enumerate(drawings.values(), 1)]
    report: dict[str, Any] = {
        "nanoldm": __version__, "model": str(model), "images": n, "first_seed": seed, "data": data.model_dump(),
        "features": judges.facts, "batches": BATCHES, "passes": sorted(set(passes)), "measure": measure(first), "reference": first,
        "rows": rows, "real images": judge.real_images(n, generator(seed, 0, 1)),
        "real_count": judge.real_count(n), "rule": RULE, "fast": None}
    if (best := winner(first, rows)) is not None:
        report["fast"] = {name: best[name] for name in ("steps", "sampler", "grid")}
    write_json(out / "compare.json", report)
    pictures.save(chart(report), out / "compare.png")
    if save:        # before anything is printed: a terminal may be gone by now
        measured = {"network_passes": best["passes"], measure(first): distance(best), "reference": distance(first), "images": n,
                    "first_seed": seed, "features": judges.facts["name"]}
        kept = save_fast(folder, report["fast"], measured=measured)
    print(table(report))
    if save:
        print(f"wrote {kept}: draw with it by: nanoldm sample {shell(model)} --fast")
    print(f"wrote {out / 'compare.json'} and compare.png beside it, in {duration(time.monotonic() - began)}")
    return report


def check_saving(folder: Path, passes: Sequence[int]) -> None:
    """Raise InputError, before any work, if the choice could not be stored with the model."""
    if folder.is_relative_to(BUNDLED):
        raise InputError(f"--save writes into the model's folder, and {folder.name} is bundled: copy it by nanoldm export {folder.name} "
                         "FOLDER, and give that folder")
    if min(passes, default=0) > FAST_PASSES:
        raise InputError(f"--save needs a choice of {FAST_PASSES} network passes or fewer: give --passes such a number")
    check_target(folder / FILE, ".json")


def candidates(pipeline: LatentDiffusion, passes: Sequence[int], samplers: Sequence[str], grids: Sequence[str]) -> dict[str, Sampling]:
    """File name -> setting: of each sampler on each grid the one that comes nearest to each number of network passes, from below."""
    timesteps = pipeline.denoiser.schedule.timesteps
    found = {}
    for budget, sampler, grid in itertools.product(sorted(set(passes)), samplers, grids):
        if not 1 <= budget <= timesteps:
            raise InputError(f"--passes {budget}: choose numbers from 1 to {timesteps}, the timesteps of this model")
        chosen = Sampling(filling(pipeline.denoiser.schedule, budget, sampler, grid), sampler, grid)
        found[f"{sampler}-{grid}-{chosen.steps}"] = chosen
    return found


def filling(schedule: NoiseSchedule, budget: int, sampler: str, grid: str) -> int:
    """The fewest steps to ask for that cost as many network passes as possible, `budget` at most.

    heun takes 2 n - 1 passes for n steps, ddpm-repaint 5 n - 4. On some grids steps fall together: there more are asked for.
    """
    settings = Sampling(sampler=sampler)        # refused if it does not exist

    def cost(steps: int) -> int:
        return settings.passes(schedule, sampling_timesteps(schedule, steps, grid=grid))

    costs = ((steps, cost(steps)) for steps in range(1, schedule.timesteps + 1))
    near = itertools.takewhile(lambda pair: pair[1] <= 2 * budget, costs)       # merging steps, a few more may cost fewer again
    return max((pair for pair in near if pair[1] <= budget), key=lambda pair: (pair[1], -pair[0]))[0]


def announcement(reference: Drawing, others: Sequence[Drawing]) -> str:
    """What is compared, what is there already, and what the rest will cost."""
    drawings = [reference, *others]
    missing = sum(bool(drawing.missing) for drawing in drawings)
    what = (f"comparing {len(others)} settings with {reference.sampler} in {reference.passes} network passes, "
            f"{len(reference.seeds):,} images each")
    if not missing:
        return f"{what}: reusing the samples in {reference.file.parent}"
    reused = f" ({len(drawings) - missing} of {len(drawings)} are there already)" if missing < len(drawings) else ""
    return f"{what}: drawing them takes about {duration(seconds(drawings))}{reused}, judging a few seconds each"


def judged(judge: Judge, drawing: Drawing, count: str) -> Row:
    """One line of the table: how the images were drawn, and every measure of them but the slow search for copies."""
    name = f"{count}: {drawing.sampler}, {drawing.sampling.grid}, {drawing.passes} passes"
    observed = judge.observe(drawing.images(name), name, nearest=False)
    found = judge.summarise(observed, NEAREST).items()
    return {"passes": drawing.passes, "sampler": drawing.sampler, "grid": drawing.sampling.grid,
            "steps": drawing.sampling.steps or len(drawing.timesteps),
            "measures": {measure: {"value": value, "interval": half}
                         for (measure, value), half in zip(found, intervals(judge, observed, NEAREST), strict=True)}}


def measure(row: Row) -> str:
    """The measure that is compared: of images without labels there is only the one without labels."""
    return "frechet_test" if "frechet_test" in row["measures"] else "rotation_frechet_test"


def distance(row: Row) -> dict[str, float]:
    return row["measures"][measure(row)]


def winner(reference: Row, rows: Sequence[Row]) -> Row | None:
    """The row that RULE chooses; None if all cost more than FAST_PASSES."""
    quick = [row for row in rows if row["passes"] <= FAST_PASSES]
    good = [row for row in quick if distance(row)["value"] <= distance(reference)["value"] + distance(reference)["interval"]]
    return min(good, key=lambda row: (row["passes"], distance(row)["value"])) if good else min(
        quick, key=lambda row: distance(row)["value"], default=None)


def chart(report: dict[str, Any]) -> Image.Image:
    """Distance against network passes, one curve for each sampler on each grid."""
    curves: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    for row in report["rows"]:
        curves.setdefault((row["sampler"], row["grid"]), []).append((row["passes"], distance(row)["value"], distance(row)["interval"]))
    first, title = report["reference"], MEASURES[report["measure"]].title
    floor = report["real images"][report["measure"]] if report["real_count"] == report["images"] else None      # else of another N
    band = f"{first['sampler']}, {first['passes']} passes"
    return charts.against_passes(curves, (band, *distance(first).values()), floor, title)


def table(report: dict[str, Any]) -> str:
    """The report for the terminal: a section for each number of passes, its best line marked, and real images at the end."""
    first, fast, real = report["reference"], report["fast"], report["real images"]
    shown = (report["measure"], report["measure"].replace("frechet", "kernel"))
    sheet = Table("network passes", "sampler", "grid", "steps asked for", *(MEASURES[name].title for name in shown), "of reference", "",
                  title=f"{report['images']:,} images of {report['model']}, seeds from {report['first_seed']}, judged against "
                  f"{report['data']['name']} by {report['features']['name']}", title_justify="left",
                  caption=f"± is half a 95 % interval from {report['batches']} disjoint batches of samples; all lines have the same seeds.",
                  caption_justify="left")

    def line(row: Row, note: str) -> None:
        figures = (f"{number(row['measures'][name]['value'])} ± {number(row['measures'][name]['interval'])}" for name in shown)
        ratio = distance(row)["value"] / distance(first)["value"]
        sheet.add_row(str(row["passes"]), row["sampler"], row["grid"], str(row["steps"]), *figures, f"{ratio:.2f}", note)

    for fewer, most in itertools.pairwise([0, *report["passes"]]):
        section = [row for row in report["rows"] if fewer < row["passes"] <= most]
        best = min((distance(row)["value"] for row in section), default=None)
        for row in section:
            line(row, "best" if distance(row)["value"] == best else "")
        sheet.add_section()
    line(first, "reference")
    count = report["real_count"]
    sheet.add_row("", f"real images ({count:,})", "", "", *(number(real[name]) for name in shown), "", "" if count == report["images"] else
                  f"not to be compared: {count:,} images, not {report['images']:,}")
    return printed(sheet, f"--fast: {fast['steps']} steps of {fast['sampler']} on the {fast['grid']} grid, chosen as {RULE}" if fast else
                   f"--fast: no choice, since all settings cost more than {FAST_PASSES} network passes")
