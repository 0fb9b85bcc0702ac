"""Endless batches of images and latents, each a pure function of (seed, step).

A batch may be cut into parts, for several processes or for less memory at a time. Its random
numbers are those of the whole batch, cut: the parts together are the batch.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nanoldm.diffusion.timesteps import random_timesteps
from nanoldm.training.batches import batch_indices
from nanoldm.utils.device import move
from nanoldm.utils.distributed import WHOLE, Part
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import Stream, generator

Batches = Iterator[dict[str, Tensor]]


def image_batches(images: Tensor, batch_size: int, seed: int, start: int = 0,
                  parts: Sequence[Part] = (WHOLE,)) -> Batches:
    """images: (N, C, S, S) uint8 -> {"image": (B, C, S, S) in [0, 1]} from step `start` on.

    parts: of each batch, which are yielded one after the other.
    """
    for _, index in batch_indices(len(images), batch_size, seed, start):
        for part in parts:
            own = move(index[part.rows(len(index))], images.device)
            yield {"image": to_float(images[own])}


def pair_batches(pairs: dict[str, Tensor], batch_size: int, seed: int, start: int = 0,
                 parts: Sequence[Part] = (WHOLE,)) -> Batches:
    """Batches of `pairs`, {name: (N, ...)} for `DistillationLoss`, from step `start` on.

    parts: of each batch, which are yielded one after the other.
    """
    for _, index in batch_indices(len(pairs["x0"]), batch_size, seed, start):
        for part in parts:
            yield {name: values[index[part.rows(len(index))]] for name, values in pairs.items()}


def latent_batches(latents: Tensor, batch_size: int, timesteps: int, seed: int, start: int = 0,
                   distribution: str = "uniform", labels: Tensor | None = None,
                   label_dropout: float = 0.0, parts: Sequence[Part] = (WHOLE,)) -> Batches:
    """latents: (N, tokens, channels) -> {"x0", "t", "eps"} and, with labels, "label" (B,).

    timesteps: T; t is in 0 ... T - 1.
    distribution: of t, a name of `diffusion.timesteps.DISTRIBUTIONS`.
    labels: (N,) of the latents.
    label_dropout: the probability that a label becomes -1, "no label" (Ho and Salimans 2022, arXiv
        2207.12598, algorithm 1).
    parts: of each batch, which are yielded one after the other.
    """
    for step, index in batch_indices(len(latents), batch_size, seed, start):
        stream, shape = generator(seed, Stream.NOISE, step), (len(index), *latents.shape[1:])
        values = {"t": random_timesteps(len(index), timesteps, stream, distribution),
                  "eps": torch.randn(shape, generator=stream)}
        if labels is not None:
            dropped = torch.rand(len(index), generator=stream) < label_dropout
            values["label"] = labels[index].masked_fill(dropped, -1)
        for rows in (part.rows(len(index)) for part in parts):
            own = {name: move(value[rows], latents.device) for name, value in values.items()}
            yield {"x0": latents[move(index[rows], latents.device)], **own}
