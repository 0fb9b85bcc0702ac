"""Denoising diffusion implicit models (Song, Meng and Ermon 2020, arXiv 2010.02502)."""

from collections.abc import Sequence

from torch import Tensor

from nanoldm.diffusion.samplers.transition import Denoise, Noise, Trajectory, transitions
from nanoldm.diffusion.schedule import NoiseSchedule


def ddim(denoise: Denoise, x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
         noise: Noise, eta: float = 0.0) -> Trajectory:
    """One step per timestep t, to the next level s (eq. 12).

        x_s = alpha_s x0 + sqrt(sigma_s^2 - eta^2 variance) eps + eta sqrt(variance) z
        variance = beta sigma_s^2 / sigma_t^2        z ~ N(0, I)

    eta: 0 is deterministic, the Euler method of the probability flow ODE. 1 is ancestral sampling
        with the posterior variance.
    """
    x = x_T
    for step in transitions(schedule, timesteps):
        std = eta * step.beta.sqrt() * step.sigma_s / step.sigma_t
        estimate = denoise(x, step.t)
        x = step.alpha_s * estimate.x0 + (step.sigma_s**2 - std**2).sqrt() * estimate.eps
        if eta and not step.last:
            x = x + std * noise()
        yield x, estimate
