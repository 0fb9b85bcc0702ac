"""Which timesteps a sampler visits: descending, from `start` inclusive; the step after the last one reaches the clean level."""

import torch
from torch import Tensor

from nanoldm.diffusion.schedule import NoiseSchedule
from nanoldm.utils.errors import InputError

SHIFT = 5.0     # of the shifted grid: dense where there is much noise (benchmarks/RESULTS.md: 5 beats 3 at 4 to 16 passes)


def trailing(start: int, steps: int) -> list[int]:
    """Evenly spaced. (Lin et al. 2023, arXiv 2305.08891, table 2: the noisiest level is always visited.)

    Raises InputError unless 1 <= steps <= start + 1.
    """
    if not 1 <= steps <= start + 1:
        raise InputError(f"{steps} steps do not fit between timestep {start} and clean: choose 1 to {start + 1}")
    return [round((start + 1) * (steps - i) / steps) - 1 for i in range(steps)]


def log_snr(schedule: NoiseSchedule, start: int, steps: int) -> list[int]:
    """Evenly spaced in log(alpha / sigma), from `start` to timestep 0 (Lu et al. 2022, arXiv 2211.01095, appendix)."""
    alpha, sigma = levels(schedule, start)
    values = (alpha / sigma).log()
    # Where the first level holds no signal, its logarithm is minus infinity: the even spacing begins at the second.
    first = [] if values[start].isfinite() else [start]
    if steps == 1 or start == 0:
        return [start]
    if steps == len(first) + 1:
        return [start, 0]           # nothing in between
    return first + nearest(values, torch.linspace(values[start - len(first)], values[0], steps - len(first), dtype=torch.float64))


def shifted(schedule: NoiseSchedule, start: int, steps: int) -> list[int]:
    """Evenly spaced in flow time tau = sigma / (alpha + sigma), then shifted: tau' = 5 tau / (1 + 4 tau) (Esser et al. 2024, arXiv
    2403.03206, eq. 23)."""
    alpha, sigma = levels(schedule, start)
    tau = sigma / (alpha + sigma)
    share = torch.arange(steps, 0, -1, dtype=torch.float64) / steps
    return nearest(tau, tau[start] * SHIFT * share / (1 + (SHIFT - 1) * share))


def levels(schedule: NoiseSchedule, start: int) -> tuple[Tensor, Tensor]:
    """alpha and sigma of timesteps 0 ... start, float64."""
    alpha, sigma = schedule(torch.arange(start + 1, device=schedule.alpha.device))
    return alpha.cpu().double(), sigma.cpu().double()


def nearest(values: Tensor, wanted: Tensor) -> list[int]:
    """The timestep whose value lies nearest to each of `wanted`, without repetitions."""
    found = (values - wanted[:, None]).abs().argmin(1).tolist()
    return sorted(set(found), reverse=True)


GRIDS = ("trailing", "log-snr", "shifted")


def visited(schedule: NoiseSchedule, steps: int | None = None, start: int | None = None, grid: str = "trailing") -> list[int]:
    """The timesteps of `steps` steps (default: all) from `start` (default: the noisiest) on a grid of GRIDS.

    Where two steps fall on one timestep it is visited once, so that fewer may come back. Raises InputError unless 1 <= steps <= start + 1
    and the grid exists.
    """
    start = schedule.timesteps - 1 if start is None else start
    steps = start + 1 if steps is None else steps
    if grid not in GRIDS:
        raise InputError(f"unknown time grid {grid!r}: choose one of {', '.join(GRIDS)}")
    even = trailing(start, steps)       # checks the number of steps for all of them
    return {"trailing": lambda *_: even, "log-snr": log_snr, "shifted": shifted}[grid](schedule, start, steps)
