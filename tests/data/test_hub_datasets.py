"""Data sets in the layout of the Hugging Face hub, from a folder in its place."""

import numpy as np
import pytest
import torch
from PIL import Image

from nanoldm.data import load
from nanoldm.data.source import absolute
from nanoldm.utils.errors import InputError

datasets = pytest.importorskip("datasets")
PIXELS = np.arange(30 * 10 * 8 * 3).reshape(30, 10, 8, 3).astype(np.uint8)  # higher than wide


def write(folder, mode="RGB", splits=("train",), **columns):
    """A data set of 30 pictures with a column of classes for each split."""
    pictures = [Image.fromarray(pixels).convert(mode) for pixels in PIXELS]
    features = datasets.Features({"picture": datasets.Image(),
                                  "kind": datasets.ClassLabel(names=["cat", "dog"])})
    for split in splits:
        rows = {"picture": pictures, "kind": [k % 2 for k in range(30)], **columns}
        datasets.Dataset.from_dict(rows, features).to_parquet(folder / f"{split}-0.parquet")
    return f"hf:{folder}"


def test_a_missing_picture_is_named(tmp_path):
    name = write(tmp_path, picture=[None, *(Image.fromarray(pixels) for pixels in PIXELS[1:])])
    with pytest.raises(InputError, match="has no image in row 0: choose another data set"):
        load(name)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_pictures_are_cropped_to_squares_and_every_tenth_is_a_test_image(tmp_path):
    train, test = load(write(tmp_path))
    assert train.images.shape == (27, 3, 8, 8)
    assert test.images.shape == (3, 3, 8, 8)
    assert test.labels.tolist() == [1, 1, 1]        # images 9, 19, 29
    assert train.class_names == ("cat", "dog")
    first = torch.from_numpy(PIXELS[0, 1:9]).permute(2, 0, 1)       # the middle of its height
    assert torch.equal(train.images[0], first)


def test_a_test_split_is_the_test_set_and_grey_pictures_stay_grey(tmp_path):
    train, test = load(write(tmp_path, "L", ("train", "test")), size=4)
    assert train.images.shape == test.images.shape == (30, 1, 4, 4)


def test_what_has_no_images_or_does_not_exist_is_an_error(tmp_path):
    datasets.Dataset.from_dict({"text": ["a", "b"]}).to_parquet(tmp_path / "train-0.parquet")
    with pytest.raises(InputError, match=r"has no images \(its columns: text\)"):
        load(f"hf:{tmp_path}")
    with pytest.raises(InputError, match="could not read or download hf:"):
        load(f"hf:{tmp_path / 'none'}")


def test_the_path_of_a_folder_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    assert absolute("hf:set") == f"hf:{tmp_path / 'set'}"
    assert absolute("hf:user/set") == "hf:user/set"
    assert absolute("npz:a.npz") == f"npz:{tmp_path / 'a.npz'}"
