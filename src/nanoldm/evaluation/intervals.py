"""Confidence intervals of metrics."""

import torch
from torch import Tensor

from nanoldm.evaluation.judge import Judge, Observed
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import Stream, generator

BATCHES, QUANTILE = 10, 2.262  # and the 97.5 % quantile of Student's t with 9 degrees of freedom
FEWEST = 20  # samples: two in each batch


def check_count(count: int) -> None:
    """Raise InputError if there are too few images for intervals."""
    if count < FEWEST:
        raise InputError(f"n {count}: {count} images are too few: at least {FEWEST} are needed, "
                         "and metrics settle at 10,000")


def shuffled(count: int, stream: int) -> Tensor:
    """A fixed random order of `count` samples: a file of samples may be sorted."""
    return torch.randperm(count, generator=generator(0, 0, stream))


def intervals(judge: Judge, observed: Observed) -> dict[str, float]:
    """Half the width of a 95 % interval for each metric, from disjoint random batches.

    t s / sqrt(batches), with s the standard deviation of the metric between batches. The bias of
    small batches is the same in each, and does not change the spread. A bootstrap would repeat
    images, which changes a distance itself.
    """
    order = shuffled(len(observed), Stream.BATCHES)
    parts = [judge.summarise(observed[part]) for part in order.tensor_split(BATCHES)]
    spread = torch.tensor([list(part.values()) for part in parts], dtype=torch.float64).std(0)
    halves = (QUANTILE * spread / len(parts) ** 0.5).tolist()
    return dict(zip(parts[0], halves, strict=True))


def with_intervals(judge: Judge, observed: Observed) -> dict[str, dict[str, float]]:
    """{metric: {"value": ..., "interval": ...}}"""
    halves = intervals(judge, observed)
    return {name: {"value": value, "interval": halves[name]}
            for name, value in judge.summarise(observed).items()}
