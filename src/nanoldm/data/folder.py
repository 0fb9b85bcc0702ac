"""A folder of the user's own images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.data.imageset import ImageSet
from nanoldm.errors import InputError
from nanoldm.limits import check_memory
from nanoldm.paths import user_path
from nanoldm.terminal import without_remarks

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF")      # others may start programs, as EPS does
DEFAULT_SIZE = 28
MOST_PIXELS = 64_000_000        # of one picture; a small file may claim any number


def load_folder(path: str, size: int | None) -> tuple[ImageSet, ImageSet]:
    """(training set, test set) from the images below `path`, cropped to a centred square and resized to `size` (default 28).

    Subfolders `train` and `test` are the two sets where both exist; otherwise every tenth image, in order of name, is kept for
    the test loss. Below that, a subfolder is a class, numbered in order of name; images that lie directly in the folder get the label -1.
    Grey unless any image has colour. Raises InputError if there is no such folder, fewer than two images, or a file that cannot be read.
    """
    if not path.strip():
        raise InputError("folder: names no folder: give --data folder:PATH, such as folder:. for the current one")
    folder, size = user_path(path), size or DEFAULT_SIZE
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
    """Image files below `folder` in order of name, without those that a system hides (.git, __MACOSX). Links are followed."""
    files = sorted(file for file in walk(folder) if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise InputError(f"{folder} holds no images: put {', '.join(sorted(SUFFIXES))} files there, or in one subfolder for each class")
    return files


def walk(folder: Path) -> list[Path]:
    """All that lies below `folder` but is no folder and not hidden. Links are followed, but none to a folder that was seen already in the
    same subfolder of `folder`, or lies above: that would take long, or never end."""
    found, left, seen = [], [folder], {(None, folder.resolve())}
    while left:
        here = left.pop()
        for path in here.iterdir():
            if path.name.startswith((".", "__")):
                continue
            if not path.is_dir():
                found.append(path)
                continue
            top, real = path.relative_to(folder).parts[0], path.resolve()
            if not {(top, real), (None, real)} & seen:
                seen.add((top, real))
                left.append(path)
    return found


def class_names(folder: Path, files: list[Path]) -> list[str]:
    """The subfolders that hold images, in order of name."""
    return sorted({file.relative_to(folder).parts[0] for file in files if file.parent != folder})


def read_images(folder: Path, size: int, classes: list[str]) -> ImageSet:
    files = find_images(folder)
    check_memory(2 * len(files) * 3 * size**2, f"{len(files):,} images of {size}x{size} pixels", "give a smaller --size, or fewer images")
    images = torch.stack([read_image(file, size) for file in tqdm(files, desc="reading images", unit="image", delay=2)])
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
    return on_page(open_rgba(file)[0], page)


def on_page(image: Image.Image, page: str) -> Image.Image:
    """An RGBA image in RGB, laid on a page of that colour."""
    sheet = Image.new("RGBA", image.size, page)
    sheet.alpha_composite(image)
    return sheet.convert("RGB")


def open_rgba(file: Path) -> tuple[Image.Image, str, int]:
    """(the first frame in RGBA, upright, with 8 bits; its mode in the file; number of frames). Raises InputError for a file of another
    kind than FORMATS, and for one that is damaged, in whatever way."""
    if file.exists() and not file.is_file():        # a pipe would never end
        raise InputError(f"{file} cannot be read as an image (it is no file): repair or remove it")
    try:
        with without_remarks(), Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels are more than {MOST_PIXELS // 10**6} millions: scale it down")
            mode, frames = image.mode, getattr(image, "n_frames", 1)
            image.seek(0)
            return eight_bits(ImageOps.exif_transpose(image)).convert("RGBA"), mode, frames
    except MemoryError:
        raise
    except Exception as error:      # of damaged files PIL raises a dozen kinds
        reason = "no image that is known here" if isinstance(error, Image.UnidentifiedImageError) else " ".join(str(error).split())[:150]
        raise InputError(f"{file} cannot be read as an image ({reason or type(error).__name__}): repair or remove it") from None


def eight_bits(image: Image.Image) -> Image.Image:
    """16 bits of grey (or floats in [0, 1]) scaled to 8, which PIL's own conversion would clip to white (or black)."""
    if image.mode[0] not in "IF":
        return image
    scale = 255 if image.mode == "F" else 255 / 65535
    return Image.fromarray((np.asarray(image) * scale).clip(0, 255).round().astype(np.uint8))
