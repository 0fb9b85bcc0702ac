"""What trainings looked like: their curves in one picture, their sample grids in one GIF."""

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from nanoldm.data.image_file import on_page, open_rgba
from nanoldm.evaluation import plots as charts
from nanoldm.pipeline.folders import RunFolder, find_model, read_metrics
from nanoldm.utils import images as pictures
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import check_apart, check_target


def logged(run: str | Path) -> list[dict]:
    """metrics.jsonl of a run folder (finished or not), an exported folder or a bundled model. Raises InputError if there is none."""
    file = RunFolder(run).metrics
    file = file if file.is_file() else find_model(run) / "metrics.jsonl"
    records = read_metrics(file)
    if not records:
        raise InputError(f"{run} has no training history ({file} is missing or empty): name a run folder")
    return records


def draw_curves(runs: Sequence[str | Path], out: Path, gif: Path | None = None) -> None:
    """Write the curves of all `runs` to the picture `out`, and their sample grids over time, side by side, to `gif` where they have any.

    Raises InputError for runs without a history, and if `gif` is asked for and no run has sample grids.
    """
    check_target(out, *pictures.FORMATS)
    check_apart(out, gif)
    if gif:
        check_target(gif, ".gif")
    if not runs:
        raise InputError("name at least one run: nanoldm curves runs/mnist")
    histories = {name: logged(run) for name, run in zip(short_names(runs), runs, strict=True)}
    frames = sample_frames(runs) if gif else []
    if gif and not frames:
        raise InputError(f"no sample grids in {' or '.join(str(Path(run) / 'samples') for run in runs)}: only run folders have them")
    pictures.save(charts.training(histories), out)
    print(f"wrote {out}: {len(runs)} run(s)")
    if gif:
        pictures.save_gif(frames, gif, milliseconds=700)
        print(f"wrote {gif}: {len(frames)} sample grids")


def short_names(runs: Sequence[str | Path]) -> list[str]:
    """The last part of each path, or all of it where that would be twice the same."""
    last = [Path(run).name for run in runs]
    return last if len(set(last)) == len(last) else [str(run) for run in runs]


def sample_frames(runs: Sequence[str | Path]) -> list[Image.Image]:
    """One frame for each step at which any run drew a grid: the latest grid of every run by then."""
    sheets = {name: {int(match[1]): file for file in sorted(RunFolder(run).samples.glob("step-*.png"))
                     if (match := re.fullmatch(r"step-([0-9]{1,12})", file.stem))}
              for name, run in zip(short_names(runs), runs, strict=True)}
    sheets = {name: files for name, files in sheets.items() if files}
    frames = []
    for step in sorted({step for files in sheets.values() for step in files}):
        latest = {name: files[max((s for s in files if s <= step), default=min(files))] for name, files in sheets.items()}
        frames.append(pictures.captioned(((name, on_page(open_rgba(file)[0], "white")) for name, file in latest.items()), across=True))
    return frames
