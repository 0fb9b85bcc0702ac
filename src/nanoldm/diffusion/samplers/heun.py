"""Heun's method: two network passes a step, second order (Karras et al. 2022, arXiv 2206.00364, algorithm 1)."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from nanoldm.diffusion.denoiser import Estimate
from nanoldm.diffusion.samplers.transition import moves
from nanoldm.diffusion.schedule import NoiseSchedule


def heun(denoise: Callable[[Tensor, Tensor], Estimate], x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
         noise: Callable[[], Tensor]) -> Iterator[tuple[Tensor, Estimate]]:
    """The probability flow ODE: predict the next level by a DDIM step, look there, and go again from x_t with the mean of both slopes.

    Every table is a rescaled straight path from data to noise, which has no singular end:

        w = x / (alpha + sigma)        tau = sigma / (alpha + sigma)        dw/dtau = u = eps - x0

    The last step, to the clean level where no network is called, stays a DDIM step: n timesteps cost 2n - 1 passes.
    """
    x = x_T
    steps = list(moves(schedule, timesteps, x_T.device))
    for k, move in enumerate(steps):
        estimate = denoise(x, move.t)
        if move.last:
            x = move.alpha_s * estimate.x0 + move.sigma_s * estimate.eps
        else:
            scale_t, scale_s = move.alpha_t + move.sigma_t, move.alpha_s + move.sigma_s
            step = move.sigma_s / scale_s - move.sigma_t / scale_t                            # of tau, negative
            there = denoise(move.alpha_s * estimate.x0 + move.sigma_s * estimate.eps, steps[k + 1].t)
            slope = (estimate.eps - estimate.x0 + there.eps - there.x0) / 2
            x = scale_s * (x / scale_t + step * slope)
        yield x, estimate
