"""What every data set becomes: two tensors in memory."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nanoldm.utils.errors import InputError, TrainingError
from nanoldm.utils.files import digest


@dataclass(frozen=True)
class ImageSet:
    """images: (N, C, S, S) uint8, C = 1 or 3; labels: (N,) int64, -1 where an image has none. Raises InputError for others.

    class_names: of class 0, 1, ...; () where classes are only numbered. notes: what a user should know about how the images were read.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        check_images(self.images)
        if self.labels.shape != (len(self.images),):
            raise InputError(f"{len(self.images)} images need as many labels, not {tuple(self.labels.shape)}")

    def __len__(self) -> int:
        return len(self.images)

    def digest(self, labelled: bool) -> str:
        """SHA-256 of the images and, if `labelled`, of their labels: the same wherever the files lie."""
        return digest({"images": self.images} | ({"labels": self.labels} if labelled else {}))

    def names(self) -> dict[int, str]:
        """Number -> name of the classes that have images."""
        return {number: self.class_names[number] for number in self.labels.unique().tolist() if 0 <= number < len(self.class_names)}

    def select(self, index: Tensor | slice) -> "ImageSet":
        return replace(self, images=self.images[index], labels=self.labels[index])

    def resize(self, size: int | None) -> "ImageSet":
        """The same set at size x size pixels (antialiased); itself where it already is, or for None."""
        if size in (None, self.images.shape[-1]):
            return self
        from torchvision.transforms.v2.functional import resize
        return replace(self, images=torch.cat([resize(chunk, [size, size], antialias=True) for chunk in self.images.split(1000)]))


def check_images(images: Tensor) -> None:
    """Raise InputError unless images are uint8 (N, C, S, S) with one or three channels: other types would be read as another range, other
    shapes as other channels."""
    if not isinstance(images, Tensor):
        raise InputError(f"images are a {type(images).__name__}: give a torch tensor, such as torch.from_numpy(images)")
    square = images.dim() == 4 and images.shape[2] == images.shape[3] > 0
    if images.dtype != torch.uint8 or not square or images.shape[1] not in (1, 3):
        hint = "to_bytes(images) makes them of floats in [0, 1]" if images.is_floating_point() else "images[:, None] adds a channel"
        raise InputError(f"images are {str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}: give uint8 (N, C, S, S) with 1 or "
                         f"3 channels, from 0 to 255 ({hint})")


def images_at_a_time(images: Tensor) -> int:
    """How many images (N, C, S, S) go through a network at a time: 1,000, fewer of more than 64 pixels a side, which take more memory."""
    return max(1, min(1000, 1000 * 64**2 // images.shape[-1] ** 2))


def to_bytes(images: Tensor) -> Tensor:
    """Floats in [0, 1], others limited to that -> uint8 0 ... 255. Raises TrainingError for what is no number, which would become black."""
    if images.isnan().any():
        raise TrainingError("the images have pixels that are no numbers: the weights of this model are damaged, or far too large")
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """uint8 0 ... 255 -> float in [0, 1]."""
    return images.float() / 255
