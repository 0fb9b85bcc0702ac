"""From data back to the noise that a deterministic sampler would have started from."""

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from nanoldm.diffusion.denoiser import Estimate
from nanoldm.diffusion.samplers.transition import moves
from nanoldm.diffusion.schedule import NoiseSchedule


def invert(denoise: Callable[[Tensor, Tensor], Estimate], x0: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
           iterations: int = 3) -> Iterator[Tensor]:
    """Run the steps of `ddim` backwards, from clean x0 (B, ...) up through `timesteps` (descending, as `ddim` visits them): yields x_t at
    each of them, the last one at timesteps[0].

    The probability flow ODE (Song, Meng and Ermon 2020, arXiv 2010.02502, section 4.3) in the variables in which every table is a straight
    path without singular ends (`heun`), and where a step of `ddim` from t to the level s below it is w_s = w_t - (tau_t - tau_s) u(x_t, t):

        w = x / (alpha + sigma)        tau = sigma / (alpha + sigma)        u = eps - x0

    Its inverse w_t = w_s + (tau_t - tau_s) u(x_t, t) has the unknown on both sides. It is solved by fixed-point iteration (Pan et al. 2023,
    arXiv 2309.04907), from the slope of the step before; so the network is asked at t and never at the clean level. Usual DDIM inversion
    takes u(x_s, s) instead, once, which leaves an error in each step. `iterations` network passes a step: the more, the nearer
    to the exact inverse, as long as (tau_t - tau_s) u(x_t, t) changes by less than w_t does. Where a trained network is steeper than
    that, iterating too often leads away again.
    """
    w, slope = x0, 0.0
    for move in reversed(list(moves(schedule, timesteps, x0.device))):
        scale = move.alpha_t + move.sigma_t
        step = move.sigma_t / scale - move.sigma_s / (move.alpha_s + move.sigma_s)
        below, w = w, w + step * slope
        for _ in range(iterations):
            estimate = denoise(scale * w, move.t)
            slope = estimate.eps - estimate.x0
            w = below + step * slope
        yield scale * w
