"""The name of a data set, as recipes store it. Does not import torch."""

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from nanoldm.utils.config import Config
from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import LARGEST_SIZE
from nanoldm.utils.paths import user_path

if TYPE_CHECKING:
    from nanoldm.data.imageset import ImageSet


GIVEN = "given"  # name of images that a program gave
FILE_KINDS = ("folder", "npz")  # kinds of data sets whose name is KIND:PATH


class Data(Config):
    """Which images to use."""

    # mnist, shapes, fashion-mnist, kmnist, qmnist, emnist-digits, cifar10, ..., folder:PATH,
    # npz:FILE or hf:USER/NAME (Hugging Face)
    name: str
    # Side of the images in pixels, a multiple of 4; None: the size of the data set
    size: Annotated[int, Field(ge=4, le=LARGEST_SIZE)] | None = None
    # Use so many of the training images as the test set
    holdout: Annotated[int, Field(ge=0, le=10**9)] = 0

    def load(self) -> "tuple[ImageSet, ImageSet]":
        """(training set, test set). Raises InputError."""
        if self.name == GIVEN:
            raise InputError("the images were given by a program (data=...): give them there "
                             "again, or choose others: --data npz:FILE or --data folder:PATH")
        from nanoldm.data.loading import load

        return load(self.name, self.size, self.holdout)


def absolute(name: str) -> str:
    """folder:PATH, npz:FILE and hf:FOLDER with an absolute path; other names unchanged."""
    kind, colon, path = name.partition(":")
    is_path = kind in FILE_KINDS or (kind == "hf" and user_path(path).exists())
    if colon and path.strip() and is_path:
        return f"{kind}:{user_path(path).resolve()}"
    return name
