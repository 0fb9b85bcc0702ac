"""Images as NumPy archives (.npz): array `images`, uint8 (N, S, S), or (N, S, S, 3) for colour; optionally `labels`, (N,) integers."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nanoldm.data import ImageSet, to_bytes
from nanoldm.errors import InputError
from nanoldm.files import replacing


def save_npz(path: Path, images: Tensor, **arrays: np.ndarray) -> None:
    """images: (N, C, S, S), float in [0, 1] or uint8; `arrays` are written beside them."""
    pixels = (images if images.dtype == torch.uint8 else to_bytes(images)).permute(0, 2, 3, 1).numpy()
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, images=pixels[..., 0] if pixels.shape[-1] == 1 else pixels, **arrays)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive. Raises InputError that names the file if it is missing, damaged or another kind of file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise InputError(f"there is no file {path}: make one with: nanoldm sample --npz {path}") from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is not a readable .npz archive ({' '.join(str(error).split())[:100]}): "
                         "write it with nanoldm sample --npz or numpy.savez") from None


def load_images(path: Path) -> ImageSet:
    """The images of an archive, with its labels (-1 where it has none). Raises InputError for anything else than the format above."""
    return image_set(read_npz(path), path)


def image_set(arrays: dict[str, np.ndarray], path: Path) -> ImageSet:
    """As `load_images`, from arrays that were read from `path` already."""
    if "images" not in arrays:
        raise InputError(f"{path} has no array `images` (it has {', '.join(arrays) or 'none'}): save them as numpy.savez(FILE, images=...)")
    images = arrays["images"]
    grey, colour = images.ndim == 3, images.ndim == 4 and images.shape[3] == 3
    if images.dtype != np.uint8 or not (grey or colour) or images.shape[1] != images.shape[2]:
        raise InputError(f"`images` in {path} is {images.dtype} {images.shape}: give uint8 (N, S, S), or (N, S, S, 3) for colour")
    if not len(images):
        raise InputError(f"{path} holds no images: draw at least 20")
    labels = arrays.get("labels", np.full(len(images), -1))
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"`labels` in {path} is {labels.dtype} {labels.shape}: give one whole number for each of {len(images)} images")
    pixels = torch.from_numpy(images)
    return ImageSet(pixels[:, None] if grey else pixels.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels.astype(np.int64)))
