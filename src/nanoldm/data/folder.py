"""A folder of the user's own images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.data.image_file import open_rgba
from nanoldm.data.imageset import ImageSet, split_tenth
from nanoldm.data.layout import find_layout
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import chunks
from nanoldm.utils.limits import check_memory
from nanoldm.utils.paths import user_path
from nanoldm.utils.text import listing

DEFAULT_SIZE = 28
BACKGROUNDS = {"white": 255, "black": 0, "grey": 128}  # of transparent images
FAINT = 48  # of 255: mean contrast below which an image on a page is hard to see
FEW = 0.05  # of the images may be faint or uniform without consequences
OPAQUE = 0.8  # of an image: then it has its own background
DARK = 64  # of 255: a set without a brighter pixel looks black
UNIFORM = 8  # of 255: an image whose pixels differ less shows nothing


def load_folder(path: str, size: int | None) -> tuple[ImageSet, ImageSet]:
    """(training set, test set) of the images below `path`, cropped to a square and resized.

    The test set is a subfolder (see `find_layout`), or else every tenth image in order of path.
    Other subfolders are classes; images outside of them have the label -1. The images are grey
    unless one has colour. Transparent images get a background. size: default 28.
    Raises InputError without such a folder, for fewer than two images, and for unreadable files.
    """
    if not path.strip():
        fix = "give folder:PATH, such as folder:. for the current one"
        raise InputError(f"data folder: names no folder: {fix}")
    folder = user_path(path)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give folder:PATH with a folder of images")
    layout = find_layout(folder)
    found = layout.train + layout.test
    if len(found) < 2:
        raise InputError(f"{folder} holds 1 image: at least 2 are needed, to train and to test")
    images = read_images([file for file, _ in found], size or DEFAULT_SIZE)
    images, page_notes = without_transparency(images)
    number = {name: k for k, name in enumerate(layout.classes)}
    labels = torch.tensor([number.get(name, -1) for _, name in found])

    whole, count = ImageSet(images, labels, tuple(layout.classes)), len(layout.train)
    train, test = ((whole.select(slice(count)), whole.select(slice(count, None)))
                   if layout.test else split_tenth(whole))
    notes = (*layout.notes, *page_notes, *warning_about(train.images))
    return replace(train, notes=notes), replace(test, notes=notes)


def read_images(files: Sequence[Path], size: int) -> Tensor:
    """RGB and opacity of the centred squares. -> (N, 4, size, size) uint8. Raises InputError."""
    what = f"{len(files):,} images of {size}x{size} pixels"
    check_memory(2 * len(files) * 4 * size**2, what, "choose a smaller size, or fewer images")
    images, errors = torch.empty(len(files), 4, size, size, dtype=torch.uint8), []
    bar = tqdm(files, desc="reading images", unit="image", delay=2)
    for image, file in zip(images, bar, strict=True):
        try:
            fitted = ImageOps.fit(open_rgba(file)[0], (size, size), Image.Resampling.LANCZOS)
            image.copy_(torch.from_numpy(np.array(fitted)).permute(2, 0, 1))
        except InputError as error:
            errors.append(error)
    if errors:
        more = f" (and {len(errors) - 1:,} more of {len(files):,} cannot be read)"
        raise InputError(f"{errors[0]}{more if len(errors) > 1 else ''}")
    return images


def without_transparency(images: Tensor) -> tuple[Tensor, list[str]]:
    """Put transparent images (N, 4, S, S) on a background, in place -> ((N, C, S, S), a note).

    C is 1 if all images are grey, else 3.
    """
    transparent, notes = (images[:, 3] < 255).flatten(1).any(1), []
    if count := int(transparent.sum()):
        colour = choose_background(images[transparent])
        for part in chunks(images):
            opacity = part[:, 3:].float() / 255
            mixed = part[:, :3] * opacity + BACKGROUNDS[colour] * (1 - opacity)
            part[:, :3] = mixed.round().to(torch.uint8)
        why = "" if colour == "white" else ", because many would hardly be visible on white"
        notes = [f"{count:,} images are partly transparent and were put on {colour}{why}"]
    grey = (images[:, :1] == images[:, :3]).all()
    return images[:, : 1 if grey else 3].contiguous(), notes


def choose_background(images: Tensor) -> str:
    """The first of BACKGROUNDS on which few of the images (N, 4, S, S) are faint, else the best."""
    parts = chunks(images)
    faint = {}
    for name, level in BACKGROUNDS.items():
        faint[name] = sum(int(is_faint(part, level).sum()) for part in parts)
        if faint[name] <= FEW * len(images):
            return name
    return min(faint, key=faint.get)


def is_faint(images: Tensor, level: int) -> Tensor:
    """Which images (N, 4, S, S) are mostly transparent and hard to see on this grey. -> (N,)"""
    weight = images[:, 3].float()
    contrast = (images[:, :3].int() - level).abs().amax(1) * weight
    faint = contrast.sum((1, 2)) < FAINT * weight.sum((1, 2))
    return faint & (weight.mean((1, 2)) < OPAQUE * 255)


def describe_classes(data: ImageSet) -> list[str]:
    """The classes with their training images, and how many images have no class."""
    if not data.class_names:
        return []
    labels = data.labels
    counts = torch.bincount(labels[labels >= 0], minlength=len(data.class_names)).tolist()
    named = list(enumerate(zip(data.class_names, counts, strict=True)))
    shown = [f"{k}{f': {name}' * (name != str(k))} ({n:,})" for k, (name, n) in named]
    notes = [f"{len(shown):,} classes (training images): {listing(shown)}"]
    if empty := [name for _, (name, n) in named if not n]:
        notes.append(f"without training images, and so never generated: {listing(empty)}")
    if outside := int((labels < 0).sum()):
        notes.append(f"in no subfolder, and so in no class: {outside:,} images")
    return notes


def warning_about(images: Tensor) -> list[str]:
    """A warning about training images (N, C, S, S) that show nothing, are dark or are equal."""
    total = f"all {len(images):,} training images"
    spread = images.amax((2, 3)).int() - images.amin((2, 3)).int()
    uniform = int((spread < UNIFORM).all(1).sum())
    if uniform > FEW * len(images):
        problem = f"{uniform:,} of {len(images):,} training images show one uniform colour"
    elif len(images) and images.max() < DARK:
        problem = f"no pixel of {total} is brighter than {int(images.max())} of 255"
    elif len(images) > 1 and (images.amax(0).int() - images.amin(0).int() < UNIFORM).all():
        problem = f"{total} are the same, or nearly"
    else:
        return []
    return [f"warning: {problem}: look at the files"]
