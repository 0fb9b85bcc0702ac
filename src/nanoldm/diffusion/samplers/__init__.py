"""Samplers: generator functions with one signature.

    for x, estimate in sampler(denoise, x_T, schedule, timesteps, noise): ...

denoise(x_t, t) -> Estimate, with one t (1,) for the whole batch; x_T: (B, ...) at the noise level timesteps[0]; timesteps:
descending integers; noise() -> a fresh standard normal tensor of x_T's shape. Each turn yields x at the *next* level and the
Estimate it was made from; the last x is clean.
"""

from nanoldm.diffusion.samplers.ddpm import ddpm

__all__ = ["ddpm"]
