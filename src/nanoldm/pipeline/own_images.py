"""The images that a model was trained on, as they are now."""

from pathlib import Path

from nanoldm.data import ImageSet
from nanoldm.data.source import Data, absolute
from nanoldm.pipeline.folders import CONFIG, PLAN, RECIPE, find_model
from nanoldm.utils.config import Config
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, refusing
from nanoldm.utils.text import shell


class ImageDigests(Config):
    """SHA-256 of the training and the test images, with their labels if the network uses them."""

    train: str
    test: str
    labelled: bool

    @classmethod
    def of(cls, train: ImageSet, test: ImageSet, labelled: bool) -> "ImageDigests":
        return cls(train=train.digest(labelled), test=test.digest(labelled), labelled=labelled)

    def change(self, train: ImageSet, test: ImageSet) -> str | None:
        """Which images differ from these: "training images", with "or their labels"; or None."""
        labels = " or their labels" * self.labelled
        for name, before, now in (("training", self.train, train), ("test", self.test, test)):
            if before != now.digest(self.labelled):
                return f"the {name} images{labels}"
        return None


def data_of(model: str | Path) -> Data:
    """The data set of a model, from its recipe; MNIST for a 28x28 grey model without a recipe.

    Raises InputError for other models without a recipe, and for a damaged recipe.
    """
    recipe = find_model(model) / RECIPE
    if not recipe.exists():
        shape = read_json(recipe.parent / "autoencoder" / CONFIG)
        if (shape.get("image_size"), shape.get("image_channels")) != (28, 1):
            raise InputError(f"{recipe} is missing, which names the images that {model} was "
                             "trained on: copy it from the run (nanoldm export does)")
        return Data(name="mnist")
    with refusing(recipe):
        return Data.model_validate(read_json(recipe)["data"])


def digests_of(model: str | Path) -> ImageDigests | None:
    """The digests of the images of a model, from its plan; None for a model without a plan."""
    file = find_model(model) / PLAN
    if not file.is_file():
        return None
    with refusing(file):
        return ImageDigests.model_validate(read_json(file)["images"])


def images_of(model: str | Path, instead: str | None = None) -> tuple[Data, ImageSet, ImageSet]:
    """(data set, training set, test set) of a model.

    instead: another data set, such as "folder:PATH", resized to the size of the model.
    Raises InputError if the files have changed since the training (unless `instead` is given), and
    for images with other channels.
    """
    if instead is not None:
        return other_images(model, instead)
    data, digests = data_of(model), digests_of(model)
    train, test = data.load()
    if digests and (change := digests.change(train, test)):
        raise InputError(f"{change} of {data.name} have changed since {model} was trained: restore "
                         "them, train again, or choose the images to measure with: --data "
                         f"{shell(data.name)}")
    return data, train, test


def other_images(model: str | Path, name: str) -> tuple[Data, ImageSet, ImageSet]:
    """Like `images_of` for a named data set.

    If it is the model's own data set in another place, the same test images are held out.
    """
    config = read_json(find_model(model) / "autoencoder" / CONFIG)
    data = Data(name=absolute(name), size=config.get("image_size"))
    train, test = data.load()
    channels, wanted = train.images.shape[1], config.get("image_channels")
    if channels != wanted:
        raise InputError(f"the images of {data.name} have {channels} channels, {model} generates "
                         f"{wanted}: choose others")
    holdout = data_of(model).holdout if (find_model(model) / RECIPE).is_file() else 0
    if 0 < holdout < len(train) and (digests := digests_of(model)):
        same = data.replace(holdout=holdout)
        own = same.load()
        if digests.change(*own) is None:
            return same, *own
    return data, train, test


def own_test_set(model: str | Path) -> ImageSet:
    """The test set of a model, for pictures. Prints a note if the files have changed."""
    data, digests = data_of(model), digests_of(model)
    try:
        train, test = data.load()
    except InputError as error:
        reason = str(error).split(": ")[0]
        raise InputError(f"{model} was trained on {data.name}, which cannot be read ({reason}): "
                         "restore the images, or give image files instead of test:K") from None
    if digests and (change := digests.change(train, test)):
        print(f"note: {change} of {data.name} have changed since {model} was trained")
    return test
