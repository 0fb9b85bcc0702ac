"""Ancestral sampling with resampling (RePaint: Lugmayr et al. 2022, 2201.09865, algorithm 1)."""

from collections.abc import Sequence

from torch import Tensor

from nanoldm.diffusion.samplers.ddpm import check_signal, reverse_step
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
    check_signal(schedule, timesteps[0])
    x = x_T
    for step in transitions(schedule, timesteps):
        for repeat in range(1 if step.last else RESAMPLINGS):
            if repeat:  # forward again, from s to t
                x = step.a * x + step.beta.sqrt() * noise()
            estimate = denoise(x, step.t)
            x = reverse_step(step, x, estimate, step.beta.sqrt(), noise)
        yield x, estimate
