"""How images are drawn: the settings that every command which samples shares."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from nanoldm.diffusion import SAMPLERS, NoiseSchedule, ddim
from nanoldm.errors import InputError


@dataclass(frozen=True)
class Sampling:
    """Settings of a sampler. Raises InputError for names that do not exist and settings that do not go together.

        steps       1 ... T (None: all T)
        sampler     a name of SAMPLERS (None: ddpm; ddim where the noisiest timestep holds no signal)
        grid        which timesteps are visited: a name of GRIDS
        eta         of ddim: 0 is deterministic, 1 ancestral
        clamp       limit x0 to the range of the training latents
    """

    steps: int | None = None
    sampler: str | None = None
    grid: str = "trailing"
    eta: float = 0.0
    clamp: bool = True

    def __post_init__(self):
        if self.sampler not in (None, *SAMPLERS):
            raise InputError(f"unknown sampler {self.sampler!r}: choose one of {', '.join(SAMPLERS)}")
        if self.eta and self.sampler != "ddim":
            raise InputError("eta belongs to the sampler ddim: choose it, or leave eta out")
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta {self.eta:g}: choose a number from 0 to 1")

    def name(self, schedule: NoiseSchedule) -> str:
        """The sampler that is used on `schedule`."""
        return self.sampler or ("ddpm" if schedule.alpha.all() else "ddim")

    def function(self, schedule: NoiseSchedule) -> Callable:
        """It, as a generator function with the signature that all samplers have."""
        name = self.name(schedule)
        return partial(ddim, eta=self.eta) if name == "ddim" else SAMPLERS[name]
