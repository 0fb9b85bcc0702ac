"""Samplers: generator functions with one signature.

    for x, estimate in sampler(denoise, x_T, schedule, timesteps, noise): ...

denoise(x_t, t) -> Estimate, with one t (1,) for the whole batch; x_T: (B, ...) at the noise level timesteps[0]; timesteps:
descending integers; noise() -> a fresh standard normal tensor of x_T's shape. Each turn yields x at the *next* level and the
Estimate it was made from; the last x is clean.
"""

from collections.abc import Sequence
from functools import partial

from nanoldm.diffusion.samplers.ddim import ddim
from nanoldm.diffusion.samplers.ddpm import ddpm
from nanoldm.diffusion.samplers.heun import heun
from nanoldm.diffusion.samplers.multistep import adams_bashforth, dpm_solver_2m
from nanoldm.diffusion.samplers.repaint import VISITS, repaint

# What --sampler can name.
SAMPLERS = {"ddpm": ddpm, "ddpm-posterior": partial(ddpm, posterior=True), "ddpm-repaint": repaint, "ddim": ddim, "heun": heun,
            "dpm++2m": dpm_solver_2m, **{f"ab{order}": partial(adams_bashforth, order=order) for order in (2, 3, 4)}}

# Those that draw noise on the way whatever their settings, and divide by alpha.
ANCESTRAL = frozenset(name for name in SAMPLERS if name.startswith("ddpm"))


def visits(sampler: str, timesteps: Sequence[int]) -> list[int]:
    """The timesteps at which `sampler` asks the network on its way along `timesteps`: one for each pass."""
    if sampler == "ddpm-repaint":
        return [*timesteps[:-1]] * VISITS + [timesteps[-1]]
    return [*timesteps, *(timesteps[1:] if sampler == "heun" else [])]      # heun looks at the end of each step but the last


__all__ = ["ANCESTRAL", "SAMPLERS", "adams_bashforth", "ddim", "ddpm", "dpm_solver_2m", "heun", "repaint", "visits"]
