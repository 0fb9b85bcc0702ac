"""Heun's method, second order (Karras et al. 2022, arXiv 2206.00364, algorithm 1)."""

from collections.abc import Sequence

from torch import Tensor

from nanoldm.diffusion.samplers.transition import Denoise, Noise, Trajectory, transitions
from nanoldm.diffusion.schedule import NoiseSchedule


def heun(denoise: Denoise, x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
         noise: Noise) -> Trajectory:
    """A DDIM step to the next level, then a step with the mean of the slopes at both ends.

    The probability flow ODE in variables that need no division by alpha or sigma alone:

        w = x / (alpha + sigma)        tau = sigma / (alpha + sigma)        dw/dtau = eps - x0

    The last step, to the clean level, is a DDIM step. n timesteps cost 2n - 1 network evaluations.
    """
    x = x_T
    steps = list(transitions(schedule, timesteps))
    for k, step in enumerate(steps):
        estimate = denoise(x, step.t)
        euler = step.alpha_s * estimate.x0 + step.sigma_s * estimate.eps
        if step.last:
            x = euler
        else:
            end = denoise(euler, steps[k + 1].t)
            scale_t, scale_s = step.alpha_t + step.sigma_t, step.alpha_s + step.sigma_s
            length = step.sigma_s / scale_s - step.sigma_t / scale_t  # of tau, negative
            slope = (estimate.eps - estimate.x0 + end.eps - end.x0) / 2
            x = scale_s * (x / scale_t + length * slope)
        yield x, estimate
