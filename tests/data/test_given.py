"""Images that a program gives: what is accepted, and that anything else is named."""

import numpy as np
import pytest
import torch
from PIL import Image

from nanoldm.data import ImageSet, load
from nanoldm.data.given import image_set, image_sets
from nanoldm.data.npz import load_sets, save_npz
from nanoldm.data.source import Data
from nanoldm.utils.errors import InputError

BYTES = torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8).to(torch.uint8)


class Pictures(torch.utils.data.Dataset):
    """A map-style dataset: the k-th item of a list."""

    def __init__(self, items, classes=()):
        self.items, self.classes = items, classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, k):
        return self.items[k]


def test_bytes_are_taken_as_they_are_without_a_copy():
    found = image_set(BYTES, "training")
    assert found.images is BYTES
    assert found.labels.tolist() == [-1, -1]


def test_floats_from_0_to_1_become_bytes():
    for floats in (BYTES / 255, (BYTES / 255).numpy(), BYTES.double() / 255):
        assert torch.equal(image_set(floats, "training").images, BYTES)


def test_images_come_with_labels():
    assert image_set((BYTES, [4, -1]), "training").labels.tolist() == [4, -1]
    assert image_set((BYTES.numpy(), np.array([4, 0], np.uint8)), "test").labels.tolist() == [4, 0]


def test_a_dataset_gives_images_labels_and_names_of_classes():
    """As PIL images, as tensors and as arrays: torchvision's sets with and without a transform."""
    array = BYTES.permute(0, 2, 3, 1).numpy()
    for images in ([Image.fromarray(a) for a in array], list(BYTES / 255), list(array)):
        found = image_set(Pictures([(images[0], 1), (images[1], 0)], ["cat", "dog"]), "training")
        assert torch.equal(found.images, BYTES)
        assert found.labels.tolist() == [1, 0]
        assert found.class_names == ("cat", "dog")
    grey = image_set(Pictures([a[..., 0] for a in array]), "training")
    assert torch.equal(grey.images, BYTES[:, :1])
    assert image_set(Pictures([(array[0], 0)], {"dog": 1, "cat": 0}), "").class_names == (
        "cat", "dog")
    assert image_set(Pictures([(array[0], 0)], None), "").class_names == ()


@pytest.mark.parametrize(("pixels", "expected"), [
    (np.array([[0, 300], [30_000, 65_535]], np.uint16), [0, 1, 117, 255]),
    (np.array([[0, 0.25], [0.5, 1]], np.float32), [0, 64, 128, 255])])
def test_pictures_of_16_bits_and_floats_are_scaled(pixels, expected):
    found = image_set(Pictures([Image.fromarray(pixels)]), "training")
    assert found.images.flatten().tolist() == expected


def test_transparent_pictures_lie_on_white():
    picture = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert (image_set(Pictures([picture]), "training").images == 255).all()


def test_both_sets_need_an_image():
    for pair, name in (((BYTES[:0], BYTES), "training"), ((BYTES, BYTES[:0]), "test")):
        with pytest.raises(InputError, match=f"there are no {name} images: give at least one"):
            image_sets(pair)


def test_every_class_has_a_name():
    with pytest.raises(InputError, match="2 class names, and labels up to 2: name every class"):
        ImageSet(BYTES, torch.tensor([0, 2]), ("cat", "dog"))


def test_memory_mapped_images_stay_on_disk(tmp_path):
    np.save(tmp_path / "images.npy", BYTES.numpy())
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r+")
    found = image_set(mapped, "training").images
    mapped[0, 0, 0, 0] = 77
    assert found[0, 0, 0, 0] == 77


@pytest.mark.parametrize(("given", "message"), [
    (BYTES[:, 0], r"training images are torch.uint8 \(2, 8, 8\)"),
    (BYTES[..., :4], r"training images are torch.uint8 \(2, 3, 8, 4\)"),
    (BYTES[:, :2], r"\(2, 2, 8, 8\): give uint8 \(N, C, S, S\)"),
    (BYTES.int(), "training images are torch.int32"),
    (BYTES.float(), r"floats from 0 to \d+: give numbers from 0 to 1, such as images / images.max"),
    (BYTES / 127.5 - 1, r"floats from -1 to .*such as \(images \+ 1\) / 2"),
    (BYTES / float("nan"), "training images contain NaN"),
    ((BYTES, [1]), "2 images need 2 labels"),
    ((BYTES, [0.5, 1.0]), "labels are torch.float"),
    ((BYTES, [-2, 1]), "labels contain -2"),
    (BYTES.tolist(), "training images are"),
    (3, "training images are a int: give an ImageSet, a tensor"),
    (Pictures([]), "training Dataset is empty"),
    (Pictures([BYTES[0], BYTES[1, :, :4, :4]]), r"item 1 of the training Dataset: images are"),
    (Pictures([("a.png", 1)]), "item 0 of the training Dataset: the image is a str"),
    (Pictures([(BYTES[0], "cat")]), "item 0 of the training Dataset"),
])
def test_other_images_are_errors_that_name_them(given, message):
    with pytest.raises(InputError, match=message):
        image_set(given, "training")


def test_training_and_test_images_are_a_pair_of_one_size():
    train, test = image_sets((BYTES, ImageSet(BYTES[:1], torch.zeros(1).long())))
    assert (len(train), len(test)) == (2, 1)
    assert image_sets((BYTES, BYTES), 4)[1].images.shape == (2, 3, 4, 4)
    with pytest.raises(InputError, match=r"give \(training images, test images\)"):
        image_sets(BYTES)
    with pytest.raises(InputError, match=r"training images are \(3, 8, 8\) and the test images"):
        image_sets((BYTES, BYTES[:, :1]))


def test_an_archive_has_its_own_test_images_or_every_tenth(tmp_path):
    file = tmp_path / "images.npz"
    images = torch.arange(30 * 64).view(30, 1, 8, 8).to(torch.uint8)
    save_npz(file, images, labels=np.arange(30) % 2, class_names=np.array(["a", "b"]))
    train, test = load(f"npz:{file}")
    assert torch.equal(test.images, images[9::10])
    assert (len(train), train.class_names) == (27, ("a", "b"))
    save_npz(file, images, test_images=images[:5, 0].numpy(), test_labels=np.arange(5))
    train, test = load_sets(file)
    assert torch.equal(train.images, images)
    assert test.labels.tolist() == [0, 1, 2, 3, 4]
    save_npz(file, images, test_images=images[:5, 0].numpy(), test_labels=np.arange(4))
    with pytest.raises(InputError, match=r"`test_labels` in .*: give one whole number"):
        load_sets(file)
    save_npz(file, images, test_images=images[:5, 0, :4, :4].numpy())
    with pytest.raises(InputError, match=r"`test_images` in .* differ from `images`"):
        load_sets(file)


def test_images_of_a_program_cannot_be_loaded_by_name():
    with pytest.raises(InputError, match="were given by a program"):
        Data(name="given").load()
