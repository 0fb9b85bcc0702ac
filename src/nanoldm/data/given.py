"""Images that a program gives: image sets, tensors, arrays or torch datasets."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.data.image_file import is_grey, opaque
from nanoldm.data.imageset import ImageSet
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import check_images, to_bytes
from nanoldm.utils.limits import check_memory
from nanoldm.utils.text import one_line


def image_sets(data: Any, size: int | None = None) -> tuple[ImageSet, ImageSet]:
    """(training set, test set) of a pair, each of which `image_set` accepts.

    size: to resize them to (default: as they are). Raises InputError.
    """
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise InputError("data is not a pair: give (training images, test images)")
    train, test = (image_set(part, name) for part, name in
                   zip(data, ("training", "test"), strict=True))
    for part, name in ((train, "training"), (test, "test")):
        if not len(part):
            raise InputError(f"there are no {name} images: give at least one")
    shapes = [tuple(part.images.shape[1:]) for part in (train, test)]
    if shapes[0] != shapes[1]:
        raise InputError(f"the training images are {shapes[0]} and the test images {shapes[1]}: "
                         "give images of one size")
    return train.resize(size), test.resize(size)


def image_set(given: Any, name: str) -> ImageSet:
    """An image set of one of:

    - an `ImageSet`;
    - images (N, C, S, S): a tensor or array, uint8, or floats in [0, 1]; C = 1 or 3;
    - (images, labels), labels (N,) whole numbers, -1 for none;
    - a map-style torch Dataset of images or of (image, label), as torchvision's: PIL images,
      tensors (C, S, S) or arrays (S, S) and (S, S, C). Its `classes` name the classes.

    name: of the images in messages. Raises InputError for anything else.
    """
    if isinstance(given, ImageSet):
        return given
    if isinstance(given, tuple | list) and len(given) == 2:
        images, labels = given
    elif isinstance(given, Tensor | np.ndarray):
        images, labels = given, None
    elif hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        return read_dataset(given, name)
    else:
        raise InputError(f"the {name} images are a {type(given).__name__}: give an ImageSet, a "
                         "tensor, (images, labels) or a map-style Dataset")
    try:
        pixels = as_bytes(torch.as_tensor(images).cpu())
        return ImageSet(pixels, whole_labels(labels, len(pixels)))
    except (InputError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"the {name} {one_line(error, 300)}") from None


def as_bytes(images: Tensor) -> Tensor:
    """uint8 images as they are; floats in [0, 1] as uint8. Raises InputError for others."""
    if not images.is_floating_point():
        check_images(images)
        return images
    if images.isnan().any():
        raise InputError("images contain NaN: give numbers from 0 to 1")
    low, high = (images.min().item(), images.max().item()) if images.numel() else (0, 1)
    if low < 0 or high > 1:
        fix = "(images + 1) / 2" if -1 <= low < 0 and high <= 1 else "images / images.max()"
        raise InputError(f"images are floats from {low:g} to {high:g}: give numbers from 0 to 1, "
                         f"such as {fix}")
    pixels = to_bytes(images)
    check_images(pixels)
    return pixels


def whole_labels(labels: Any, count: int) -> Tensor:
    """Labels as (N,) int64; -1 for each of `count` images if there are none. Raises InputError."""
    if labels is None:
        return torch.full((count,), -1)
    found = torch.as_tensor(labels).cpu()
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise InputError(f"labels are {found.dtype}: give whole numbers from 0 on, -1 for none")
    found = found.long()
    if len(found) and found.min() < -1:
        raise InputError(f"labels contain {found.min().item()}: give whole numbers from 0 on, -1 "
                         "for none")
    return found


def read_dataset(dataset: Any, name: str) -> ImageSet:
    """All items of a map-style Dataset. Raises InputError that names the first wrong item."""
    if not len(dataset):
        raise InputError(f"the {name} Dataset is empty: give at least one image")
    images: Tensor | None = None
    labels = torch.full((len(dataset),), -1)
    for k in tqdm(range(len(dataset)), desc=f"reading the {name} images", unit="image", delay=2):
        try:
            item = dataset[k]
            image, label = item[:2] if isinstance(item, tuple | list) else (item, -1)
            pixels = as_bytes(as_tensor(image)[None].cpu())[0]
            labels[k] = whole_labels([label], 1)[0]
            if images is None:
                check_memory(len(dataset) * pixels.numel(), f"the {name} images",
                             "give fewer or smaller ones")
                images = torch.empty(len(dataset), *pixels.shape, dtype=torch.uint8)
            if pixels.shape != images.shape[1:]:
                raise InputError(f"images are {tuple(pixels.shape)}, and the first is "
                                 f"{tuple(images.shape[1:])}: give images of one size")
        except (InputError, TypeError, ValueError, RuntimeError, LookupError, OSError) as error:
            raise InputError(f"item {k} of the {name} Dataset: {one_line(error, 300)}") from None
        images[k] = pixels
    return ImageSet(images, labels, class_names(dataset))


def as_tensor(image: Any) -> Tensor:
    """A PIL image, an array (S, S) or (S, S, C), or a tensor (C, S, S) -> (C, S, S)."""
    if isinstance(image, Tensor):
        return image
    if isinstance(image, Image.Image):
        image = np.array(opaque(image, "L" if is_grey(image) else "RGB"))
    if not isinstance(image, np.ndarray):
        raise InputError(f"the image is a {type(image).__name__}: give a tensor, an array or a "
                         "PIL image")
    pixels = torch.as_tensor(image)
    return pixels[None] if pixels.dim() == 2 else pixels.movedim(-1, 0)


def class_names(dataset: Any) -> tuple[str, ...]:
    """The names of a Dataset's classes: its `classes`; () if it has none."""
    classes = getattr(dataset, "classes", ())
    if isinstance(classes, Mapping):
        classes = sorted(classes, key=classes.get)
    return () if classes is None else tuple(map(str, classes))
