"""Sampling settings, and the defaults of each task."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nanoldm.diffusion import ANCESTRAL, SAMPLERS, NoiseSchedule, ddim, evaluations
from nanoldm.diffusion.samplers.ddpm import check_signal
from nanoldm.diffusion.timesteps import SPACINGS, sampling_timesteps
from nanoldm.pipeline.folders import SAMPLING
from nanoldm.utils.errors import InputError, check_choice
from nanoldm.utils.files import read_json, refusing, write_json
from nanoldm.utils.limits import MOST_GUIDANCE
from nanoldm.utils.text import listing

INPAINTING_STEPS = 20


@dataclass(frozen=True)
class Sampling:
    """Settings of a sampler.

    sampler: a name of SAMPLERS, or a generator function with their signature.
    steps: 1 ... T (None: all T).
    spacing: which timesteps are visited, a name of SPACINGS.
    timesteps: the visited timesteps themselves, descending (None: from steps and spacing).
    eta: of ddim, 0 (deterministic) ... 1 (ancestral).
    clamp: clamp x0 to the range of the training latents.
    guidance: scale of classifier-free guidance; 1 is off.
    guidance_interval: (lowest, highest) timestep with guidance (None: all).
    Raises InputError for unknown names, values out of range and settings that exclude each other.
    """

    sampler: str | Callable = "ddpm"
    steps: int | None = None
    spacing: str = "trailing"
    timesteps: tuple[int, ...] | None = None
    eta: float = 0.0
    clamp: bool = True
    guidance: float = 1.0
    guidance_interval: tuple[int, int] | None = None

    def __post_init__(self):
        if self.steps is not None and type(self.steps) is not int:
            raise InputError(f"steps is {self.steps}: give a whole number")
        if not callable(self.sampler):
            check_choice("sampler", self.sampler, SAMPLERS)
        check_choice("spacing", self.spacing, SPACINGS)
        if self.eta and self.sampler != "ddim":
            raise InputError("eta belongs to the sampler ddim: choose it, or leave eta out")
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta {self.eta:g}: choose a number from 0 to 1")
        self._check_guidance()

    def _check_guidance(self) -> None:
        if not 0 <= self.guidance <= MOST_GUIDANCE:
            raise InputError(f"guidance {self.guidance:g}: choose 1 (off) or another number from 0 "
                             f"to {MOST_GUIDANCE}, such as 2")
        if self.guidance_interval is None:
            return
        if self.guidance == 1:
            raise InputError("a guidance interval needs guidance: choose a scale other than 1, "
                             "such as 2, or leave the interval out")
        if not 0 <= self.guidance_interval[0] <= self.guidance_interval[1]:
            raise InputError(f"guidance interval {self.guidance_interval}: give the lowest and the "
                             "highest timestep, such as 20-80")

    @property
    def name(self) -> str:
        """The name of the sampler."""
        own = isinstance(self.sampler, str)
        return self.sampler if own else getattr(self.sampler, "__name__", "custom")

    def changed(self, **changes: Any) -> "Sampling":
        """A copy with the given settings; None leaves a setting as it is.

        A named sampler starts from its own defaults: all timesteps, trailing.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        base = self
        if "sampler" in given:
            base = replace(self, steps=None, spacing="trailing", timesteps=None, eta=0.0)
        elif given.keys() & {"steps", "spacing"}:
            base = replace(self, timesteps=None)
        for name in given:
            check_choice("sampling setting", name, vars(self))
        if given.get("timesteps") is not None:
            given["timesteps"] = tuple(given["timesteps"])
        return replace(base, **given)

    def resolved(self, schedule: NoiseSchedule, start: int | None = None) -> "Sampling":
        """These settings with their `timesteps` on `schedule`.

        start: the first timestep (default: the noisiest). Raises InputError if the settings do not
        fit the schedule.
        """
        timesteps = self.timesteps
        if timesteps is None:
            timesteps = sampling_timesteps(schedule, self.steps, start, self.spacing)
        highest = schedule.timesteps - 1
        falling = all(a > b for a, b in itertools.pairwise(timesteps))
        if not (timesteps and falling and timesteps[-1] >= 0 and timesteps[0] <= highest):
            raise InputError(f"timesteps {list(timesteps)}: give falling timesteps from {highest} "
                             "to 0")
        if start is not None and timesteps[0] != start:
            raise InputError(f"timesteps {list(timesteps)}: the first must be {start}, to which "
                             "the images are noised")
        if self.sampler in ANCESTRAL:
            check_signal(schedule, timesteps[0])
        if self.guidance_interval and self.guidance_interval[1] >= schedule.timesteps:
            low, high = self.guidance_interval
            raise InputError(f"guidance interval {low}-{high}: this model has timesteps 0 to "
                             f"{schedule.timesteps - 1}")
        return replace(self, timesteps=tuple(timesteps))

    def nfe(self, schedule: NoiseSchedule) -> int:
        """Network evaluations per image; guidance evaluates the network twice."""
        asked = evaluations(self.name, self.resolved(schedule).timesteps)
        lowest, highest = self.guidance_interval or (0, schedule.timesteps)
        return len(asked) + (self.guidance != 1) * sum(lowest <= t <= highest for t in asked)

    @property
    def merged(self) -> str | None:
        """A note if steps of these resolved settings fall on one timestep."""
        asked, visited = self.steps, len(self.timesteps)
        if asked is None or visited >= asked:
            return None
        return f"note: {asked} steps with {self.spacing} spacing visit {visited} timesteps"

    def function(self) -> Callable:
        """The sampler as a generator function."""
        if callable(self.sampler):
            return self.sampler
        return partial(ddim, eta=self.eta) if self.sampler == "ddim" else SAMPLERS[self.sampler]


