"""Learning curves of runs in one picture, and their samples over time in one GIF."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from nanoldm.data.image_file import on_background, open_rgba
from nanoldm.evaluation import plots as charts
from nanoldm.pipeline.folders import METRICS_FILE, RunFolder, find_model, read_metrics
from nanoldm.utils import images as pictures
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import check_apart, check_target


def training_records(run: str | Path) -> list[dict[str, Any]]:
    """metrics.jsonl of a run (also unfinished), an exported folder or a bundled model.

    Raises InputError if there is none.
    """
    file = RunFolder(run).metrics
    file = file if file.is_file() else find_model(run) / METRICS_FILE
    if records := read_metrics(file):
        return records
    raise InputError(f"{run} has no training history ({file} is missing or empty): give a run "
                     "folder")


def draw_curves(runs: Sequence[str | Path], out: Path, gif: Path | None = None) -> None:
    """Write the learning curves of `runs` to the picture `out`, their samples over time to `gif`.

    Raises InputError for runs without history, and for a `gif` of runs without samples.
    """
    check_target(out, *pictures.FORMATS)
    check_apart(out, gif)
    if gif:
        check_target(gif, ".gif")
    if not runs:
        raise InputError("runs: give at least one run: nanoldm curves runs/mnist")
    names = short_names(runs)
    histories = {name: training_records(run) for name, run in zip(names, runs, strict=True)}
    frames = sample_frames(runs) if gif else []
    if gif and not frames:
        folders = " or ".join(str(Path(run) / "samples") for run in runs)
        raise InputError(f"gif: no samples in {folders}: only run folders have them")
    pictures.save(charts.training(histories), out)
    print(f"wrote {out}: {len(runs)} run(s)")
    if gif:
        pictures.save_gif(frames, gif, milliseconds=700)
        print(f"wrote {gif}: {len(frames)} sample grids")


def short_names(runs: Sequence[str | Path]) -> list[str]:
    """The last part of each path; the whole paths if two would be equal."""
    last = [Path(run).name for run in runs]
    return last if len(set(last)) == len(last) else [str(run) for run in runs]


def sample_frames(runs: Sequence[str | Path]) -> list[Image.Image]:
    """A frame for each step with samples of any run: the latest samples of every run."""
    sheets = {name: sample_files(run) for name, run in zip(short_names(runs), runs, strict=True)}
    sheets = {name: files for name, files in sheets.items() if files}
    frames = []
    for step in sorted({step for files in sheets.values() for step in files}):
        latest = {name: files[max((s for s in files if s <= step), default=min(files))]
                  for name, files in sheets.items()}
        parts = ((name, on_background(open_rgba(file)[0], "white"))
                 for name, file in latest.items())
        frames.append(pictures.captioned(parts, across=True))
    return frames


def sample_files(run: str | Path) -> dict[int, Path]:
    """{step: file}"""
    files = sorted(RunFolder(run).samples.glob("step-*.png"))
    matches = ((re.fullmatch(r"step-([0-9]{1,12})", file.stem), file) for file in files)
    return {int(match[1]): file for match, file in matches if match}
