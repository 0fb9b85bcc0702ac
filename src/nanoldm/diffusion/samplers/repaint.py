"""Ancestral sampling that takes each step several times (RePaint: Lugmayr et al. 2022, arXiv 2201.09865, algorithm 1)."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from nanoldm.diffusion.denoiser import Estimate
from nanoldm.diffusion.samplers.ddpm import ddpm
from nanoldm.diffusion.samplers.transition import moves
from nanoldm.diffusion.schedule import NoiseSchedule

VISITS = 5      # of every timestep but the last: as many network passes


def repaint(denoise: Callable[[Tensor, Tensor], Estimate], x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
            noise: Callable[[], Tensor]) -> Iterator[tuple[Tensor, Estimate]]:
    """A step of `ddpm` from t to s, then VISITS - 1 times back up by the forward process and down again:

        x_t = a x_s + sqrt(beta) z        a = alpha_t / alpha_s        beta = sigma_t^2 - a^2 sigma_s^2

    Where a part of x is told what it must be, the rest gets time to fit it. The variance is beta: with that of the posterior every
    visit would narrow what is drawn. Yields what the last visit leaves.
    """
    x = x_T
    for k, move in enumerate(moves(schedule, timesteps, x_T.device)):
        a = move.alpha_t / move.alpha_s
        beta = move.sigma_t**2 - (a * move.sigma_s) ** 2
        for left in reversed(range(1 if move.last else VISITS)):
            below, estimate = next(ddpm(denoise, x, schedule, timesteps[k : k + 2], noise))
            x = a * below + beta.sqrt() * noise() if left else below
        yield x, estimate
