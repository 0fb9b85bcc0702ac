"""The order of the data as a pure function of (seed, step), so that a resumed run is exact.

An epoch is a random permutation, cut into whole batches. The remainder, less than one batch, is
skipped in that epoch: every step has the same shape.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from nanoldm.utils.seeding import Stream, generator


def epoch_length(images: int, batch_size: int) -> int:
    """Steps per epoch, at least 1: a set smaller than a batch is one batch."""
    return max(1, images // batch_size)


def batch_indices(images: int, batch_size: int, seed: int,
                  start: int = 0) -> Iterator[tuple[int, Tensor]]:
    """(step, indices of its batch (B,)) for step = start, start + 1, ... without end."""
    length, step = epoch_length(images, batch_size), start
    while True:
        stream = generator(seed, Stream.ORDER, step // length)
        order = torch.randperm(images, generator=stream)
        for k in range(step % length, length):
            yield step, order[k * batch_size : (k + 1) * batch_size]
            step += 1
