"""Images as NumPy archives (.npz): array `images`, uint8 (N, S, S), or (N, S, S, 3) for colour; optionally `labels`, (N,) integers."""

import io
import math
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nanoldm.data import ImageSet
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import write_bytes
from nanoldm.utils.images import to_bytes
from nanoldm.utils.limits import check_memory
from nanoldm.utils.paths import check_regular

MOST_LABEL = 2**31
BESIDE = 256        # bytes for each image that arrays beside the images may take


def save_npz(path: Path, images: Tensor, **arrays: np.ndarray) -> None:
    """images: (N, C, S, S), float in [0, 1] or uint8; `arrays` are written beside them."""
    pixels = (images if images.dtype == torch.uint8 else to_bytes(images)).permute(0, 2, 3, 1).numpy()
    content = io.BytesIO()
    np.savez_compressed(content, images=pixels[..., 0] if pixels.shape[-1] == 1 else pixels, **arrays)
    write_bytes(path, content.getbuffer())


def read_npz(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The arrays called `names` of an archive, as far as it has them; others are not looked at.

    Raises InputError that names the file if it is missing, damaged or another kind of file, and for an array that needs more memory than
    there is: each is asked for its size before it is read.
    """
    if not path.exists():
        raise InputError(f"there is no file {path}: make one with: nanoldm sample --npz {path}")
    check_regular(path, "write it with nanoldm sample --npz or numpy.savez")
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")         # numpy remarks on files that Python 2 wrote
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            if names[0] not in members:
                raise InputError(f"{path} has no array `{names[0]}` (it has {short_list(members)}): save it as "
                                 f"numpy.savez(FILE, {names[0]}=...)")
            first = read_member(archive, members[names[0]])
            return {names[0]: first} | {name: read_member(archive, members[name], BESIDE * (1 + len(first)))
                                        for name in names[1:] if name in members}
    except (InputError, MemoryError):
        raise
    except Exception as error:      # zipfile, zlib, lzma and numpy have a dozen kinds
        raise InputError(f"{path} is not a readable .npz archive ({' '.join(str(error).split())[:100]}): "
                         "write it with nanoldm sample --npz or numpy.savez") from None


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: float = math.inf) -> np.ndarray:
    """One array, of `most` bytes. Raises ValueError for anything else."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
        size = math.prod(shape) * kind.itemsize
        if kind.hasobject or size != member.file_size - file.tell() or size > most:
            raise ValueError(f"`{member.filename}` is not an array of {kind} {shape}")
    check_memory(2 * size, f"`{member.filename}` of {archive.filename}", "give a file of fewer images")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def short_list(names: dict[str, zipfile.ZipInfo]) -> str:
    return ", ".join([*names][:10]) + ", ..." * (len(names) > 10) or "none"


def load_images(path: Path) -> ImageSet:
    """The images of an archive, with its labels (-1 where it has none). Raises InputError for anything else than the format above."""
    return image_set(read_npz(path, "images", "labels"), path)


def image_set(arrays: dict[str, np.ndarray], path: Path) -> ImageSet:
    """As `load_images`, from arrays that were read from `path` already."""
    images = arrays["images"]
    grey, colour = images.ndim == 3, images.ndim == 4 and images.shape[3] == 3
    if images.dtype != np.uint8 or not (grey or colour) or images.shape[1] != images.shape[2]:
        raise InputError(f"`images` in {path} is {images.dtype} {images.shape}: give uint8 (N, S, S), or (N, S, S, 3) for colour")
    if not len(images):
        raise InputError(f"{path} holds no images: draw at least 20")
    labels = arrays.get("labels", np.full(len(images), -1))
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"`labels` in {path} is {labels.dtype} {labels.shape}: give one whole number for each of {len(images)} images")
    if labels.min() < -1 or labels.max() > MOST_LABEL:
        raise InputError(f"`labels` in {path} go from {labels.min()} to {labels.max()}: give classes from 0 on, -1 for none")
    pixels = torch.from_numpy(images)
    return ImageSet(pixels[:, None] if grey else pixels.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels.astype(np.int64)))
