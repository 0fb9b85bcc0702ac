"""Find a data set by its name."""

from dataclasses import replace

import torch

from nanoldm.data.folder import describe_classes, load_folder
from nanoldm.data.hub import load_hub
from nanoldm.data.imageset import ImageSet
from nanoldm.data.mnist import FASHION, load_fashion, load_mnist
from nanoldm.data.npz import load_sets
from nanoldm.data.shapes import load_shapes
from nanoldm.data.vision import load_torchvision
from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import LARGEST_SIZE, check_memory, within
from nanoldm.utils.paths import user_path
from nanoldm.utils.seeding import generator

# "KIND:PATH" -> its loader
OWN = {"folder": load_folder, "npz": lambda path, size: load_sets(user_path(path)), "hf": load_hub}


def load(name: str, size: int | None = None, holdout: int = 0) -> tuple[ImageSet, ImageSet]:
    """(training set, test set) by name.

    name: "mnist", "shapes", a set of torchvision, "folder:PATH", "npz:FILE" or "hf:USER/NAME".

    size: side of the images, a multiple of 4 (default: of the data set).
    holdout: use so many training images as the test set, so that tuning never sees the real one:
        the last ones; random ones of your own images, which may be sorted by class.
    Raises InputError for an unknown name, unreadable files, or a wrong size or holdout.
    """
    if size is not None:
        if size < 4 or size % 4:
            fix = max(4, round(size / 4) * 4)
            raise InputError(f"size {size} is not a multiple of 4: try {fix}")
        within("size", size, 4, LARGEST_SIZE)
    kind, colon, path = name.partition(":")
    is_own = bool(colon) and kind in OWN
    if is_own:
        train, test = OWN[kind](path, size)
    else:
        here = {"mnist": load_mnist, "shapes": load_shapes}
        if FASHION.is_dir():
            here["fashion-mnist"] = load_fashion
        train, test = here[name]() if name in here else load_torchvision(name)
    if not 0 <= holdout < len(train):
        fix = f"choose 0 to {len(train) - 1} images of {name}"
        raise InputError(f"holdout {holdout} leaves nothing to train on: {fix}")
    if holdout:
        if is_own:
            train = train.select(torch.randperm(len(train), generator=generator(0)))
        train, test = train.select(slice(-holdout)), train.select(slice(-holdout, None))
    if is_own:
        train = replace(train, notes=(*train.notes, *describe_classes(train)))
    if size not in (None, train.images.shape[-1]):
        count, pixels = len(train) + len(test), train.images.shape[1] * size**2
        what = f"{count:,} images of {size}x{size} pixels"
        check_memory(2 * count * pixels, what, "choose a smaller size")
    return train.resize(size), test.resize(size)
