"""The few-step setting of a model: what `--fast` means. Stored with the model as sampling.json; without that file, a default."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nanoldm.diffusion import NoiseSchedule, visited
from nanoldm.pipeline.folders import find_model
from nanoldm.pipeline.saving import load_scheduler
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.files import read_json, refusing, write_json

FILE = "sampling.json"
STEPS = 12


def default_fast(schedule: NoiseSchedule) -> dict[str, Any]:
    """What `--fast` means for a model that nobody has measured: 12 steps of ab3 on the shifted grid.

    As good as all steps for `mnist-fast`; unlike ab4 not upset by guidance or by a rough first estimate (benchmarks/RESULTS.md).
    """
    return {"steps": min(STEPS, schedule.timesteps), "sampler": "ab3", "grid": "shifted"}


def load_fast(folder: Path, schedule: NoiseSchedule) -> dict[str, Any]:
    """steps, sampler and grid of the model in `folder`, arguments for `generate`: from sampling.json, or the default.

    Raises InputError that names the file if it is damaged, foreign or does not fit `schedule`.
    """
    path = folder / FILE
    if not path.exists():
        return default_fast(schedule)
    with refusing(path):
        settings = dict(read_json(path)["fast"])
        if {name: type(value) for name, value in settings.items()} != {"steps": int, "sampler": str, "grid": str}:
            raise ValueError("`fast` must hold steps, sampler and grid, and nothing else")
        Sampling(**settings)
        visited(schedule, settings["steps"], grid=settings["grid"])
    return settings


def usually_fast(model: str | Path) -> bool:
    """Whether the recipe of the model says that it is drawn by its few-step setting where nothing else is asked for."""
    recipe = find_model(model) / "recipe.json"
    return recipe.exists() and bool(read_json(recipe).get("fast"))


def usual(model: str | Path, sampling: Sampling, t: int | None = None) -> Sampling:
    """`sampling` where it leaves steps, sampler and grid to the model: `quickened` for a model of a fast recipe, else as it is."""
    return quickened(model, sampling, t) if usually_fast(model) else sampling


def keep_fast(folder: Path, settings: Mapping[str, Any], schedule: NoiseSchedule) -> None:
    """Store `settings` where they are not the default, and leave nothing of other weights that were in `folder`."""
    if settings != default_fast(schedule):
        save_fast(folder, settings)
    else:
        (folder / FILE).unlink(missing_ok=True)


def save_fast(folder: Path, settings: Mapping[str, Any], **measured: Any) -> Path:
    """Store `settings` (steps, sampler, grid) with the model in `folder`, and beside them what they were `measured` by."""
    write_json(folder / FILE, {"fast": dict(settings), **measured})
    return folder / FILE


def quickened(model: str | Path, sampling: Sampling, t: int | None = None) -> Sampling:
    """`sampling`, with steps, sampler and grid replaced by the model's few-step setting (from timestep t: at most t + 1 steps)."""
    folder = find_model(model)
    settings = load_fast(folder, load_scheduler(folder / "scheduler")[0])
    return replace(sampling, **settings | ({} if t is None else {"steps": min(settings["steps"], t + 1)}))
