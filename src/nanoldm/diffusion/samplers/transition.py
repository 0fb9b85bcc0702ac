"""The walk that all samplers share: from each timestep to the next one, and from the last one to the clean level."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nanoldm.diffusion.schedule import NoiseSchedule


class Move(NamedTuple):
    """From timestep t, a tensor (1,) for the network, to the next lower level s; alphas and sigmas are single numbers ()."""

    t: Tensor
    alpha_t: Tensor
    sigma_t: Tensor
    alpha_s: Tensor
    sigma_s: Tensor
    last: bool          # s is the clean level


def moves(schedule: NoiseSchedule, timesteps: Sequence[int], device: torch.device) -> Iterator[Move]:
    """timesteps: descending."""
    visited = torch.tensor([*timesteps, -1], device=device)
    alpha, sigma = schedule(visited)
    for k in range(len(timesteps)):
        yield Move(visited[k : k + 1], alpha[k], sigma[k], alpha[k + 1], sigma[k + 1], last=k == len(timesteps) - 1)
