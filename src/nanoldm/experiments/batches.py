"""Endless batches of images and latents, each a pure function of (seed, step)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from nanoldm.diffusion.time_sampling import sample_noise_levels
from nanoldm.training.batches import batch_indices
from nanoldm.utils.device import move
from nanoldm.utils.seeding import Stream, generator

Batches = Iterator[dict[str, Tensor]]


def image_batches(images: Tensor, batch_size: int, seed: int, start: int = 0) -> Batches:
    """images: (N, C, S, S) uint8 -> {"image": (B, C, S, S) in [0, 1]} from step `start` on."""
    for _, index in batch_indices(len(images), batch_size, seed, start):
        yield {"image": images[move(index, images.device)].float() / 255}


def latent_batches(latents: Tensor, batch_size: int, timesteps: int, seed: int, start: int = 0,
                   distribution: str = "uniform", labels: Tensor | None = None,
                   label_dropout: float = 0.0) -> Batches:
    """latents: (N, tokens, channels) -> {"x0", "t", "eps"} and, with labels, "label" (B,).

    timesteps: T; t is in 0 ... T - 1.
    distribution: of t, a name of `diffusion.time_sampling.DISTRIBUTIONS`.
    labels: (N,) of the latents.
    label_dropout: the probability that a label becomes -1, "no label" (Ho and Salimans 2022, arXiv
        2207.12598, algorithm 1).
    """
    for step, index in batch_indices(len(latents), batch_size, seed, start):
        x0, stream = latents[move(index, latents.device)], generator(seed, Stream.NOISE, step)
        values = sample_noise_levels(x0, timesteps, stream, distribution)
        if labels is not None:
            dropped = torch.rand(len(index), generator=stream) < label_dropout
            values["label"] = labels[index].masked_fill(dropped, -1)
        yield {"x0": x0} | {name: move(value, x0.device) for name, value in values.items()}
