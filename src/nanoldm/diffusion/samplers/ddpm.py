"""Ancestral sampling (Ho et al. 2020, arXiv 2006.11239, algorithm 2)."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from nanoldm.diffusion.denoiser import Estimate
from nanoldm.diffusion.samplers.transition import moves
from nanoldm.diffusion.schedule import NoiseSchedule
from nanoldm.utils.errors import InputError


def check_signal(schedule: NoiseSchedule, t: int, device: torch.device) -> None:
    """Raise InputError if ancestral sampling cannot start at timestep t."""
    if not schedule(torch.tensor(t, device=device))[0] > 0:
        raise InputError(f"the ddpm sampler divides by alpha, which is 0 at timestep {t} of this schedule: "
                         "choose ddim, heun, dpm++2m or ab4")


def ddpm(denoise: Callable[[Tensor, Tensor], Estimate], x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
         noise: Callable[[], Tensor], posterior: bool = False) -> Iterator[tuple[Tensor, Estimate]]:
    """One reverse step per timestep t, to the next one s:

        x_s = (x_t - beta / sigma_t eps) / a + sqrt(variance) z        z ~ N(0, I), none in the last step
        a = alpha_t / alpha_s        beta = sigma_t^2 - a^2 sigma_s^2

    The variance is beta or, with `posterior`, beta sigma_s^2 / sigma_t^2, that of q(x_s | x_t, x0) (eq. 7). On the full grid a^2 =
    1 - beta_t and beta = beta_t: the specification's update with variance beta_t ("fixed large").
    Raises InputError where a timestep holds no signal: a would be 0.
    """
    check_signal(schedule, timesteps[0], x_T.device)
    x = x_T
    for move in moves(schedule, timesteps, x_T.device):
        a = move.alpha_t / move.alpha_s
        beta = move.sigma_t**2 - (a * move.sigma_s) ** 2
        estimate = denoise(x, move.t)
        x = (x - beta / move.sigma_t * estimate.eps) / a
        if not move.last:
            x = x + (beta.sqrt() * move.sigma_s / move.sigma_t if posterior else beta.sqrt()) * noise()
        yield x, estimate
