"""Multistep samplers: higher order from one network evaluation per step."""

from collections import deque
from collections.abc import Sequence

from torch import Tensor

from nanoldm.diffusion.samplers.transition import Denoise, Noise, Trajectory, transitions
from nanoldm.diffusion.schedule import NoiseSchedule

# Adams-Bashforth weights of the latest slope, the one before it, ... by number of known slopes
WEIGHTS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12),
           (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def dpm_solver_2m(denoise: Denoise, x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
                  noise: Noise) -> Trajectory:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2).

        x_s = sigma_s / sigma_t x_t + alpha_s (1 - e^-h) D        h = lambda_s - lambda_t
        D = x0 + (x0 - x0_before) h / (2 h_before)        lambda = log(alpha / sigma)

    D = x0 in the first step, and in the last step, where h is infinite and e^-h is 0.
    """
    x, before, h_before = x_T, None, None
    for step in transitions(schedule, timesteps):
        estimate = denoise(x, step.t)
        h = (step.alpha_s / step.sigma_s).log() - (step.alpha_t / step.sigma_t).log()
        decay = step.sigma_s * step.alpha_t / (step.sigma_t * step.alpha_s)  # e^-h
        D = estimate.x0
        if before is not None and not step.last:
            D = D + (D - before) * (h / (2 * h_before))
        x = step.sigma_s / step.sigma_t * x + step.alpha_s * (1 - decay) * D
        before, h_before = estimate.x0, h
        yield x, estimate


def adams_bashforth(denoise: Denoise, x_T: Tensor, schedule: NoiseSchedule,
                    timesteps: Sequence[int], noise: Noise, order: int = 4) -> Trajectory:
    """A DDIM step whose eps is a weighted sum of the last `order` estimates of eps.

    iPNDM (Zhang and Chen 2022, arXiv 2204.13902, algorithm 1) with the weights of equal steps.
    order: 1 (DDIM) to 4.
    """
    x, known = x_T, deque(maxlen=order)
    for step in transitions(schedule, timesteps):
        estimate = denoise(x, step.t)
        known.appendleft(estimate.eps)
        weights = WEIGHTS[len(known) - 1]
        eps = sum(weight * slope for weight, slope in zip(weights, known, strict=True))
        # alpha_t may be 0 in the first step, which takes x0 as it is.
        x0 = estimate.x0 if len(known) == 1 else (x - step.sigma_t * eps) / step.alpha_t
        x = step.alpha_s * x0 + step.sigma_s * eps
        yield x, estimate
