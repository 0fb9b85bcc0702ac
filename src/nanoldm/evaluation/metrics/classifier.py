"""Measures by a classifier's probabilities (N, classes)."""

import torch
from torch import Tensor


def histogram(probabilities: Tensor) -> Tensor:
    """Share of images that the classifier puts into each class -> (classes,), sum 1."""
    return torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1]).double() / len(probabilities)


def distance_from_uniform(shares: Tensor) -> float:
    """Total variation distance of a histogram (classes,) from equal shares: 0 for equal, 1 - 1/classes for one class alone."""
    return (shares - 1 / len(shares)).abs().sum().item() / 2


def confidence(probabilities: Tensor) -> float:
    """Mean probability of the most likely class: in (1/classes, 1]."""
    return probabilities.max(1).values.double().mean().item()


def class_accuracy(predicted: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """For each class, the share of images labelled so that are also recognised so (None: no image has that label)."""
    own = [predicted[labels == k] == k for k in range(classes)]
    return [hits.double().mean().item() if len(hits) else None for hits in own]
