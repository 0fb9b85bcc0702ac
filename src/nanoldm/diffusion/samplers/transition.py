"""The steps that all samplers share, and the types of their arguments."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nanoldm.diffusion.denoiser import Estimate
from nanoldm.diffusion.schedule import NoiseSchedule

Denoise = Callable[[Tensor, Tensor], Estimate]  # denoise(x_t, t) with one t (1,) per batch
Noise = Callable[[], Tensor]  # noise() -> N(0, I) of the shape of x_T
Trajectory = Iterator[tuple[Tensor, Estimate]]  # (x at the next level, the estimate behind it)


class Transition(NamedTuple):
    """One step from timestep t to the next lower level s. The levels are scalars ()."""

    t: Tensor  # (1,), for the network
    alpha_t: Tensor
    sigma_t: Tensor
    alpha_s: Tensor
    sigma_s: Tensor
    last: bool  # s is the clean level

    @property
    def a(self) -> Tensor:
        """alpha_t / alpha_s: x_t = a x_s + sqrt(beta) z. On the full schedule a^2 = 1 - beta_t."""
        return self.alpha_t / self.alpha_s

    @property
    def beta(self) -> Tensor:
        """sigma_t^2 - a^2 sigma_s^2: the variance that the forward process adds from s to t."""
        return self.sigma_t**2 - (self.a * self.sigma_s) ** 2


def transitions(schedule: NoiseSchedule, timesteps: Sequence[int]) -> Iterator[Transition]:
    """The transitions along `timesteps` (descending) and from the last one to the clean level."""
    visited = torch.tensor([*timesteps, -1], device=schedule.alpha.device)
    alpha, sigma = schedule(visited)
    for k in range(len(timesteps)):
        yield Transition(visited[k : k + 1], alpha[k], sigma[k], alpha[k + 1], sigma[k + 1],
                         last=k == len(timesteps) - 1)
