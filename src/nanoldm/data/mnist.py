"""The bundled MNIST: four gzip-compressed IDX files, read without the network."""

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from nanoldm.data.imageset import ImageSet
from nanoldm.utils.errors import InputError

FOLDER = Path(__file__).parents[1] / "bundled" / "mnist"

# shape and MD5 of the uncompressed file (bundled/mnist/README.md)
FILES = {"train-images-idx3-ubyte": ((60000, 28, 28), "6bbc9ace898e44ae57da46a324031adb"),
         "train-labels-idx1-ubyte": ((60000,), "a25bea736e30d166cdddb491f175f624"),
         "t10k-images-idx3-ubyte": ((10000, 28, 28), "2646ac647ad5339dbf082846283269ea"),
         "t10k-labels-idx1-ubyte": ((10000,), "27ae3e4e09519cfbb04c329615203637")}


def read_idx(path: Path, shape: tuple[int, ...], md5: str) -> Tensor:
    """A gzip-compressed IDX file of unsigned bytes -> uint8 tensor of `shape`.

    IDX: two zero bytes, type code 8, the number of axes, their sizes as big-endian 32-bit integers,
    then the bytes. Raises InputError that names the file if it is missing, truncated or another.
    """
    fix = "install nanoldm again, or put the original MNIST file there"
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} is missing: {fix}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is truncated or not gzip ({error}): {fix}") from None
    header = bytes([0, 0, 8, len(shape)]) + b"".join(axis.to_bytes(4, "big") for axis in shape)
    if not content.startswith(header) or len(content) != len(header) + math.prod(shape):
        raise InputError(f"{path} is not an IDX file of {'x'.join(map(str, shape))} bytes: {fix}")
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise InputError(f"{path} is not the original MNIST file (its MD5 differs): {fix}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=len(header)).view(shape)


def load_mnist(folder: Path = FOLDER) -> tuple[ImageSet, ImageSet]:
    """(60,000 training images, 10,000 test images), 28x28 grey, with labels 0 ... 9."""
    parts = [read_idx(folder / f"{name}.gz", *expected) for name, expected in FILES.items()]
    return tuple(ImageSet(parts[k][:, None], parts[k + 1].long()) for k in (0, 2))
