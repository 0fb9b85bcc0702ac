"""Batches as a pure function of (seed, step): an interrupted run continues with the very batch that was next.

Both iterators are endless. An epoch is a permutation of the set cut into whole batches; what is left over (fewer than one
batch, other images each time) waits for the next epoch, so that every step has the same shape.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from nanoldm.utils.seeding import generator

ORDER, NOISE = 0, 1     # the two random streams of a run


def epoch_length(images: int, batch_size: int) -> int:
    """Steps in one epoch (at least 1: a set smaller than a batch is one batch)."""
    return max(1, images // batch_size)


def indices(images: int, batch_size: int, seed: int, start: int) -> Iterator[tuple[int, Tensor]]:
    """(step, indices of its batch) for step = start, start + 1, ..."""
    length, step = epoch_length(images, batch_size), start
    while True:
        order = torch.randperm(images, generator=generator(seed, ORDER, step // length))
        for k in range(step % length, length):
            yield step, order[k * batch_size : (k + 1) * batch_size]
            step += 1


def image_batches(images: Tensor, batch_size: int, seed: int, start: int = 0) -> Iterator[dict[str, Tensor]]:
    """images: (N, C, S, S) uint8 -> {"image": (B, C, S, S) in [0, 1]} from step `start` on."""
    for _, index in indices(len(images), batch_size, seed, start):
        yield {"image": images[index.to(images.device)].float() / 255}


def latent_batches(latents: Tensor, batch_size: int, timesteps: int, seed: int, start: int = 0,
                   distribution: str = "uniform", labels: Tensor | None = None, label_dropout: float = 0.0) -> Iterator[dict[str, Tensor]]:
    """latents: (N, tokens, channels) -> {"x0", "t", "eps"}: latents, t on 0 ... timesteps - 1, eps ~ N(0, I).

    labels: (N,) of the latents, for "label" (B,) beside them.

    distribution of t: "uniform", or "logit-normal", which dwells on the middle: t = floor(timesteps sigmoid(z)), z ~ N(0, 1)
    (Esser et al. 2024, arXiv 2403.03206, eq. 19).
    label_dropout: the share of labels that are replaced by -1, "no label" (Ho and Salimans 2022, arXiv 2207.12598, algorithm 1).
    """
    for step, index in indices(len(latents), batch_size, seed, start):
        x0, stream = latents[index.to(latents.device)], generator(seed, NOISE, step)
        batch = {"x0": x0, **noise_levels(x0, timesteps, stream, distribution)}
        if labels is not None:
            dropped = torch.rand(len(index), generator=stream) < label_dropout
            batch["label"] = labels[index].masked_fill(dropped, -1).to(latents.device)
        yield batch


def noise_levels(x0: Tensor, timesteps: int, stream: torch.Generator, distribution: str = "uniform") -> dict[str, Tensor]:
    """One timestep "t" (B,) and one noise "eps" (B, tokens, channels) for each latent of x0, drawn on the CPU."""
    if distribution == "logit-normal":
        t = (torch.randn(len(x0), generator=stream).sigmoid() * timesteps).long().clamp(max=timesteps - 1)
    else:
        t = torch.randint(timesteps, (len(x0),), generator=stream)
    return {"t": t.to(x0.device), "eps": torch.randn(x0.shape, generator=stream).to(x0.device)}
