"""Samplers: generator functions with one signature.

    for x, estimate in sampler(denoise, x_T, schedule, timesteps, noise): ...

denoise(x_t, t) -> Estimate, with one t (1,) for the whole batch.
x_T: (B, ...) at the noise level timesteps[0].
timesteps: descending integers.
noise() -> a fresh standard normal tensor of the shape of x_T.
Each step yields x at the *next* level and the Estimate that it was computed from. The last x is
clean.
"""

from collections.abc import Sequence
from functools import partial

from nanoldm.diffusion.samplers.ddim import ddim
from nanoldm.diffusion.samplers.ddpm import ddpm
from nanoldm.diffusion.samplers.heun import heun
from nanoldm.diffusion.samplers.multistep import adams_bashforth, dpm_solver_2m
from nanoldm.diffusion.samplers.repaint import RESAMPLINGS, repaint

SAMPLERS = {"ddpm": ddpm, "ddpm-posterior": partial(ddpm, posterior=True), "ddpm-repaint": repaint,
            "ddim": ddim, "heun": heun, "dpm++2m": dpm_solver_2m,
            "ab2": partial(adams_bashforth, order=2), "ab3": partial(adams_bashforth, order=3),
            "ab4": partial(adams_bashforth, order=4)}

# These add noise at every step and divide by alpha.
ANCESTRAL = frozenset(name for name in SAMPLERS if name.startswith("ddpm"))


def evaluations(sampler: str, timesteps: Sequence[int]) -> list[int]:
    """The timesteps at which `sampler` evaluates the network: the length is its NFE."""
    if sampler == "ddpm-repaint":
        return [*timesteps[:-1]] * RESAMPLINGS + [timesteps[-1]]
    if sampler == "heun":  # evaluates the end of every step except the last
        return [*timesteps, *timesteps[1:]]
    return [*timesteps]


__all__ = ["ANCESTRAL", "SAMPLERS", "adams_bashforth", "ddim", "ddpm", "dpm_solver_2m",
           "evaluations", "heun", "repaint"]
