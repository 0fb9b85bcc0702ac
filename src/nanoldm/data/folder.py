"""A folder of the user's own images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.data.image_file import open_rgba
from nanoldm.data.imageset import ImageSet
from nanoldm.data.layout import find_layout
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import images_at_a_time
from nanoldm.utils.limits import check_memory
from nanoldm.utils.paths import user_path
from nanoldm.utils.text import listing

DEFAULT_SIZE = 28
PAGES = {"white": 255, "black": 0, "grey": 128}     # what transparent images may be laid on
FAINT = 48              # of 255: a drawing whose strokes differ less than this from the page, in the mean, is faint
FEW = 0.05              # of the images may be faint, or even, and nothing is done or said about it
OPAQUE = 0.8            # of an image: then it has a page of its own
DARK = 64               # of 255: a set without a brighter pixel is as good as black
EVEN = 8                # of 255: an image whose pixels differ less than this shows nothing


def load_folder(path: str, size: int | None) -> tuple[ImageSet, ImageSet]:
    """(training set, test set) from the images below `path`, cropped to a centred square and resized to `size` (default 28).

    Two subfolders called train and test, or likewise (`find_layout`), are the two sets; otherwise every tenth image, in order of path, is
    kept for the test loss. Below that, a subfolder is a class; images that lie in none get the label -1. Grey unless any image has colour.
    Transparent images are laid on white, or on black or grey where fewer of them become faint. `notes` say what was found.
    Raises InputError if there is no such folder, fewer than two images, or files that cannot be read.
    """
    if not path.strip():
        raise InputError("folder: names no folder: give --data folder:PATH, such as folder:. for the current one")
    folder, size = user_path(path), size or DEFAULT_SIZE
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give --data folder:PATH the path of a folder of images")
    layout = find_layout(folder)
    found = layout.train + layout.test
    if len(found) < 2:
        raise InputError(f"{folder} holds 1 image: at least 2 are needed, one to train on and one to test")
    images, page = laid_on_page(read_images([file for file, _ in found], size))
    number = {name: k for k, name in enumerate(layout.classes)}
    labels = torch.tensor([number.get(name, -1) for _, name in found])

    is_test = torch.arange(len(images)) % 10 == 9
    is_test[-1] |= not is_test.any()
    if layout.test:
        is_test = torch.arange(len(images)) >= len(layout.train)
    notes = [*layout.notes, *page, *suspicions(images[~is_test])]
    whole = ImageSet(images, labels, tuple(layout.classes), tuple(notes))
    return whole.select(~is_test), whole.select(is_test)


def read_images(files: Sequence[Path], size: int) -> Tensor:
    """-> (N, 4, size, size) uint8: RGB and opacity, cropped to a centred square. Raises InputError that names the files that cannot be
    read."""
    check_memory(2 * len(files) * 4 * size**2, f"{len(files):,} images of {size}x{size} pixels", "give a smaller --size, or fewer images")
    images, failed = torch.empty(len(files), 4, size, size, dtype=torch.uint8), []
    for image, file in zip(images, tqdm(files, desc="reading images", unit="image", delay=2), strict=True):
        try:
            picture = ImageOps.fit(open_rgba(file)[0], (size, size), Image.Resampling.LANCZOS)
        except InputError as error:
            failed.append(error)
            continue
        image.copy_(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
    if failed:
        others = f" (and {len(failed) - 1:,} more of {len(files):,} cannot be read)" if len(failed) > 1 else ""
        raise InputError(f"{failed[0]}{others}")
    return images


def laid_on_page(images: Tensor) -> tuple[Tensor, list[str]]:
    """RGB and opacity (N, 4, S, S) -> (images (N, 3, S, S), or (N, 1, S, S) if all are grey; a note on the page where any shows)."""
    colours, opacity = images[:, :3], images[:, 3:]
    clear = (opacity < 255).flatten(1).any(1)
    note = []
    if clear.any():
        page = choose_page(drawings := images[clear])
        colours = torch.cat([composite(part, PAGES[page]) for part in images.split(images_at_a_time(images))])
        note = [f"{len(drawings):,} images are transparent in part and were laid on {page}"
                + (", since many of their colours would not be seen on white" if page != "white" else "")]
    grey = (colours[:, :1] == colours).all()
    return (colours[:, :1] if grey else colours).contiguous(), note


def choose_page(images: Tensor) -> str:
    """The first of PAGES on which few of these transparent images (N, 4, S, S) are faint, or the fewest: white drawings would not be seen
    on white."""
    parts = images.split(images_at_a_time(images))
    faint = {name: sum(int(is_faint(part, page).sum()) for part in parts) for name, page in PAGES.items()}
    return next((name for name in PAGES if faint[name] <= FEW * len(images)), min(faint, key=faint.get))


def is_faint(images: Tensor, page: int) -> Tensor:
    """Which images (N, 4, S, S) could hardly be seen on a page of that grey; none that are opaque almost everywhere, such as paper with
    transparent corners. -> (N,)"""
    weight = images[:, 3].float()
    contrast = (images[:, :3].int() - page).abs().amax(1) * weight
    return (contrast.sum((1, 2)) < FAINT * weight.sum((1, 2))) & (weight.mean((1, 2)) < OPAQUE * 255)


def composite(images: Tensor, page: int) -> Tensor:
    """(N, 4, S, S) over an even page -> (N, 3, S, S)."""
    opacity = images[:, 3:].float() / 255
    return (images[:, :3] * opacity + page * (1 - opacity)).round().to(torch.uint8)


def describe_classes(data: ImageSet) -> list[str]:
    """Which number is which subfolder, with its training images, and how many images have none."""
    classes, labels = data.class_names, data.labels
    if not classes:
        return []
    counts = torch.bincount(labels[labels >= 0], minlength=len(classes)).tolist()
    names = [f"{k}{f': {name}' * (name != str(k))} ({count:,})" for k, (name, count) in enumerate(zip(classes, counts, strict=True))]
    empty, loose = [name for name, count in zip(classes, counts, strict=True) if not count], int((labels < 0).sum())
    return [f"{len(classes):,} classes (training images): {listing(names)}",
            *[f"without training images, and so never drawn: {listing(empty)}"] * bool(empty),
            *[f"in no class, since they lie in no subfolder: {loose:,} images"] * bool(loose)]


def suspicions(images: Tensor) -> list[str]:
    """What is suspicious about a training set."""
    even = int((images.amax((2, 3)).int() - images.amin((2, 3)).int() < EVEN).all(1).sum())
    if even > FEW * len(images):
        return [f"warning: {even:,} of {len(images):,} training images show one even colour and nothing else: look at the files"]
    if len(images) and images.max() < DARK:
        return [f"warning: no pixel of all {len(images):,} training images is brighter than {int(images.max())} of 255: look at the files"]
    if len(images) > 1 and (images.amax(0).int() - images.amin(0).int() < EVEN).all():
        return [f"warning: all {len(images):,} training images are the same, or nearly: look at the files"]
    return []
