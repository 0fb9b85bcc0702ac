"""Denoising error: MSE of x0 at fixed log-SNR, which does not depend on the training objective."""

from functools import cache

import torch
from torch import Tensor, nn

from nanoldm.diffusion.denoiser import Clamped
from nanoldm.diffusion.schedule import corrupt

# log(alpha^2 / sigma^2), from almost clean to almost noise: 5.5, 4.5 ... -5.5
LOG_SNRS = tuple(k - 5.5 for k in range(11, -1, -1))


@torch.inference_mode()
def denoising_error(denoiser: nn.Module, x0: Tensor, eps: Tensor, limit: float,
                    log_snrs: tuple[float, ...] = LOG_SNRS) -> list[float]:
    """Mean squared error of the clamped estimate of x0 at each of `log_snrs`.

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
    for level in log_snrs:
        noisier = int((log_snr >= level).sum())                       # first timestep below it
        if noisier in (0, schedule.timesteps):
            found.append(error(min(noisier, schedule.timesteps - 1)))
            continue
        above, below = log_snr[noisier - 1], log_snr[noisier]
        share = ((above - level) / (above - below)).item()
        found.append(error(noisier - 1) ** (1 - share) * error(noisier) ** share)
    return found
