"""A folder of the user's own images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from nanoldm.data.imageset import ImageSet
from nanoldm.errors import InputError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
DEFAULT_SIZE = 28


def load_folder(path: str, size: int | None) -> tuple[ImageSet, ImageSet]:
    """(training set, test set) from the images below `path`, cropped to a centred square and resized to `size` (default 28).

    Subfolders `train` and `test` are the two sets where both exist; otherwise every tenth image, in order of name, is kept for
    the test loss. Below that, a subfolder is a class, numbered in order of name; images that lie directly in the folder get the label -1.
    Grey unless any image has colour. Raises InputError if there is no such folder, fewer than two images, or a file that cannot be read.
    """
    folder, size = Path(path).expanduser(), size or DEFAULT_SIZE
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}: give --data folder:PATH the path of a folder of images")
    train, test = folder / "train", folder / "test"
    if train.is_dir() and test.is_dir():
        classes = class_names(train, find_images(train))
        return match_channels(read_images(train, size, classes), read_images(test, size, classes))
    images = read_images(folder, size, class_names(folder, find_images(folder)))
    if len(images) < 2:
        raise InputError(f"{folder} holds 1 image: at least 2 are needed, one to train on and one to test")
    is_test = torch.arange(len(images)) % 10 == 9
    is_test[-1] |= not is_test.any()
    return images.select(~is_test), images.select(is_test)


def find_images(folder: Path) -> list[Path]:
    """Image files below `folder` in order of name, without those that a system hides (.git, __MACOSX)."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
                   and not any(part.startswith((".", "__")) for part in file.relative_to(folder).parts))
    if not files:
        raise InputError(f"{folder} holds no images: put {', '.join(sorted(SUFFIXES))} files there, or in one subfolder for each class")
    return files


def class_names(folder: Path, files: list[Path]) -> list[str]:
    """The subfolders that hold images, in order of name."""
    return sorted({file.relative_to(folder).parts[0] for file in files if file.parent != folder})


def read_images(folder: Path, size: int, classes: list[str]) -> ImageSet:
    files = find_images(folder)
    images = torch.stack([read_image(file, size) for file in tqdm(files, desc=f"reading {folder}", unit="image", delay=2)])
    if (images[:, :1] == images).all():
        images = images[:, :1]
    tops = [file.relative_to(folder).parts[0] for file in files]
    return ImageSet(images.contiguous(), torch.tensor([classes.index(top) if top in classes else -1 for top in tops]))


def match_channels(train: ImageSet, test: ImageSet) -> tuple[ImageSet, ImageSet]:
    """One set may happen to be all grey where the other has colour: grey is then repeated."""
    channels = max(train.images.shape[1], test.images.shape[1])
    return tuple(ImageSet(data.images.expand(-1, channels, -1, -1).contiguous(), data.labels) for data in (train, test))


def read_image(file: Path, size: int) -> Tensor:
    """-> (3, size, size) uint8, cropped to a centred square."""
    return torch.from_numpy(np.array(ImageOps.fit(open_image(file), (size, size), Image.Resampling.LANCZOS))).permute(2, 0, 1)


def open_image(file: Path, page: str = "white") -> Image.Image:
    """The image (of an animation the first frame) in RGB. Transparency becomes `page`; the camera's rotation is applied."""
    try:
        with Image.open(file) as image:
            image = eight_bits(ImageOps.exif_transpose(image)).convert("RGBA")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{file} cannot be read as an image ({error}): repair or remove it") from None
    sheet = Image.new("RGBA", image.size, page)
    sheet.alpha_composite(image)
    return sheet.convert("RGB")


def eight_bits(image: Image.Image) -> Image.Image:
    """16 bits of grey (or floats in [0, 1]) scaled to 8, which PIL's own conversion would clip to white (or black)."""
    if image.mode[0] not in "IF":
        return image
    scale = 255 if image.mode == "F" else 255 / 65535
    return Image.fromarray((np.asarray(image) * scale).clip(0, 255).round().astype(np.uint8))
