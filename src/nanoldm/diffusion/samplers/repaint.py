"""Ancestral sampling with resampling (RePaint: Lugmayr et al. 2022, 2201.09865, algorithm 1)."""

from collections.abc import Sequence

from torch import Tensor

from nanoldm.diffusion.samplers.ddpm import ddpm
from nanoldm.diffusion.samplers.transition import Denoise, Noise, Trajectory, transitions
from nanoldm.diffusion.schedule import NoiseSchedule

RESAMPLINGS = 5  # network evaluations per timestep, except the last timestep


def repaint(denoise: Denoise, x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
            noise: Noise) -> Trajectory:
    """A step of `ddpm` from t to s, repeated RESAMPLINGS times with a forward step in between.

        x_t = a x_s + sqrt(beta) z        z ~ N(0, I)

    In inpainting, the repeats adapt the unknown part to the known part. The variance of `ddpm` is
    beta: the posterior variance would reduce the spread at every repeat.
    """
    x = x_T
    for k, step in enumerate(transitions(schedule, timesteps, x_T.device)):
        for left in reversed(range(1 if step.last else RESAMPLINGS)):
            # One step of ddpm: from this timestep to the next, or from the last one to clean.
            below, estimate = next(ddpm(denoise, x, schedule, timesteps[k : k + 2], noise))
            x = step.a * below + step.beta.sqrt() * noise() if left else below
        yield x, estimate
