"""How images are drawn: the settings that every command which samples shares."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import index

import torch
from torch import Tensor

from nanoldm.diffusion import SAMPLERS, NoiseSchedule, ddim, visits
from nanoldm.pipeline.labels import class_number, listed
from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import LARGEST_SEED, short, within
from nanoldm.utils.seeding import generator

MOST_GUIDANCE = 1000
LABELS = 1      # the random stream of an image's label, beside that of its noise
Labels = int | str | Sequence[int | str] | None     # one for all images, or one for each


@dataclass(frozen=True)
class Sampling:
    """Settings of a sampler. Raises InputError for names that do not exist and settings that do not go together.

        steps       1 ... T (None: all T)
        sampler     a name of SAMPLERS (None: ddpm; ddim where the noisiest timestep holds no signal)
        grid        which timesteps are visited: a name of GRIDS
        eta         of ddim: 0 is deterministic, 1 ancestral
        clamp       limit x0 to the range of the training latents
        guidance    scale of classifier-free guidance: 1 is off, more draws what the label says more clearly, and less variety
        guidance_interval   (lowest, highest) timestep with guidance (None: all of them)
    """

    steps: int | None = None
    sampler: str | None = None
    grid: str = "trailing"
    eta: float = 0.0
    clamp: bool = True
    guidance: float = 1.0
    guidance_interval: tuple[int, int] | None = None

    def __post_init__(self):
        if self.steps is not None and not isinstance(self.steps, int):
            raise InputError(f"{self.steps} steps: give a whole number")
        if self.sampler not in (None, *SAMPLERS):
            raise InputError(f"unknown sampler {self.sampler!r}: choose one of {', '.join(SAMPLERS)}")
        if self.eta and self.sampler != "ddim":
            raise InputError("eta belongs to the sampler ddim: choose it, or leave eta out")
        if not 0 <= self.eta <= 1:
            raise InputError(f"eta {self.eta:g}: choose a number from 0 to 1")
        if not 0 <= self.guidance <= MOST_GUIDANCE:
            raise InputError(f"guidance {self.guidance:g}: choose 1 (off) or another number from 0 to {MOST_GUIDANCE}, such as 2")
        if self.guidance_interval and self.guidance == 1:
            raise InputError("a guidance interval needs guidance: choose a scale other than 1, such as 2, or leave the interval out")
        if self.guidance_interval and not 0 <= self.guidance_interval[0] <= self.guidance_interval[1]:
            raise InputError(f"guidance interval {self.guidance_interval}: give the lowest and the highest timestep, such as 20-80")

    def name(self, schedule: NoiseSchedule) -> str:
        """The sampler that is used on `schedule`."""
        return self.sampler or ("ddpm" if schedule.alpha.all() else "ddim")

    def passes(self, schedule: NoiseSchedule, timesteps: Sequence[int]) -> int:
        """How often the network is asked about an image: where guidance is on, about the label and about none."""
        asked = visits(self.name(schedule), timesteps)
        lowest, highest = self.guidance_interval or (0, schedule.timesteps)
        return len(asked) + (self.guidance != 1) * sum(lowest <= t <= highest for t in asked)

    def function(self, schedule: NoiseSchedule) -> Callable:
        """It, as a generator function with the signature that all samplers have."""
        name = self.name(schedule)
        return partial(ddim, eta=self.eta) if name == "ddim" else SAMPLERS[name]

    def check_guidance(self, labels: Tensor | None, timesteps: int) -> None:
        """Raise InputError if guidance could do nothing for images of these labels, at twice the cost."""
        if self.guidance != 1 and (labels is None or (labels < 0).all()):
            mend = "leave guidance out" if labels is None else "name some (--label), or leave guidance out"
            raise InputError(f"guidance compares an image with and without its label (or cell), and none is told here: {mend}")
        if self.guidance_interval and self.guidance_interval[1] >= timesteps:
            raise InputError(f"guidance interval {self.guidance_interval[0]}-{self.guidance_interval[1]}: this model has timesteps 0 to "
                             f"{timesteps - 1}")


def checked_seeds(seeds: Sequence[int]) -> list[int]:
    """Seeds as a list of integers: a range, a list, an array or a tensor of them. Raises InputError for none, and for what is no seed."""
    try:
        found = [index(seed) for seed in (seeds.tolist() if hasattr(seeds, "tolist") else seeds)]
    except TypeError:
        raise InputError("seeds must be whole numbers, such as range(64) or [3, 7]") from None
    if not found:
        raise InputError("no seeds given: at least one image is needed")
    if min(found) < 0:
        raise InputError(f"seeds count from 0, got {short(min(found))}")
    within("seed", max(found), 0, LARGEST_SEED)
    return found


def labels_for(classes: int, seeds: Sequence[int], given: Labels = None, names: Mapping[int, str] | None = None) -> Tensor | None:
    """The class (or cell) of each image (N,), -1 for none; None for a model that knows no `classes`.

    given: one label for all images, or one for each, as numbers or names. Where none are given each seed draws one, all classes alike.
    names: of the classes that had training images (default: all of them had, and they have no names).
    Raises InputError for labels that do not exist, or not one for each seed.
    """
    names = names or {}
    known = torch.tensor(sorted(names) or list(range(classes)))
    if given is None:
        drawn = [torch.randint(len(known), (), generator=generator(seed, LABELS)) for seed in seeds] if classes else []
        return known[torch.stack(drawn)] if drawn else None
    named = names or {number: str(number) for number in range(classes)}
    if hasattr(given, "tolist") and not isinstance(given, Tensor):       # an array, perhaps of names
        given = given.tolist()
    if isinstance(given, str):
        given = class_number(given, named)
    elif isinstance(given, list | tuple):
        given = [class_number(label, named) if isinstance(label, str) else label for label in given]
    try:
        labels = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):        # of torch, for texts and for numbers without end
        labels = torch.tensor(0.5)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise InputError("labels are whole numbers: 0 for the first class, -1 for none")
    labels = labels.expand(len(seeds)) if labels.dim() == 0 else labels
    if len(labels) != len(seeds):
        raise InputError(f"{len(seeds)} images need as many labels, not {len(labels)}")
    if wrong := labels[(labels != -1) & ~torch.isin(labels, known)].tolist():
        mend = f"choose {listed(named)}, or -1 for none"
        raise InputError(f"the model knows no label {wrong[0]}: {mend if classes else 'it was trained without labels: leave them out'}")
    return labels if classes else None
