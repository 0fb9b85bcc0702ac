"""The bundled MNIST is the original one, and anything else under its name is an error."""

import gzip
from importlib import import_module
from pathlib import Path

import pytest
import torch

from nanoldm.data import ImageSet, load
from nanoldm.data.mnist import FASHION, FILES, FOLDER, load_fashion, load_mnist
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float

FIX = "install nanoldm again, or put the original MNIST file there"


@pytest.fixture(scope="module")
def mnist() -> tuple[ImageSet, ImageSet]:
    return load_mnist()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A copy of the bundled folder, made of links: a test replaces the file that it damages."""
    for name in FILES:
        (tmp_path / f"{name}.gz").symlink_to(FOLDER / f"{name}.gz")
    return tmp_path


def put(file: Path, content: bytes) -> None:
    file.unlink()
    file.write_bytes(content)


def test_there_are_60000_training_and_10000_test_images_in_bytes(mnist):
    for data, count in zip(mnist, (60_000, 10_000), strict=True):
        assert len(data) == count
        assert data.images.shape == (count, 1, 28, 28)
        assert data.images.dtype == torch.uint8
        assert data.labels.shape == (count,)
        assert data.labels.dtype == torch.int64


def test_the_first_labels_are_the_well_known_ones(mnist):
    train, test = mnist
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_the_classes_have_their_published_sizes(mnist):
    train, test = mnist
    assert train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265,
                                                5851, 5949]
    assert test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974,
                                               1009]


def test_pixels_are_light_digits_on_black_with_the_published_mean(mnist):
    images = mnist[0].images
    assert (images.min(), images.max()) == (0, 255)
    assert images[:, :, 0, 0].max() == 0  # the corner is always background
    assert images.numpy().mean() / 255 == pytest.approx(0.1307, abs=1e-4)


def test_floats_run_from_0_to_1():
    assert to_float(
        torch.tensor([0, 51, 255], dtype=torch.uint8)
    ).tolist() == pytest.approx([0, 0.2, 1])


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_an_error_with_its_name(folder, name):
    file = folder / f"{name}.gz"
    put(file, file.read_bytes()[:-1000])
    with pytest.raises(InputError, match=rf"{name}\.gz is truncated or not gzip.*{FIX}"):
        load_mnist(folder)


def test_a_file_that_is_not_gzip_is_an_error_with_its_name(folder):
    put(folder / "train-images-idx3-ubyte.gz", b"<html>404 not found</html>")
    with pytest.raises(InputError,
                       match=rf"train-images-idx3-ubyte\.gz is truncated or not gzip.*{FIX}"):
        load_mnist(folder)


# a kind of block that does not exist; other bytes than the checksum's
@pytest.mark.parametrize("place", [10, 5000])
def test_damage_inside_the_compressed_stream_is_an_error_with_its_name(folder, place):
    file = folder / "train-images-idx3-ubyte.gz"
    content = bytearray(file.read_bytes())
    content[place : place + 100] = bytes([255]) * 100
    put(file, content)
    with pytest.raises(InputError,
                       match=rf"train-images-idx3-ubyte\.gz is truncated or not gzip.*{FIX}"):
        load_mnist(folder)


@pytest.mark.parametrize(("place", "reason"),
                         [(7, "is not an IDX file"), (30_000, "is not the original file")])
def test_one_changed_byte_of_the_content_is_noticed(folder, place, reason):
    file = folder / "train-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[place] ^= 1
    put(file, gzip.compress(content, 1))
    with pytest.raises(InputError, match=rf"train-labels-idx1-ubyte\.gz {reason}.*{FIX}"):
        load_mnist(folder)


def test_a_file_under_the_name_of_another_is_noticed(folder):
    put(folder / "train-images-idx3-ubyte.gz", (FOLDER / "t10k-images-idx3-ubyte.gz").read_bytes())
    with pytest.raises(InputError,
                       match=r"train-images-idx3-ubyte\.gz is not an IDX file of 60000x28x28 "
                       rf"bytes.*{FIX}"):
        load_mnist(folder)


def test_a_missing_file_is_named(folder):
    (folder / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(InputError, match=rf"train-images-idx3-ubyte\.gz is missing.*{FIX}"):
        load_mnist(folder)


def test_a_holdout_of_a_folder_has_images_of_every_class(digits):
    train, held_out = load(f"folder:{digits}", holdout=100)
    assert set(held_out.labels.tolist()) == set(train.labels.tolist()) == set(range(10))
    assert (len(train), len(held_out)) == (188, 100)
    # the same again
    assert torch.equal(load(f"folder:{digits}", holdout=100)[1].images, held_out.images)


def test_a_holdout_is_the_last_training_images(mnist):
    train, test = load("mnist", holdout=5000)
    assert torch.equal(train.images, mnist[0].images[:55_000])
    assert torch.equal(train.labels, mnist[0].labels[:55_000])
    assert torch.equal(test.images, mnist[0].images[55_000:])
    assert torch.equal(test.labels, mnist[0].labels[55_000:])


@pytest.fixture
def few(mnist, monkeypatch):
    """`load` finds the first images of MNIST only: the same code, sooner."""
    sets = tuple(data.select(slice(count)) for data, count in zip(mnist, (2500, 10), strict=True))
    monkeypatch.setattr(import_module("nanoldm.data.loading"), "load_mnist", lambda: sets)
    return sets


def test_resized_images_show_the_same_digits(few):
    for data, original in zip(load("mnist", size=32), few, strict=True):
        assert data.images.shape == (len(original), 1, 32, 32)
        assert data.images.dtype == torch.uint8
        assert torch.equal(data.labels, original.labels)
        assert (data.images.float().mean((1, 2, 3))
                - original.images.float().mean((1, 2, 3))).abs().max() < 2
        back = data.resize(28).images.float()
        assert (back - original.images.float()).abs().mean() < 8


def test_shrinking_averages_instead_of_dropping_pixels():
    stripes = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    stripes[..., ::4] = 200
    small = ImageSet(stripes, torch.zeros(1)).resize(8).images
    assert (small.int() - 50).abs().max() <= 15


def test_a_set_that_has_the_size_already_is_left_alone(few):
    assert torch.equal(load("mnist", size=28)[0].images, few[0].images)
    assert torch.equal(load("mnist")[1].images, few[1].images)


@pytest.mark.parametrize(("size", "fix"),
                         [(30, "32|28"), (0, "4"), (-28, "4"), (3, "4"), (33, "32")])
def test_a_size_that_is_no_multiple_of_4_is_rejected_with_one_that_is(size, fix):
    with pytest.raises(InputError, match=rf"^size {size} is not a multiple of 4: try ({fix})$"):
        load("mnist", size=size)


@pytest.mark.parametrize("holdout", [-1, 2500, 10**6])
def test_a_holdout_that_leaves_nothing_is_rejected_with_the_range(few, holdout):
    with pytest.raises(InputError, match=rf"^holdout {holdout} .* 0 to 2499 "):
        load("mnist", holdout=holdout)


def test_the_largest_holdout_leaves_one_image_to_train_on(few):
    assert [len(data) for data in load("mnist", holdout=2499)] == [1, 2499]


def test_an_unknown_name_is_rejected_with_the_known_ones():
    with pytest.raises(InputError, match=r"'minst'.*mnist, shapes, fashion-mnist.*folder:PATH"):
        load("minst")


def test_fashion_mnist_is_read_in_the_same_layout(folder, monkeypatch):
    """From Debian's package, where it is installed; here from files with the checksums of MNIST."""
    files = {name: (shape, digest, digest) for name, (shape, digest, _) in FILES.items()}
    monkeypatch.setattr("nanoldm.data.mnist.FILES", files)
    train, test = load_fashion(folder)
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.names()[9] == "Ankle boot"
    monkeypatch.setattr("nanoldm.data.loading.FASHION", folder)
    monkeypatch.setattr("nanoldm.data.loading.load_fashion", lambda: (train, test))
    assert load("fashion-mnist")[0].class_names == train.class_names


@pytest.mark.skipif(not FASHION.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_package_of_debian_has_the_original_images():
    train, _ = load_fashion()
    assert torch.bincount(train.labels).tolist() == [6000] * 10
