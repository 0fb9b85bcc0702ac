"""The common form of every data set: two tensors."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nanoldm.utils.errors import InputError
from nanoldm.utils.files import digest
from nanoldm.utils.images import check_images, chunks


@dataclass(frozen=True)
class ImageSet:
    """Images with labels. Raises InputError for tensors of other types or shapes, missing names.

    images: (N, C, S, S) uint8, C = 1 or 3; also a memory-mapped tensor that is larger than the RAM.
    labels: (N,) int64, -1 for none.
    class_names: of class 0, 1, ...; () if classes have only numbers. notes: for the user.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        check_images(self.images)
        if self.labels.shape != (count := len(self.images),):
            raise InputError(f"{count} images need {count} labels, not {tuple(self.labels.shape)}")
        largest, named = int(self.labels.max()) if count else -1, len(self.class_names)
        if named and largest >= named:
            raise InputError(f"there are {named} class names, and labels up to {largest}: name "
                             "every class")

    def __len__(self) -> int:
        return len(self.images)

    def digest(self, labelled: bool) -> str:
        """SHA-256 of the images and, if `labelled`, of their labels."""
        return digest({"images": self.images} | ({"labels": self.labels} if labelled else {}))

    def names(self) -> dict[int, str]:
        """{number: name} of the classes that have images."""
        used = set(self.labels.tolist())
        return {number: name for number, name in enumerate(self.class_names) if number in used}

    def select(self, index: Tensor | slice) -> "ImageSet":
        return replace(self, images=self.images[index], labels=self.labels[index])

    def resize(self, size: int | None) -> "ImageSet":
        """The set at size x size pixels (antialiased); None leaves it as it is."""
        if size in (None, self.images.shape[-1]):
            return self
        from torchvision.transforms.v2.functional import resize

        parts = [resize(part, [size, size], antialias=True) for part in chunks(self.images)]
        return replace(self, images=torch.cat(parts))


def split_tenth(whole: ImageSet) -> tuple[ImageSet, ImageSet]:
    """(training set, test set): every tenth image is a test image, or the last one of a few.

    Raises InputError for fewer than two images.
    """
    if len(whole) < 2:
        raise InputError("there is only 1 image: at least 2 are needed, to train and to test")
    is_test = torch.arange(len(whole)) % 10 == 9
    is_test[-1] |= not is_test.any()
    return whole.select(~is_test), whole.select(is_test)
