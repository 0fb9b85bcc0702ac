"""Whether a run may start or continue in a folder, and whether a finished run is complete."""

from pathlib import Path

from nanoldm.data import ImageSet
from nanoldm.data.source import FILE_KINDS
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.plan import Plan
from nanoldm.pipeline.folders import FILES, LOCK, RunFolder
from nanoldm.utils.atomic import is_temporary
from nanoldm.utils.config import flat
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import file_digest, read_json, refusing, write_bytes, write_json
from nanoldm.utils.paths import check_folder, is_system_file


def read_recipe(file: Path) -> Recipe:
    """Raises InputError for a file that is not a recipe."""
    with refusing(file):
        return Recipe.model_validate(read_json(file))


def check_run(folder: RunFolder, recipe: Recipe) -> None:
    """Raise InputError unless the folder is new or has a run of the same recipe."""
    if not folder.recipe.exists():
        path = folder.path
        if path.exists() and not (path.is_dir() and all(map(is_harmless, path.iterdir()))):
            raise InputError(f"{path} exists and is not a run folder: choose another folder (out)")
        check_folder(path)
        return
    try:
        there = read_recipe(folder.recipe)
    except InputError:
        raise InputError(f"{folder.recipe} is not a recipe of this version: choose another folder "
                         "(out)") from None
    old, new = (flat(r.model_dump()) for r in (there, with_image_path_of(there, recipe)))
    if changed := [f"{key} {old.get(key)!r} there, {new.get(key)!r} here" for key in old | new
                   if old.get(key) != new.get(key)]:
        raise InputError(
            f"{folder.path} has a run of another recipe ({'; '.join(changed)}): repeat the options "
            "it was started with, or choose another folder (out)")


def with_image_path_of(there: Recipe, recipe: Recipe) -> Recipe:
    """`recipe` with the image path of `there`, if both read files: images may move.

    plan.json has their digest.
    """
    own = all(data.name.partition(":")[0] in FILE_KINDS for data in (there.data, recipe.data))
    return recipe.replace(data={"name": there.data.name}) if own else recipe


def is_harmless(file: Path) -> bool:
    """Whether `file` is a lock, a temporary file or a file of the system."""
    return file.name == LOCK or is_temporary(file.name) or is_system_file(file.name)


def check_same_images(folder: RunFolder, recipe: Recipe, plan: Plan, train: ImageSet,
                      test: ImageSet) -> None:
    """Raise InputError unless the run started with these images."""
    if change := plan.images.change(train, test):
        there = read_recipe(folder.recipe).data.name
        if there == recipe.data.name:
            what = f"{change} of {there} have changed since the run in {folder.path} started"
        else:
            what = (f"{change} of {recipe.data.name} are not those of {there}, with which the run "
                    f"in {folder.path} started")
        raise InputError(f"{what}: choose another folder (out)")


def record_moved_images(folder: RunFolder, recipe: Recipe, plan: Plan) -> Plan:
    """Record the new place of a moved image folder -> the plan of the run."""
    there = read_recipe(folder.recipe)
    if there == recipe:
        return plan
    copy = folder.model / folder.recipe.name
    with folder.locked():
        # The run's own recipe last: if this is killed before, the same command repeats it.
        if plan.model_sha256 and copy.is_file():
            write_json(copy, recipe.model_dump())
            sha = {copy.name: file_digest(copy)}
            plan = plan.replace(model_sha256=plan.model_sha256 | sha)
            write_json(folder.plan, plan.model_dump())
        write_json(folder.recipe, recipe.model_dump())
        if copy.is_file():
            copy_history(folder)
    print(f"the images of this run have moved from {there.data.name} to {recipe.data.name}: "
          f"recorded in {folder.recipe}")
    return plan


def model_files(folder: RunFolder) -> dict[str, str]:
    """SHA-256 of each file of a run's model, except sampling.json, which users may change."""
    names = (*FILES, folder.recipe.name, folder.metrics.name)
    files = {name: folder.model / name for name in names}
    return {name: file_digest(file) for name, file in files.items() if file.is_file()}


def find_damage(folder: RunFolder, plan: Plan) -> str | None:
    """The first file of a finished run's model that is missing or changed; None if none is."""
    found = model_files(folder)
    changed = (name for name, sha in (plan.model_sha256 or {}).items() if found.get(name) != sha)
    name = next(changed, None)
    return None if name is None else str(folder.model / name)


def copy_history(folder: RunFolder) -> None:
    """Copy recipe, plan and log to the model, so that it can be copied alone."""
    for file in (folder.recipe, folder.plan, folder.metrics):
        if file.is_file() and file.stat().st_size:
            write_bytes(folder.model / file.name, file.read_bytes())
