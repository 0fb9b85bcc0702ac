"""What lies in a run folder: whether a run may begin or go on there, and whether a finished one is whole."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from nanoldm.data import ImageSet
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.plan import Plan
from nanoldm.pipeline.folders import LOCK, RunFolder, read_recipe
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.saving import FILES
from nanoldm.utils.atomic import is_temporary
from nanoldm.utils.config import flat
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, write_bytes, write_json
from nanoldm.utils.paths import check_folder, is_system_file


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
    if there != in_place_of(there, recipe):
        changed = [f"{key} {old!r} there, {new!r} here" for (key, old), (_, new)
                   in zip(flat(there.model_dump()), flat(in_place_of(there, recipe).model_dump()), strict=True) if old != new]
        raise InputError(f"{run.path} holds a run of another recipe ({'; '.join(changed)}): "
                         "repeat the options it was started with, or choose another folder with --out")


def in_place_of(there: Recipe, recipe: Recipe) -> Recipe:
    """`recipe`, with the folder of images of `there` if both have one: whether these are the same images is told by their digest."""
    folders = all(data.name.startswith("folder:") for data in (there.data, recipe.data))
    return recipe.replace(data={"name": there.data.name}) if folders else recipe


def check_same_images(run: RunFolder, recipe: Recipe, plan: Plan, data: Sequence[ImageSet]) -> None:
    """Raise InputError unless the run there began with these images. data: training set and test set."""
    labelled, there = recipe.diffusion.uses_labels, read_recipe(run.recipe).data.name
    for before, now in zip((plan.images_sha256, plan.test_sha256), data, strict=True):
        if before is not None and before != now.digest(labelled):       # older plans do not know the test images
            what = f"the images of {recipe.data.name}{' or their labels' * labelled}"
            raise InputError(f"{what} have changed since the run in {run.path} began: choose another folder with --out"
                             if there == recipe.data.name else
                             f"{what} are not those of {there}, with which the run in {run.path} began: choose another folder with --out")


def note_place(run: RunFolder, recipe: Recipe, plan: Plan) -> Plan:
    """Where the folder of images has moved since the run began, its records name the new place. -> the plan of the run"""
    there = read_recipe(run.recipe)
    if there == recipe:
        return plan
    with run.locked():
        # The run's own recipe last: if this is killed before, the same command does it again.
        if plan.model_sha256 and (run.model / run.recipe.name).is_file():
            write_json(run.model / run.recipe.name, recipe.model_dump())
            plan = plan.replace(model_sha256={run.recipe.name: model_files(run)[run.recipe.name]})
            write_json(run.plan, plan.model_dump())
        write_json(run.recipe, recipe.model_dump())
        if (run.model / run.recipe.name).is_file():
            copy_records(run)
    print(f"the images of this run have moved from {there.data.name} to {recipe.data.name}: noted in {run.recipe}")
    return plan


def left_by_a_start(file: Path) -> bool:
    """Whether a start that was killed before it wrote recipe.json, or the system, may have left this."""
    return file.name == LOCK or is_temporary(file.name) or is_system_file(file.name)


def model_files(run: RunFolder) -> dict[str, str]:
    """SHA-256 of each file of a run's model, but for the few-step setting, which `compare --save` may change."""
    files = [run.model / name for name in (*FILES, run.recipe.name, run.metrics.name)]
    return {file.relative_to(run.model).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def find_damage(run: RunFolder, plan: Plan) -> str | None:
    """What is wrong with the model of a finished run; None where each of its files is as it was written."""
    if plan.model_sha256 is not None:
        found = model_files(run)
        return next((str(run.model / name) for name, sha in plan.model_sha256.items() if found.get(name) != sha), None)
    if not (run.model / run.recipe.name).is_file():
        return f"{run.model / run.recipe.name} is missing"
    try:
        LatentDiffusion.from_pretrained(run.model)
    except InputError as error:
        return str(error).split(": ")[0]
    return None


def copy_records(run: RunFolder) -> None:
    """Recipe, plan and log beside the model, so that it can be copied alone."""
    for file in (run.recipe, run.plan, run.metrics):
        if file.is_file() and file.stat().st_size:
            write_bytes(run.model / file.name, file.read_bytes())       # whole or absent: `sample` may be reading it
