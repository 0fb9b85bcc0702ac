"""The settings that `compare` compares."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from nanoldm.diffusion import NoiseSchedule
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError

MOST_NFE = 16  # of the settings that `compare` chooses


@dataclass(frozen=True)
class Candidates:
    """Every sampler with every timestep spacing, with at most each number of NFE."""

    nfe: Sequence[int] = (4, 8, 16, 32)
    samplers: Sequence[str] = ("dpm++2m", "ab2", "ab3")
    spacings: Sequence[str] = ("shifted", "log-snr")

    def settings(self, schedule: NoiseSchedule) -> dict[str, Sampling]:
        """{file name: settings}. Raises InputError for names and numbers that do not exist."""
        found, numbers = {}, sorted(set(self.nfe))
        for nfe, sampler, spacing in itertools.product(numbers, self.samplers, self.spacings):
            if not 1 <= nfe <= schedule.timesteps:
                raise InputError(f"nfe {nfe}: choose numbers from 1 to {schedule.timesteps}, the "
                                 "timesteps of this model")
            steps = steps_within(schedule, nfe, sampler, spacing)
            found[f"{sampler}-{spacing}-{steps}"] = Sampling(sampler, steps, spacing)
        return found


DEFAULT_CANDIDATES = Candidates()


def steps_within(schedule: NoiseSchedule, nfe: int, sampler: str, spacing: str) -> int:
    """The smallest number of steps that costs as many NFE as possible, at most `nfe`.

    n steps of heun cost 2 n - 1 NFE, of ddpm-repaint 5 n - 4. With some spacings, steps fall on one
    timestep: then more steps fit.
    """
    costs = ((steps, Sampling(sampler, steps, spacing).nfe(schedule))
             for steps in range(1, schedule.timesteps + 1))
    # Where steps merge, a few more steps can cost less again.
    near = itertools.takewhile(lambda pair: pair[1] <= 2 * nfe, costs)
    within = (pair for pair in near if pair[1] <= nfe)
    return max(within, key=lambda pair: (pair[1], -pair[0]))[0]
