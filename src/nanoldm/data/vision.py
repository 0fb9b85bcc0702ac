"""Data sets that torchvision downloads by name, kept in $NANOLDM_DATA or ~/.cache/nanoldm."""

from typing import Any

import torch

from nanoldm.data.imageset import ImageSet
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import cache_folder

# name -> torchvision class, arguments of the training set, arguments of the test set
SETS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "fashion-mnist": ("FashionMNIST", {"train": True}, {"train": False}),
    "kmnist": ("KMNIST", {"train": True}, {"train": False}),
    "qmnist": ("QMNIST", {"what": "train"}, {"what": "test10k"}),
    "emnist-digits": ("EMNIST", {"split": "digits", "train": True}, {"split": "digits", "train": False}),
    "emnist-letters": ("EMNIST", {"split": "letters", "train": True}, {"split": "letters", "train": False}),
    "emnist-balanced": ("EMNIST", {"split": "balanced", "train": True}, {"split": "balanced", "train": False}),
    "cifar10": ("CIFAR10", {"train": True}, {"train": False}),
    "cifar100": ("CIFAR100", {"train": True}, {"train": False}),
    "svhn": ("SVHN", {"split": "train"}, {"split": "test"}),
}


def load_torchvision(name: str) -> tuple[ImageSet, ImageSet]:
    """(training set, test set). Raises InputError for an unknown name and when the files can be neither found nor downloaded."""
    if name not in SETS:
        raise InputError(f"unknown data set {name!r}: choose mnist, {', '.join(SETS)}, or folder:PATH for your own images")
    from torchvision import datasets

    class_name, *splits = SETS[name]
    root = cache_folder()
    try:
        train, test = (as_image_set(getattr(datasets, class_name)(root, download=True, **split), class_name) for split in splits)
        return train, test
    except MemoryError:
        raise
    except Exception as error:      # a broken download, archive or package: torchvision has a dozen kinds
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"could not read or download {name} in {root} ({reason}): check the network, delete a broken download, install "
                         "a package it names, or use --data mnist or --data folder:PATH") from None


def as_image_set(dataset: Any, class_name: str) -> ImageSet:
    """torchvision keeps images as (N, S, S), (N, S, S, 3) or, for SVHN, (N, 3, S, S), and labels under two names."""
    images = torch.as_tensor(dataset.data)
    images = images[:, None] if images.dim() == 3 else images if images.shape[1] == 3 else images.permute(0, 3, 1, 2)
    if class_name == "EMNIST":                       # stored transposed
        images = images.transpose(2, 3)
    labels = torch.as_tensor(dataset.labels if class_name == "SVHN" else dataset.targets)
    if labels.dim() == 2:                            # QMNIST: the class is the first of eight columns
        labels = labels[:, 0]
    if class_name == "EMNIST" and dataset.split == "letters":
        labels = labels - 1                          # stored as 1 ... 26
    names = tuple(name for name in getattr(dataset, "classes", ()) if name != "N/A")         # of the letters, class 0 is none
    return ImageSet(images.contiguous(), labels.long(), names)
