"""Options that several commands share, and texts that become numbers. Does not import torch."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, dataclass_transform

from tyro.conf import FlagCreatePairsOff, Positional, arg

from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import LONGEST_BUDGET

if TYPE_CHECKING:
    import torch

    from nanoldm.pipeline.latent_diffusion import LatentDiffusion

# An empty help_behavior_hint omits "(default: None)".
Count = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Number = Annotated[float | None, arg(metavar="X", help_behavior_hint="")]
Text = Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")]
Name = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="")]
File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
Picture = Annotated[Path, arg(metavar="FILE")]
Folder = Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")]
Flag = Annotated[bool, FlagCreatePairsOff]
# "" means not given: tyro would read the text "None" of an optional option as None.
LabelText = Annotated[str, arg(metavar="LABEL", help_behavior_hint="")]
MODEL = arg(metavar="MODEL", help="A bundled name, a run folder, an exported folder, or USER/NAME "
            "(Hugging Face).")
ModelName = Positional[Annotated[str, MODEL]]


@dataclass_transform(kw_only_default=True, frozen_default=True)
def command(cls: type) -> type:
    """A frozen dataclass of options; the help lists its own options before the inherited ones."""
    made = dataclass(frozen=True, kw_only=True)(cls)
    fields = made.__dataclass_fields__
    own = {name: fields[name] for name in cls.__annotations__}
    made.__dataclass_fields__ = own | fields
    return made


@command
class Machine:
    """Where a command computes."""

    # auto, cpu, cuda or mps.
    device: Annotated[str, arg(metavar="DEVICE")] = "auto"
    # CPU threads (default: one per core).
    threads: Count = None

    def prepare(self) -> "torch.device":
        """The device, with torch set up for it."""
        from nanoldm.utils.device import prepare_torch

        return prepare_torch(self.device, self.threads)


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A command that several processes can share."""

    # Processes on this machine that share the work: one for each GPU, or each with its part of the
    # CPU threads. Several machines: docs/scaling.md.
    processes: Annotated[int, arg(metavar="N")] = 1


@command
class ModelMachine(Machine):
    """Where and how precisely a command computes with a model."""

    # Precision of the denoiser: fp32; bf16 (matrix products in bfloat16, for processors with
    # matrix units and GPUs); tf32 (for CUDA GPUs); or auto, the faster of fp32 and bf16.
    precision: Literal["fp32", "tf32", "bf16", "auto"] = "fp32"
    # Random numbers of the samples: torch's, or portable: those of the web page (nanoldm page).
    rng: Literal["torch", "portable"] = "torch"

    def load(self, model: str) -> "LatentDiffusion":
        """The model on the device."""
        from nanoldm.pipeline.latent_diffusion import LatentDiffusion
        from nanoldm.utils.distributed import from_main

        loaded = LatentDiffusion.from_pretrained(model, self.prepare())
        # Rank 0 chooses for all processes.
        chosen = from_main(lambda: loaded.use_precision(self.precision).denoiser.precision)
        if self.precision == "auto":
            print(f"precision {chosen}: the faster one here")
        return loaded.use_precision(chosen).use_rng(self.rng)


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """Changes of a model's own sampling settings."""

    # Reverse steps, from 1 to all timesteps.
    steps: Count = None
    # ddpm, ddpm-posterior, ddpm-repaint (NFE: 5 per step), ddim, heun (NFE: 2 per step), dpm++2m,
    # ab2, ab3 or ab4. A named sampler starts from its own defaults: all steps, trailing.
    sampler: Name = None
    # Which timesteps are visited: trailing (even), log-snr, or shifted (more of the noisy ones).
    spacing: Name = None
    # Randomness of ddim, from 0 (deterministic, the default) to 1 (as ddpm-posterior).
    eta: Number = None
    # Clamp x0 to the range of the training latents.
    clamp: bool = True
    # Classifier-free guidance scale: 1 is off; 2 follows the label more closely, with less variety,
    # at twice the NFE.
    guidance: Annotated[float, arg(metavar="SCALE")] = 1.0
    # Guidance only from the lowest to the highest of these timesteps, such as 20-80 (default: all).
    guidance_interval: Annotated[str | None, arg(metavar="T-T", help_behavior_hint="")] = None

    def changes(self) -> dict[str, Any]:
        """The options as arguments of `LatentDiffusion.generate`."""
        names = ("steps", "sampler", "spacing", "eta", "clamp", "guidance")
        interval = parse_interval(self.guidance_interval)
        return {name: getattr(self, name) for name in names} | {"guidance_interval": interval}


def parse_duration(text: str) -> float:
    """ "90s", "20m", "1h30m" -> seconds. Raises InputError for anything else."""
    units = (("h", 3600), ("m", 60), ("s", 1))
    pattern = "".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit, _ in units)
    match = re.fullmatch(pattern, text.strip(), re.ASCII)
    parts = zip(match.groups(), units, strict=True) if match else ()
    seconds = sum(float(part or 0) * seconds for part, (_, seconds) in parts)
    if not 0 < seconds <= LONGEST_BUDGET:
        raise InputError(f"budget {text}: give a time such as 90s, 20m or 1h30m, at most "
                         f"{LONGEST_BUDGET // 3600}h")
    return seconds


def parse_names(text: str) -> list[str]:
    """ "dpm++2m, ab2" -> ["dpm++2m", "ab2"], each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


def parse_interval(text: str | None) -> tuple[int, int] | None:
    """ "20-80" -> (20, 80). Raises InputError for anything else."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", text.strip())
    if not match:
        raise InputError(f"guidance_interval {text}: give the lowest and the highest timestep, "
                         "such as 20-80")
    return int(match[1]), int(match[2])
