"""MNIST, which is bundled, and Fashion-MNIST of Debian: gzip-compressed IDX files."""

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
FASHION = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist

# shape of the content, its MD5 in MNIST (bundled/mnist/README.md) and in Fashion-MNIST
FILES = {"train-images-idx3-ubyte": ((60000, 28, 28), "6bbc9ace898e44ae57da46a324031adb",
                                     "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
         "train-labels-idx1-ubyte": ((60000,), "a25bea736e30d166cdddb491f175f624",
                                     "9018921c3c673c538a1fc5bad174d6f9"),
         "t10k-images-idx3-ubyte": ((10000, 28, 28), "2646ac647ad5339dbf082846283269ea",
                                    "8181f5470baa50b63fa0f6fddb340f0a"),
         "t10k-labels-idx1-ubyte": ((10000,), "27ae3e4e09519cfbb04c329615203637",
                                    "15d484375f8d13e6eb1aabb0c3f46965")}
GARMENTS = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker",
            "Bag", "Ankle boot")


def read_idx(path: Path, shape: tuple[int, ...], md5: str, fix: str) -> Tensor:
    """A gzip-compressed IDX file of unsigned bytes -> uint8 tensor of `shape`.

    IDX: two zero bytes, type code 8, the number of axes, their sizes as big-endian 32-bit integers,
    then the bytes. Raises InputError that names the file if it is missing, truncated or another.
    fix: the end of its message.
    """
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
        raise InputError(f"{path} is not the original file (its MD5 differs): {fix}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=len(header)).view(shape)


def load_mnist(folder: Path = FOLDER) -> tuple[ImageSet, ImageSet]:
    """(60,000 training images, 10,000 test images), 28x28 grey, with labels 0 ... 9."""
    return read_sets(folder, 0, "install nanoldm again, or put the original MNIST file there")


def load_fashion(folder: Path = FASHION) -> tuple[ImageSet, ImageSet]:
    """Fashion-MNIST, in the layout of MNIST."""
    return read_sets(folder, 1, "install the package dataset-fashion-mnist again", GARMENTS)


def read_sets(folder: Path, column: int, fix: str,
              names: tuple[str, ...] = ()) -> tuple[ImageSet, ImageSet]:
    """The four FILES of a folder, with the MD5 of a column. fix: of `read_idx`."""
    parts = [read_idx(folder / f"{name}.gz", shape, md5[column], fix)
             for name, (shape, *md5) in FILES.items()]
    return tuple(ImageSet(parts[k][:, None], parts[k + 1].long(), names) for k in (0, 2))
