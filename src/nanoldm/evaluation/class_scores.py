"""Do labelled samples show their classes, and can a network learn the classes from them?"""

from typing import Any

import torch
from torch import Tensor

from nanoldm.data import ImageSet
from nanoldm.evaluation import metrics
from nanoldm.evaluation.feature_training import BATCH_SIZE, new_network, train_network
from nanoldm.evaluation.intervals import shuffled
from nanoldm.evaluation.judge import Judge, Observed
from nanoldm.training.batches import epoch_length
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import Stream, generator

SCORE_STEPS, SCORE_WIDTH = 500, 16  # of the small network of the classification accuracy score


def class_count(train: ImageSet, test: ImageSet) -> int:
    """Number of classes; one may be missing from one of the two sets."""
    return int(max(train.labels.max(), test.labels.max())) + 1


def labelled(train: ImageSet, test: ImageSet) -> bool:
    """Whether there are several classes, and every real image has one."""
    complete = all((images.labels >= 0).all() for images in (train, test))
    return class_count(train, test) > 1 and complete


def check_labels(labels: Tensor, train: ImageSet, test: ImageSet, fix: str) -> None:
    """Raise InputError if samples with labels (N,) have classes that the data does not have."""
    if (labels < 0).any():
        return
    classes, largest = class_count(train, test), int(labels.max())
    if not labelled(train, test) or largest >= classes:
        raise InputError(f"samples have labels up to {largest}, the data has classes 0 to "
                         f"{classes - 1}: {fix}")


def class_scores(judge: Judge, samples: ImageSet, observed: Observed, seed: int,
                 device: torch.device | str) -> dict[str, Any]:
    """Accuracy of the classifier on labelled samples, and the classification accuracy score.

    The score (Ravuri and Vinyals 2019, arXiv 1905.10887) is the accuracy on the real test set of a
    small network trained on the samples only. For comparison, the same network is trained on as
    many real images; if there are fewer, on all of them, and on as many samples.
    """
    train, test = judge.train_set, judge.test_set
    classes, found = class_count(train, test), {}
    stream = generator(seed, 0, Stream.SCORE_IMAGES)
    order = torch.randperm(len(train), generator=stream)[: len(samples)]
    part = samples.select(shuffled(len(samples), Stream.SCORE_SAMPLES)[: len(order)])
    for name, images in {"samples": part, "real images": train.select(order)}.items():
        epochs = SCORE_STEPS / epoch_length(len(images), BATCH_SIZE)
        network = new_network(images, classes, SCORE_WIDTH, seed).to(device)
        train_network(network, images, epochs=epochs, seed=seed, caption=f"score of {name}")
        predicted = metrics.extract(network, test.images)[1].argmax(1)
        recall = metrics.class_accuracy(predicted, test.labels, classes)
        found[f"score, {name}"] = (predicted == test.labels).double().mean().item()
        found[f"score by class, {name}"] = recall
    if "classifier" in judge.networks:
        predicted = observed.probabilities["classifier"].argmax(1)
        found["accuracy"] = (predicted == samples.labels).double().mean().item()
        found["accuracy by class"] = metrics.class_accuracy(predicted, samples.labels, classes)
    return found
