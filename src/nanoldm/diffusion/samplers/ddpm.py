"""Ancestral sampling (Ho et al. 2020, arXiv 2006.11239, algorithm 2)."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from nanoldm.diffusion.denoiser import Estimate
from nanoldm.diffusion.schedule import NoiseSchedule


def ddpm(denoise: Callable[[Tensor, Tensor], Estimate], x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
         noise: Callable[[], Tensor]) -> Iterator[tuple[Tensor, Estimate]]:
    """One reverse step per timestep t, to the next one s:

        x_s = (x_t - beta / sigma_t eps) / a + sqrt(beta) z        z ~ N(0, I), none in the last step
        a = alpha_t / alpha_s        beta = sigma_t^2 - a^2 sigma_s^2

    On the full grid a^2 = 1 - beta_t and beta = beta_t: the specification's update with variance beta_t ("fixed large").
    """
    x = x_T
    for t, s in zip(timesteps, [*timesteps[1:], -1], strict=True):
        (alpha_t, alpha_s), (sigma_t, sigma_s) = schedule(torch.tensor([t, s], device=x.device))
        a = alpha_t / alpha_s
        beta = sigma_t**2 - (a * sigma_s) ** 2
        estimate = denoise(x, torch.tensor([t], device=x.device))
        x = (x - beta / sigma_t * estimate.eps) / a
        if s >= 0:
            x = x + beta.sqrt() * noise()
        yield x, estimate
