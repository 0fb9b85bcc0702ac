"""A figure of merit that does not depend on the objective: how far the estimate of x0 is from x0, at fixed levels of noise."""

from functools import cache

import torch
from torch import Tensor, nn

from nanoldm.diffusion.denoiser import Clamped
from nanoldm.diffusion.schedule import corrupt

# log-SNR = log(alpha^2 / sigma^2): from almost clean to almost noise
LEVELS = tuple(k - 5.5 for k in range(11, -1, -1))      # 5.5, 4.5 ... -5.5


@torch.inference_mode()
def proxy(denoiser: nn.Module, x0: Tensor, eps: Tensor, limit: float, levels: tuple[float, ...] = LEVELS) -> list[float]:
    """Mean squared error of the clamped x0 estimate at each log-SNR of `levels`. x0, eps: (B, tokens, channels), both fixed.

    Networks of one latent space can be compared by it, whatever they predict and whatever schedule they were trained with. A
    schedule's table seldom holds a level exactly: the logarithm of the error is interpolated, linearly in log-SNR, between the two
    timesteps beside it. Levels beyond the table take its end.
    """
    clamped, schedule = Clamped(denoiser, limit), denoiser.schedule
    t = torch.arange(schedule.timesteps, device=x0.device)
    log_snr = 2 * torch.log(torch.div(*schedule(t))).cpu()              # (T,), falling

    @cache
    def error(step: int) -> float:
        at = torch.tensor([step], device=x0.device)
        return (clamped(corrupt(x0, eps, *schedule(at)), at).x0 - x0).square().mean().item()

    found = []
    for level in levels:
        noisier = int((log_snr >= level).sum())                         # the first timestep below the level
        if noisier in (0, schedule.timesteps):
            found.append(error(min(noisier, schedule.timesteps - 1)))
            continue
        share = ((log_snr[noisier - 1] - level) / (log_snr[noisier - 1] - log_snr[noisier])).item()
        found.append(error(noisier - 1) ** (1 - share) * error(noisier) ** share)      # a straight line where error ~ 1 / SNR
    return found