def student_settings(own: Sampling, settings: Sampling, changes: dict[str, Any],
                     start: int | None) -> Sampling:
    """`settings` with `changes`, for a student. Guidance may change; sampler and timesteps not.

    There is no clamp: before the last pass, x0 of a student is no estimate of an image.
    own: the student's resolved settings. start: the first timestep (default: the noisiest).
    Raises InputError for another sampler and timesteps that the student does not know.
    """
    chosen = settings.changed(**changes)
    first = own.timesteps[0] if start is None else start
    known = tuple(t for t in own.timesteps if t <= first)
    same = [getattr(chosen, name) == getattr(own, name) for name in ("sampler", "spacing", "eta")]
    if not (all(same) and chosen.steps == own.steps and first in known
            and chosen.timesteps in (None, own.timesteps, known)):
        times = listing([*map(str, own.timesteps)])
        raise InputError(f"this model is a student: it knows {own.name} at the timesteps {times}: "
                         "leave out other settings, or use its teacher")
    return replace(chosen, timesteps=known, clamp=False)


def default_settings(schedule: NoiseSchedule) -> Sampling:
    """All timesteps of ddpm; of ddim where alpha reaches 0."""
    return Sampling(sampler="ddim" if schedule.zero_terminal_snr else "ddpm")


def inpainting_settings(schedule: NoiseSchedule) -> Sampling:
    """20 steps of ddpm-repaint, shifted (docs/editing.md); of ddim where alpha reaches 0."""
    sampler = "ddim" if schedule.zero_terminal_snr else "ddpm-repaint"
    return Sampling(sampler, min(INPAINTING_STEPS, schedule.timesteps), "shifted")


def quick_settings(schedule: NoiseSchedule) -> Sampling:
    """12 steps of ab3, shifted: for images that are not shown (docs/ablations.md)."""
    return Sampling("ab3", min(12, schedule.timesteps), "shifted")


def inversion_settings() -> Sampling:
    """All timesteps of ddim, whose steps can be inverted."""
    return Sampling(sampler="ddim")


def save_settings(folder: Path, settings: Sampling, **measured: Any) -> Path:
    """Write sampler, steps and spacing to sampling.json, with the metrics that chose them.

    Raises InputError for settings that the file cannot hold.
    """
    if callable(settings.sampler) or settings != Sampling(settings.sampler, settings.steps,
                                                          settings.spacing):
        raise InputError("a model's own settings are a sampler by name, steps and spacing: give "
                         "the others to generate")
    stored = {name: getattr(settings, name) for name in ("sampler", "steps", "spacing")}
    write_json(folder / SAMPLING, stored | measured)
    return folder / SAMPLING


def load_settings(folder: Path, schedule: NoiseSchedule) -> Sampling:
    """The settings of the model in `folder`; `default_settings` if it has no sampling.json.

    Raises InputError that names the file if it is damaged or does not fit `schedule`.
    """
    path = folder / SAMPLING
    if not path.exists():
        return default_settings(schedule)
    with refusing(path):
        content = read_json(path)
        settings = Sampling(content["sampler"], content["steps"], content["spacing"])
        settings.resolved(schedule)
    return settings


def capped(settings: Sampling, start: int) -> Sampling:
    """`settings` with at most as many steps as there are timesteps up to `start`."""
    if settings.steps is None:
        return settings
    return replace(settings, steps=min(settings.steps, start + 1))
