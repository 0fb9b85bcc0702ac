"""Ancestral sampling (Ho et al. 2020, arXiv 2006.11239, algorithm 2)."""

from collections.abc import Sequence

from torch import Tensor

from nanoldm.diffusion.denoiser import Estimate
from nanoldm.diffusion.samplers.transition import (
    Denoise,
    Noise,
    Trajectory,
    Transition,
    transitions,
)
from nanoldm.diffusion.schedule import NoiseSchedule
from nanoldm.utils.errors import InputError


def check_signal(schedule: NoiseSchedule, t: int) -> None:
    """Raise InputError if alpha is 0 at timestep t."""
    if not schedule.alpha[t + 1] > 0:
        raise InputError(f"the ddpm sampler divides by alpha, which is 0 at timestep {t} of this "
                         "schedule: choose ddim, heun, dpm++2m or ab4")


def reverse_step(step: Transition, x: Tensor, estimate: Estimate, std: Tensor,
                 noise: Noise) -> Tensor:
    """x_s from x_t: the first equation of `ddpm`, with std = sqrt(variance)."""
    mean = (x - step.beta / step.sigma_t * estimate.eps) / step.a
    return mean if step.last else mean + std * noise()


def ddpm(denoise: Denoise, x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
         noise: Noise, posterior: bool = False) -> Trajectory:
    """One reverse step per timestep t, to the next level s.

        x_s = (x_t - beta / sigma_t eps) / a + sqrt(variance) z        z ~ N(0, I)
        a = alpha_t / alpha_s        beta = sigma_t^2 - a^2 sigma_s^2

    The last step adds no noise. On the full schedule beta = beta_t: the update of the
    specification with variance beta_t ("fixed large").
    posterior: the variance is beta sigma_s^2 / sigma_t^2, that of q(x_s | x_t, x0) (eq. 7).
    Raises InputError if alpha is 0 at a timestep.
    """
    check_signal(schedule, timesteps[0])
    x = x_T
    for step in transitions(schedule, timesteps):
        std = step.beta.sqrt() * step.sigma_s / step.sigma_t if posterior else step.beta.sqrt()
        estimate = denoise(x, step.t)
        x = reverse_step(step, x, estimate, std, noise)
        yield x, estimate
