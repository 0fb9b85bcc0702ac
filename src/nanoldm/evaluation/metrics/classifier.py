"""Metrics of the probabilities (N, classes) of a classifier."""

import torch
from torch import Tensor


def histogram(probabilities: Tensor) -> Tensor:
    """Share of the images in each class -> (classes,), sum 1."""
    counts = torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    return counts.double() / len(probabilities)


def distance_from_uniform(shares: Tensor) -> float:
    """Total variation distance of a histogram (classes,) from equal shares.

    0 for equal shares, 1 - 1/classes for a single class.
    """
    return (shares - 1 / len(shares)).abs().sum().item() / 2


def confidence(probabilities: Tensor) -> float:
    """Mean probability of the most likely class: in (1/classes, 1]."""
    return probabilities.max(1).values.double().mean().item()


def class_accuracy(predicted: Tensor, labels: Tensor, classes: int) -> list[float | None]:
    """Recall of each class; None for a class without images."""
    own = [predicted[labels == k] == k for k in range(classes)]
    return [hits.double().mean().item() if len(hits) else None for hits in own]
