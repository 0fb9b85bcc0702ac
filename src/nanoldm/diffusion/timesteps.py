"""Timesteps: random ones for training, and the spacings of sampling, in descending order.

The first timestep is `start`. The step after the last timestep reaches the clean level.
"""

import torch
from torch import Tensor

from nanoldm.diffusion.schedule import NoiseSchedule
from nanoldm.utils.errors import InputError, check_choice

SHIFT = 5.0  # of the shifted spacing (docs/ablations.md)
SPACINGS = ("trailing", "log-snr", "shifted")
DISTRIBUTIONS = ("uniform", "logit-normal")


def random_timesteps(count: int, timesteps: int, stream: torch.Generator,
                     distribution: str = "uniform") -> Tensor:
    """Timesteps of a training batch (count,), in 0 ... timesteps - 1, on the CPU.

    distribution: "uniform", or "logit-normal", which prefers the middle (Esser et al. 2024, arXiv
        2403.03206, eq. 19):

        t = floor(timesteps sigmoid(z))        z ~ N(0, 1)

    stream: a CPU generator, so that every device gets the same values.
    Raises InputError for another distribution.
    """
    check_choice("timestep distribution", distribution, DISTRIBUTIONS)
    if distribution == "uniform":
        return torch.randint(timesteps, (count,), generator=stream)
    share = torch.randn(count, generator=stream).sigmoid()
    return (share * timesteps).long().clamp(max=timesteps - 1)


def check_steps(start: int, steps: int) -> None:
    """Raise InputError unless 1 <= steps <= start + 1."""
    if not 1 <= steps <= start + 1:
        raise InputError(f"{steps} steps do not fit between timestep {start} and clean: choose 1 "
                         f"to {start + 1}")


def trailing(start: int, steps: int) -> list[int]:
    """Evenly spaced timesteps from `start` (Lin et al. 2023, arXiv 2305.08891, table 2).

    Raises InputError unless 1 <= steps <= start + 1.
    """
    check_steps(start, steps)
    return [round((start + 1) * (steps - i) / steps) - 1 for i in range(steps)]


def log_snr(schedule: NoiseSchedule, start: int, steps: int) -> list[int]:
    """Evenly spaced in log(alpha / sigma), from `start` to 0 (Lu et al. 2022, arXiv 2211.01095)."""
    if steps == 1:
        return [start]
    alpha, sigma = levels(schedule, start)
    values = (alpha / sigma).log()
    if values[start].isfinite():
        return nearest(values, evenly(values[0], values[start], steps))
    # alpha is 0 at `start` and the logarithm -infinity: the even spacing begins one timestep below.
    return [start, *nearest(values, evenly(values[0], values[start - 1], steps - 1))]


def shifted(schedule: NoiseSchedule, start: int, steps: int) -> list[int]:
    """Evenly spaced in flow time tau, then shifted to noise (Esser et al. 2024, arXiv 2403.03206).

        tau = sigma / (alpha + sigma)        tau' = s tau / (1 + (s - 1) tau)        s = SHIFT

    The second equation is their eq. 23.
    """
    alpha, sigma = levels(schedule, start)
    tau = sigma / (alpha + sigma)
    share = torch.arange(steps, 0, -1, dtype=torch.float64) / steps
    return nearest(tau, tau[start] * SHIFT * share / (1 + (SHIFT - 1) * share))


def levels(schedule: NoiseSchedule, start: int) -> tuple[Tensor, Tensor]:
    """alpha and sigma of timesteps 0 ... start, float64."""
    alpha, sigma = schedule(torch.arange(start + 1, device=schedule.alpha.device))
    return alpha.cpu().double(), sigma.cpu().double()


def evenly(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """`steps` values from `first` to `last`, both included, float64."""
    return torch.linspace(first, last, steps, dtype=torch.float64)


def nearest(values: Tensor, wanted: Tensor) -> list[int]:
    """The timesteps whose values are nearest to `wanted`, descending, each once."""
    found = (values - wanted[:, None]).abs().argmin(1).tolist()
    return sorted(set(found), reverse=True)


def sampling_timesteps(schedule: NoiseSchedule, steps: int | None = None, start: int | None = None,
                       spacing: str = "trailing") -> list[int]:
    """The timesteps of `steps` sampling steps.

    steps: 1 ... start + 1 (default: all). The log-snr and shifted spacings may return fewer,
        because two steps can fall on one timestep.
    start: the first timestep (default: the noisiest).
    spacing: a name of SPACINGS.
    Raises InputError for values out of range.
    """
    start = schedule.timesteps - 1 if start is None else start
    steps = start + 1 if steps is None else steps
    check_choice("spacing", spacing, SPACINGS)
    check_steps(start, steps)
    if spacing == "trailing":
        return trailing(start, steps)
    if spacing == "log-snr":
        return log_snr(schedule, start, steps)
    return shifted(schedule, start, steps)
