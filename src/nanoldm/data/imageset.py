"""What every data set becomes: two tensors in memory."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nanoldm.utils.errors import InputError
from nanoldm.utils.files import digest
from nanoldm.utils.images import check_images


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
