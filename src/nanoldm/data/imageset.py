"""What every data set becomes: two tensors in memory."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """images: (N, C, S, S) uint8, C = 1 or 3; labels: (N,) int64, -1 where an image has none."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def select(self, index: Tensor | slice) -> "ImageSet":
        return ImageSet(self.images[index], self.labels[index])

    def resize(self, size: int | None) -> "ImageSet":
        """The same set at size x size pixels (antialiased); itself where it already is, or for None."""
        if size in (None, self.images.shape[-1]):
            return self
        from torchvision.transforms.v2.functional import resize
        return ImageSet(torch.cat([resize(chunk, [size, size], antialias=True) for chunk in self.images.split(1000)]), self.labels)


def to_bytes(images: Tensor) -> Tensor:
    """Floats in [0, 1], others limited to that -> uint8 0 ... 255."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """uint8 0 ... 255 -> float in [0, 1]."""
    return images.float() / 255
