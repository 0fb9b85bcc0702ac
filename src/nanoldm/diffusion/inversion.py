"""DDIM inversion: from clean data to the noise that deterministic sampling starts from."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from nanoldm.diffusion.samplers.transition import Denoise, transitions
from nanoldm.diffusion.schedule import NoiseSchedule

ITERATIONS = 3  # of a step: docs/editing.md


def invert(denoise: Denoise, x0: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
           iterations: int = ITERATIONS) -> Iterator[Tensor]:
    """Run the steps of `ddim` backwards, from clean x0 (B, ...) to noise.

    Yields x_t at each of `timesteps` (given in descending order, as to `ddim`), lowest first. The
    last yield is x at timesteps[0].

    The probability flow ODE (Song, Meng and Ermon 2020, arXiv 2010.02502, section 4.3) in the
    variables of a straight path, in which a step of `ddim` from t to s is

        w_s = w_t - (tau_t - tau_s) u(x_t, t)
        w = x / (alpha + sigma)        tau = sigma / (alpha + sigma)        u = eps - x0

    The inverse w_t = w_s + (tau_t - tau_s) u(x_t, t) is implicit. It is solved by fixed-point
    iteration (Pan et al. 2023, arXiv 2309.04907), which starts from the slope of the step before.
    iterations: network evaluations per step. More are closer to the exact inverse as long as the
        iteration contracts.
    """
    w, slope = x0, 0.0
    for step in reversed(list(transitions(schedule, timesteps))):
        scale = step.alpha_t + step.sigma_t
        length = step.sigma_t / scale - step.sigma_s / (step.alpha_s + step.sigma_s)
        below = w
        w = below + length * slope                                    # first guess: the last slope
        for _ in range(iterations):
            estimate = denoise(scale * w, step.t)
            slope = estimate.eps - estimate.x0
            w = below + length * slope
        yield scale * w
