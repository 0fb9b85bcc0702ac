"""What lies in a run folder: whether a run may begin or go on there, and whether a finished one is whole."""

import os
from pathlib import Path

import torch
from pydantic import ValidationError

from nanoldm.errors import InputError
from nanoldm.files import is_temporary, load_tensors, read_json, write_bytes
from nanoldm.paths import check_folder
from nanoldm.pipeline import LatentDiffusion
from nanoldm.recipe import Recipe, flat
from nanoldm.runs import LOCK, RunFolder


def check_one_process() -> None:
    """Raise InputError where a launcher has started several processes, which would all train the same run."""
    number = os.environ.get("WORLD_SIZE", "")
    if number.isdecimal() and int(number) > 1:
        raise InputError(f"a run is one process so far, and WORLD_SIZE is {number}: start it without accelerate launch or torchrun")


def check_run(run: RunFolder, recipe: Recipe) -> None:
    """Raise InputError unless the folder is new or holds a run of the same recipe, and can be written to."""
    if not run.recipe.exists():
        if run.path.exists() and not (run.path.is_dir() and all(map(left_by_a_start, run.path.iterdir()))):
            raise InputError(f"{run.path} exists and is not a run folder: choose another with --out")
        check_folder(run.path)
        return
    try:
        there = Recipe.model_validate(read_json(run.recipe))
    except ValidationError:
        raise InputError(f"{run.recipe} is not a recipe of this version: choose another folder with --out") from None
    if there != recipe:
        changed = [f"{key} {old!r} there, {new!r} here" for (key, old), (_, new)
                   in zip(flat(there.model_dump()), flat(recipe.model_dump()), strict=True) if old != new]
        raise InputError(f"{run.path} holds a run of another recipe ({'; '.join(changed)}): "
                         "repeat the options it was started with, or choose another folder with --out")


def left_by_a_start(file: Path) -> bool:
    """Whether a start that was killed before it wrote recipe.json may have left this."""
    return file.name == LOCK or is_temporary(file.name)


def find_damage(run: RunFolder) -> str | None:
    """What is wrong with the model of a finished run; None where it can be loaded and is that of the last checkpoint."""
    if not (run.model / run.recipe.name).is_file():
        return f"{run.model / run.recipe.name} is missing"
    try:
        model = LatentDiffusion.from_pretrained(run.model)
    except InputError as error:
        return str(error).split(": ")[0]
    try:
        tensors = load_tensors(run.checkpoint("denoiser"))[0]
    except InputError:
        return None         # a finished run may do without its checkpoints
    own, prefix = model.denoiser.network.state_dict(), "ema.denoiser.network."
    prefix = prefix if any(name.startswith(prefix) for name in tensors) else "model.denoiser.network."
    same = all(torch.equal(own[name], tensors.get(prefix + name, torch.empty(0))) for name in own)
    return None if same else f"{run.model} is not of the last checkpoint"


def copy_records(run: RunFolder) -> None:
    """Recipe and log beside the model, so that it can be copied alone."""
    for file in (run.recipe, run.metrics):
        if file.is_file():
            write_bytes(run.model / file.name, file.read_bytes())       # whole or absent: `sample` may be reading it
