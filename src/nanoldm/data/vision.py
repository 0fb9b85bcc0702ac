"""Data sets that torchvision downloads, stored in $NANOLDM_DATA or ~/.cache/nanoldm."""

from typing import Any

import torch

from nanoldm.data.imageset import ImageSet
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import cache_folder
from nanoldm.utils.text import one_line

TRAIN_OR_TEST = ({"train": True}, {"train": False})

# name -> torchvision class, arguments of the training set, arguments of the test set
SETS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "fashion-mnist": ("FashionMNIST", *TRAIN_OR_TEST), "kmnist": ("KMNIST", *TRAIN_OR_TEST),
    "qmnist": ("QMNIST", {"what": "train"}, {"what": "test10k"}),
    "emnist-digits": ("EMNIST", *({"split": "digits"} | part for part in TRAIN_OR_TEST)),
    "emnist-letters": ("EMNIST", *({"split": "letters"} | part for part in TRAIN_OR_TEST)),
    "emnist-balanced": ("EMNIST", *({"split": "balanced"} | part for part in TRAIN_OR_TEST)),
    "cifar10": ("CIFAR10", *TRAIN_OR_TEST), "cifar100": ("CIFAR100", *TRAIN_OR_TEST),
    "svhn": ("SVHN", {"split": "train"}, {"split": "test"})
}


def load_torchvision(name: str) -> tuple[ImageSet, ImageSet]:
    """(training set, test set). Raises InputError for an unknown name and a failed download."""
    if name not in SETS:
        fix = f"choose mnist, shapes, {', '.join(SETS)}, or folder:PATH for your own images"
        raise InputError(f"unknown data set {name!r}: {fix}")
    from torchvision import datasets

    class_name, *splits = SETS[name]
    root = cache_folder()
    try:
        build = getattr(datasets, class_name)
        return tuple(image_set(build(root, download=True, **split), class_name) for split in splits)
    except MemoryError:
        raise
    except Exception as error:  # torchvision raises many kinds for downloads, archives, packages
        raise InputError(f"could not read or download {name} in {root} ({one_line(error)}): check "
                         "the network, delete a broken download, install a package it names, or "
                         "use the data set mnist or folder:PATH") from None


def image_set(dataset: Any, class_name: str) -> ImageSet:
    """One layout for torchvision's (N, S, S), (N, S, S, 3) and, for SVHN, (N, 3, S, S)."""
    images = torch.as_tensor(dataset.data)
    if images.dim() == 3:
        images = images[:, None]
    elif images.shape[1] != 3:
        images = images.permute(0, 3, 1, 2)
    labels = torch.as_tensor(dataset.labels if class_name == "SVHN" else dataset.targets)
    if labels.dim() == 2:  # QMNIST: the class is the first of eight columns
        labels = labels[:, 0]
    if class_name == "EMNIST":
        images = images.transpose(2, 3)  # stored transposed
        if dataset.split == "letters":
            labels = labels - 1  # stored as 1 ... 26
    # The first class of the letters, N/A, has no images.
    names = tuple(name for name in getattr(dataset, "classes", ()) if name != "N/A")
    return ImageSet(images.contiguous(), labels.long(), names)
