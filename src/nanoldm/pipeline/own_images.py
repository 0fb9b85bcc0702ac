"""The images that a model was trained on, as they are now: what it is measured by."""

from pathlib import Path

from nanoldm.data import ImageSet, load
from nanoldm.experiments.config import Data
from nanoldm.experiments.overrides import absolute
from nanoldm.experiments.plan import plan_of
from nanoldm.pipeline.folders import data_of, find_model, read_recipe
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json
from nanoldm.utils.text import shell


def images_of(model: str | Path, instead: str | None = None) -> tuple[Data, ImageSet, ImageSet]:
    """(what they are called, training set, test set) of a model's images.

    instead: other images, such as "folder:PATH", which are brought to the model's size.
    Raises InputError where the files have changed since the training, unless `instead` names what is to be used; and for images whose
    channels are not the model's.
    """
    if instead is not None:
        return other_images(model, instead)
    data = data_of(model)
    train, test = load(data.name, data.size, data.holdout)
    if change := find_change(model, train, test):
        raise InputError(f"{change}: put the earlier ones back, train again, or name the images to measure by: --data {shell(data.name)}")
    return data, train, test


def other_images(model: str | Path, name: str) -> tuple[Data, ImageSet, ImageSet]:
    """As `images_of`, of images that a user names. Where they are the model's own at another place, the same ones are held out."""
    folder = find_model(model)
    config = read_json(folder / "autoencoder" / "config.json")
    data = Data(name=absolute(name), size=config.get("image_size"), holdout=0)
    train, test = load(data.name, data.size)
    if (channels := train.images.shape[1]) != config.get("image_channels"):
        raise InputError(f"the images of {data.name} have {channels} channels, {model} draws {config.get('image_channels')}: name others")
    holdout = data_of(model).holdout if (folder / "recipe.json").is_file() else 0
    if 0 < holdout < len(train):
        own = load(data.name, data.size, holdout)
        if find_change(model, *own) is None:
            return data.replace(holdout=holdout), *own
    return data, train, test


def own_test_set(model: str | Path) -> ImageSet:
    """A model's test set, to be looked at. Says so where the files have changed since the training."""
    data = data_of(model)
    try:
        train, test = load(data.name, data.size, data.holdout)
    except InputError as error:
        raise InputError(f"{model} was trained on {data.name}, which cannot be read any more ({str(error).split(': ')[0]}): put the images "
                         "back, or name image files instead of test:K") from None
    if change := find_change(model, train, test):
        print(f"note: {change}")
    return test


def find_change(model: str | Path, train: ImageSet, test: ImageSet) -> str | None:
    """What has changed in a model's images since its training, in words; None where nothing has, or nobody wrote it down."""
    folder = find_model(model)
    plan = plan_of(folder)
    if plan is None or not (folder / "recipe.json").is_file():
        return None
    recipe = read_recipe(folder / "recipe.json")
    labelled = recipe.diffusion.told_labels
    for name, before, now in (("training", plan.images_sha256, train), ("test", plan.test_sha256, test)):
        if before is not None and before != now.digest(labelled):
            return f"the {name} images of {recipe.data.name}{' or their labels' * labelled} have changed since {model} was trained"
    return None
