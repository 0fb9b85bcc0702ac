"""Images as NumPy archives: uint8 `images` (N, S, S) or (N, S, S, 3), integer `labels` (N,)."""

import io
import math
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nanoldm.data.imageset import ImageSet, split_tenth
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import write_bytes
from nanoldm.utils.images import to_bytes
from nanoldm.utils.limits import check_memory
from nanoldm.utils.paths import check_regular
from nanoldm.utils.text import listing, one_line

LARGEST_LABEL = 2**31
MOST_BYTES = 256  # per image, of an array other than the images
FIX = "write it with nanoldm sample --npz or numpy.savez"


def save_npz(path: Path, images: Tensor, **arrays: np.ndarray) -> None:
    """images: (N, C, S, S), float in [0, 1] or uint8. arrays: more arrays of the archive."""
    pixels = images if images.dtype == torch.uint8 else to_bytes(images)
    pixels = (pixels[:, 0] if pixels.shape[1] == 1 else pixels.permute(0, 2, 3, 1)).numpy()
    content = io.BytesIO()
    np.savez_compressed(content, images=pixels, **arrays)
    write_bytes(path, content.getbuffer())


def read_npz(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The arrays `names` of an archive: the first one must exist, the others may be missing.

    Their sizes are checked before they are read. Raises InputError that names the file if it is
    missing, damaged or another kind of file, or too large for the memory.
    """
    check_regular(path, FIX)
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of files from Python 2
            members = {file.filename.removesuffix(".npy"): file for file in archive.infolist()}
            if names[0] not in members:
                problem = f"has no array `{names[0]}` (it has {listing([*members]) or 'none'})"
                raise InputError(f"{path} {problem}: save it as numpy.savez(FILE, {names[0]}=...)")
            arrays, most = {}, math.inf
            for name in filter(members.get, names):
                arrays[name] = read_member(archive, members[name], most)
                most = MOST_BYTES * (1 + len(arrays[names[0]]))
            return arrays
    except (InputError, MemoryError):
        raise
    except Exception as error:  # zipfile, zlib, lzma and numpy raise many kinds
        reason = one_line(error, 100)
        raise InputError(f"{path} is not a readable .npz archive ({reason}): {FIX}") from None


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: float) -> np.ndarray:
    """One array of at most `most` bytes. Raises ValueError for anything else."""
    with archive.open(member) as file:
        version = "1_0" if np.lib.format.read_magic(file) == (1, 0) else "2_0"
        shape, _, kind = getattr(np.lib.format, f"read_array_header_{version}")(file)
        size = math.prod(shape) * kind.itemsize
        if kind.hasobject or size != member.file_size - file.tell() or size > most:
            raise ValueError(f"`{member.filename}` is not an array of {kind} {shape}")
    what = f"`{member.filename}` of {archive.filename}"
    check_memory(2 * size, what, "give a file of fewer images")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def load_images(path: Path) -> ImageSet:
    """The images and labels of an archive. Raises InputError if it is not in the format above."""
    return image_set(read_npz(path, "images", "labels"), path)


def load_sets(path: Path) -> tuple[ImageSet, ImageSet]:
    """(training set, test set) of an archive: `images` and `labels`, and `test_images` and
    `test_labels`, or else every tenth image as the test set.

    `class_names` (strings) may name the classes. Raises InputError if it is not in this format.
    """
    train = load_images(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if "class_names.npy" in names:
        found = read_npz(path, "class_names")["class_names"]
        train = replace(train, class_names=tuple(map(str, found.tolist())))
    if "test_images.npy" not in names:
        return split_tenth(train)
    arrays = read_npz(path, "test_images", "test_labels")
    test = image_set(arrays, path, "test_")
    if test.images.shape[1:] != train.images.shape[1:]:
        raise InputError(f"`test_images` in {path} differ from `images` in size or colour: give "
                         "images of one size")
    return train, test


def image_set(arrays: dict[str, np.ndarray], path: Path, prefix: str = "") -> ImageSet:
    """Like `load_images`, from the arrays of `path`. prefix: of their names."""
    images = arrays[f"{prefix}images"]
    grey, colour = images.ndim == 3, images.ndim == 4 and images.shape[3] == 3
    if images.dtype != np.uint8 or not (grey or colour) or images.shape[1] != images.shape[2]:
        given = f"`{prefix}images` in {path} is {images.dtype} {images.shape}"
        raise InputError(f"{given}: give uint8 (N, S, S), or (N, S, S, 3) for colour")
    if not len(images):
        raise InputError(f"{path} holds no images: generate at least 20")
    labels = arrays.get(f"{prefix}labels", np.full(len(images), -1))
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        given = f"`{prefix}labels` in {path} is {labels.dtype} {labels.shape}"
        raise InputError(f"{given}: give one whole number for each of {len(images)} images")
    if labels.min() < -1 or labels.max() > LARGEST_LABEL:
        given = f"`{prefix}labels` in {path} range from {labels.min()} to {labels.max()}"
        raise InputError(f"{given}: give classes from 0 on, -1 for none")
    pixels = torch.from_numpy(images)
    pixels = pixels[:, None] if grey else pixels.permute(0, 3, 1, 2).contiguous()
    return ImageSet(pixels, torch.from_numpy(labels.astype(np.int64)))
