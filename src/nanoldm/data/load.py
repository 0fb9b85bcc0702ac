"""Find a data set by its name."""

from dataclasses import replace

import torch

from nanoldm.data.folder import describe_classes, load_folder
from nanoldm.data.imageset import ImageSet
from nanoldm.data.mnist import load_mnist
from nanoldm.data.vision import load_torchvision
from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import LARGEST_SIZE, check_memory
from nanoldm.utils.seeding import generator


def load(name: str, size: int | None = None, holdout: int = 0) -> tuple[ImageSet, ImageSet]:
    """(training set, test set) called `name`: "mnist", the name of a set of torchvision's, or "folder:PATH".

    size: side of the square images, a multiple of 4 (default: the set's own). holdout: take the last `holdout` training images
    (of a folder, which is sorted by class, as many from all over it) as the test set instead of the real one, so that tuning never
    sees it.
    Raises InputError for an unknown name, unreadable files, or a size or holdout that does not fit.
    """
    if size is not None and (size < 4 or size % 4):
        raise InputError(f"--size {size} is not a multiple of 4: try {max(4, round(size / 4) * 4)}")
    if size is not None and size > LARGEST_SIZE:
        raise InputError(f"--size {size}: images of at most {LARGEST_SIZE} pixels a side can be trained on")
    if name == "mnist":
        train, test = load_mnist()
    elif name.startswith("folder:"):
        train, test = load_folder(name.removeprefix("folder:"), size)
    else:
        train, test = load_torchvision(name)
    if not 0 <= holdout < len(train):
        raise InputError(f"--holdout {holdout} leaves nothing to train on: choose 0 to {len(train) - 1} images of {name}")
    if holdout and name.startswith("folder:"):
        train = train.select(torch.randperm(len(train), generator=generator(0)))
    if holdout:
        train, test = train.select(slice(-holdout)), train.select(slice(-holdout, None))
    train = replace(train, notes=(*train.notes, *describe_classes(train))) if name.startswith("folder:") else train
    side, channels, count = size or train.images.shape[-1], train.images.shape[1], len(train) + len(test)
    check_memory((2 if side != train.images.shape[-1] else 0) * count * channels * side**2,
                 f"{count:,} images of {side}x{side} pixels", "give a smaller --size")
    return train.resize(size), test.resize(size)
