"""Denoising diffusion implicit models (Song, Meng and Ermon 2020, arXiv 2010.02502)."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from nanoldm.diffusion.denoiser import Estimate
from nanoldm.diffusion.samplers.transition import moves
from nanoldm.diffusion.schedule import NoiseSchedule


def ddim(denoise: Callable[[Tensor, Tensor], Estimate], x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
         noise: Callable[[], Tensor], eta: float = 0.0) -> Iterator[tuple[Tensor, Estimate]]:
    """One step per timestep t, to the next one s (eq. 12):

        x_s = alpha_s x0 + sqrt(sigma_s^2 - eta^2 variance) eps + eta sqrt(variance) z        z ~ N(0, I)
        variance = beta sigma_s^2 / sigma_t^2        beta = sigma_t^2 - (alpha_t / alpha_s)^2 sigma_s^2

    eta = 0: no randomness after x_T, the Euler method of the probability flow ODE (on the rectified table: of dx/dsigma = eps - x0).
    eta = 1: ancestral sampling with the posterior variance.
    """
    x = x_T
    for move in moves(schedule, timesteps, x_T.device):
        beta = move.sigma_t**2 - (move.alpha_t / move.alpha_s * move.sigma_s) ** 2
        random = eta * beta.sqrt() * move.sigma_s / move.sigma_t
        estimate = denoise(x, move.t)
        x = move.alpha_s * estimate.x0 + (move.sigma_s**2 - random**2).sqrt() * estimate.eps
        if eta and not move.last:
            x = x + random * noise()
        yield x, estimate
