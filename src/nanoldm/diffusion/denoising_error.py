"""Denoising error: MSE of x0 at fixed log-SNR, which does not depend on the training objective."""

from functools import cache

import torch
from torch import Tensor, nn

from nanoldm.diffusion.denoiser import Clamped
from nanoldm.diffusion.schedule import corrupt

# log(alpha^2 / sigma^2), from almost clean to almost noise: 5.5, 4.5 ... -5.5
LOG_SNRS = tuple(5.5 - k for k in range(12))


@torch.inference_mode()
def denoising_error(denoiser: nn.Module, x0: Tensor, eps: Tensor, limit: float) -> list[float]:
    """Mean squared error of the clamped estimate of x0 at each of LOG_SNRS.

    x0, eps: (B, tokens, channels), the same for every network that is compared. The value is
    comparable between predictions and schedules of one latent space. A schedule rarely contains a
    level exactly: log(error) is interpolated linearly in log-SNR between the two nearest timesteps.
    Levels outside the schedule take its first or last timestep.
    limit: of the clamp.
    """
    clamped, schedule = Clamped(denoiser, limit), denoiser.schedule
    t = torch.arange(schedule.timesteps, device=x0.device)
    log_snr = 2 * torch.log(torch.div(*schedule(t))).cpu()            # (T,), falling

    @cache
    def error(step: int) -> float:
        at = torch.tensor([step], device=x0.device)
        return (clamped(corrupt(x0, eps, *schedule(at)), at).x0 - x0).square().mean().item()

    found = []
    for level in LOG_SNRS:
        step = int((log_snr >= level).sum())                          # first timestep below it
        if step in (0, schedule.timesteps):
            found.append(error(min(step, schedule.timesteps - 1)))
            continue
        above, below = log_snr[step - 1], log_snr[step]
        share = ((above - level) / (above - below)).item()
        found.append(error(step - 1) ** (1 - share) * error(step) ** share)
    return found
