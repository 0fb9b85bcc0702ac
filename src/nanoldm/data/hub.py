"""Data sets of the Hugging Face hub, or in a folder in its layout, by the package datasets."""

from typing import Any

from PIL import Image, ImageOps

from nanoldm.data.given import read_dataset
from nanoldm.data.image_file import is_grey, opaque
from nanoldm.data.imageset import ImageSet, split_tenth
from nanoldm.utils.errors import InputError
from nanoldm.utils.text import one_line

SAMPLES = 100  # images that tell grey from colour
TESTS = ("test", "validation")  # splits to test with, the first that exists


def load_hub(name: str, size: int | None) -> tuple[ImageSet, ImageSet]:
    """(training set, test set) of the data set USER/NAME, cropped to squares and resized to `size`.

    Its splits are train, and test or validation; else every tenth image is a test image. Labels are
    its first column of classes. size: default the size of the first image.
    Raises InputError for a name that cannot be read, and for a set without images.
    """
    try:
        from datasets import load_dataset
    except ImportError:
        raise InputError(f"data hf:{name} needs the package datasets: pip install "
                         "'nanoldm[datasets]'") from None
    try:
        splits = load_dataset(name)
    except Exception as error:  # the library raises many kinds
        raise InputError(f"could not read or download hf:{name} ({one_line(error)}): check the "
                         "name and the network") from None
    first = splits["train"] if "train" in splits else next(iter(splits.values()))
    squares = Squares(first, name, size)
    train = read_dataset(squares, "training")
    for split in TESTS:
        if split in splits and splits[split] is not first:
            test = Squares(splits[split], name, squares.size, squares.mode)
            return train, read_dataset(test, "test")
    return split_tenth(train)


class Squares:
    """The rows of a Hugging Face data set as (PIL image, label), of one size and colour mode.

    mode: "L" or "RGB" (default: grey if the first images are all grey).
    """

    def __init__(self, rows: Any, name: str, size: int | None, mode: str | None = None):
        kinds = {column: type(feature).__name__ for column, feature in rows.features.items()}
        images = [column for column, kind in kinds.items() if kind == "Image"]
        labels = [column for column, kind in kinds.items() if kind == "ClassLabel"]
        if not images or not len(rows):
            raise InputError(f"hf:{name} has no images (its columns: {', '.join(kinds)}): choose "
                             "another data set")
        self.rows, self.name, self.image = rows, name, images[0]
        self.label = labels[0] if labels else None
        self.classes = rows.features[labels[0]].names if labels else ()
        self.mode = mode or self._mode()
        self.size = size or min(self.row(0)[self.image].size)

    def _mode(self) -> str:
        first = (self.row(k)[self.image] for k in range(min(SAMPLES, len(self))))
        return "L" if all(map(is_grey, first)) else "RGB"

    def row(self, k: int) -> dict[str, Any]:
        """A row, whose image is decoded. Raises InputError if it has no image."""
        row = self.rows[k]
        if row[self.image] is None:
            raise InputError(f"hf:{self.name} has no image in row {k}: choose another data set")
        return row

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, k: int) -> tuple[Image.Image, int]:
        row = self.row(k)
        fitted = ImageOps.fit(opaque(row[self.image], self.mode), (self.size, self.size),
                              Image.Resampling.LANCZOS)
        label = row[self.label] if self.label else -1
        return fitted, -1 if label is None else label
