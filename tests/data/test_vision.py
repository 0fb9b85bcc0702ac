"""torchvision's sets in their various layouts become one layout. Nothing here uses the network."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchvision import datasets

from nanoldm.data import load
from nanoldm.data.vision import SETS, load_torchvision
from nanoldm.utils.errors import InputError

GREY = torch.arange(6 * 28 * 28).remainder(251).to(torch.uint8).view(6, 28, 28)
COLOUR = np.arange(6 * 32 * 32 * 3, dtype=np.uint8).reshape(6, 32, 32, 3)


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Put a set with the given fields in place of a class of torchvision's; returns the list of
    calls that it got.
    """
    monkeypatch.setenv("NANOLDM_DATA", str(tmp_path))

    def install(class_name, **fields):
        calls = []

        def fake(root, **options):
            calls.append((root, options))
            return SimpleNamespace(**{"split": options.get("split"), **fields})

        monkeypatch.setattr(datasets, class_name, fake)
        return calls

    return install


def agrees(data, images, labels):
    assert data.images.dtype == torch.uint8
    assert data.images.is_contiguous()
    assert torch.equal(data.images, torch.as_tensor(images))
    assert data.labels.dtype == torch.int64
    assert data.labels.tolist() == labels


def test_mnist_like_sets_get_a_channel_axis(install):
    install("FashionMNIST", data=GREY, targets=torch.tensor([9, 0, 0, 3, 1, 2]))
    for data in load_torchvision("fashion-mnist"):
        agrees(data, GREY[:, None], [9, 0, 0, 3, 1, 2])


def test_cifar_gets_its_colours_first(install):
    install("CIFAR10", data=COLOUR, targets=[6, 9, 9, 4, 1, 1])
    for data in load_torchvision("cifar10"):
        agrees(data, COLOUR.transpose(0, 3, 1, 2), [6, 9, 9, 4, 1, 1])


def test_svhn_has_its_colours_first_and_calls_them_labels(install):
    images = np.ascontiguousarray(COLOUR.transpose(0, 3, 1, 2))
    install("SVHN", data=images, labels=np.array([1, 9, 2, 3, 2, 0]))
    for data in load_torchvision("svhn"):
        agrees(data, images, [1, 9, 2, 3, 2, 0])


def test_emnist_is_turned_upright(install):
    install("EMNIST", data=GREY, targets=torch.arange(6))
    for name in ("emnist-digits", "emnist-balanced"):
        for data in load_torchvision(name):
            agrees(data, GREY.transpose(1, 2)[:, None], [0, 1, 2, 3, 4, 5])


def test_emnist_letters_count_from_0(install):
    install("EMNIST", data=GREY, targets=torch.tensor([1, 26, 5, 2, 2, 13]))
    for data in load_torchvision("emnist-letters"):
        agrees(data, GREY.transpose(1, 2)[:, None], [0, 25, 4, 1, 1, 12])


def test_the_class_is_the_first_of_the_eight_labels_of_qmnist(install):
    install("QMNIST", data=GREY, targets=torch.arange(48).view(6, 8))
    for data in load_torchvision("qmnist"):
        agrees(data, GREY[:, None], [0, 8, 16, 24, 32, 40])


def test_both_splits_are_asked_for_in_the_folder_of_the_environment(install, tmp_path):
    calls = install("SVHN", data=np.zeros((2, 3, 32, 32), np.uint8), labels=np.zeros(2))
    load_torchvision("svhn")
    assert calls == [(tmp_path, {"download": True, "split": "train"}),
                     (tmp_path, {"download": True, "split": "test"})]


def test_load_applies_size_and_holdout_to_them_too(install):
    install("CIFAR10", data=COLOUR, targets=[6, 9, 9, 4, 1, 1])
    train, test = load("cifar10", size=16, holdout=2)
    assert train.images.shape == (4, 3, 16, 16)
    assert (test.images.shape, test.labels.tolist()) == ((2, 3, 16, 16), [1, 1])


@pytest.mark.parametrize("error",
                         [RuntimeError("Error downloading\ntrain-images.gz"),
                          OSError("<urlopen error [Errno -3] Temporary failure in name "
                                  "resolution>"), RuntimeError("File not found or corrupted."),
                          EOFError("Compressed file ended before the end-of-stream marker was "
                                   "reached")])
def test_a_failed_download_is_explained(monkeypatch, tmp_path, error):
    def fail(root, **options):
        raise error

    monkeypatch.setenv("NANOLDM_DATA", str(tmp_path))
    monkeypatch.setattr(datasets, "KMNIST", fail)
    with pytest.raises(InputError, match="could not read or download kmnist") as raised:
        load_torchvision("kmnist")
    message = str(raised.value)
    assert str(tmp_path) in message
    assert str(error).split()[0] in message
    assert "check the network" in message
    assert "\n" not in message


def test_an_unknown_name_is_an_error_with_the_known_ones():
    with pytest.raises(InputError, match="'imagenet'") as raised:
        load_torchvision("imagenet")
    assert all(name in str(raised.value) for name in ("mnist", *SETS, "folder:PATH"))


@pytest.mark.parametrize("name", SETS)
def test_torchvision_has_the_class_with_these_parameters(name):
    class_name, train, test = SETS[name]
    for options in (train, test):
        inspect.signature(getattr(datasets, class_name)).bind("root", download=True, **options)
    assert train != test


def test_torchvision_has_the_splits_that_are_asked_for():
    for class_name, *choices in SETS.values():
        for options in choices:
            if class_name == "EMNIST":
                assert options["split"] in datasets.EMNIST.splits
            if class_name == "QMNIST":
                assert options["what"] in datasets.QMNIST.subsets
            if class_name == "SVHN":
                assert options["split"] in datasets.SVHN.split_list
