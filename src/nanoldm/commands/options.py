"""Options that several commands share."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from nanoldm.errors import InputError
from nanoldm.options import parse_interval

if TYPE_CHECKING:
    from nanoldm.sampling import Sampling

# An empty help_behavior_hint spares the reader "(default: None)".
Model = Positional[Annotated[str, arg(metavar="MODEL", help="A bundled name, a run folder or an exported folder.")]]
Device = Annotated[str, arg(metavar="DEVICE", help="auto, cpu, cuda or mps.")]
Threads = Annotated[int | None, arg(metavar="N", help_behavior_hint="", help="CPU threads (default: one for each core).")]
Label = Annotated[str | None, arg(metavar="LABEL", help_behavior_hint="", help="Class to draw, for models that know labels: 7, or several "
                                  "in turn, such as 0-9 or 3,5, or none (default: each seed draws its own).")]
Count = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Text = Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")]
File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
Picture = Annotated[Path, arg(metavar="FILE")]
Folder = Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")]
FeatureFolder = Annotated[str, arg(metavar="NAME", help="Feature networks: a bundled name, or a folder that `nanoldm features` wrote.")]
Fields = UseAppendAction[Annotated[tuple[str, ...], arg(name="set", metavar="FIELD=VALUE", help_behavior_hint="")]]


@dataclass(frozen=True)
class SamplerOptions:
    """How the images are drawn."""

    fast: Annotated[bool, arg(help="The few-step setting stored with the model by `nanoldm compare MODEL --save`; 16 steps of dpm++2m on "
                              "the shifted grid if there is none. Models of fast recipes draw by it anyway, unless --steps or "
                              "the like is given. Instead of --steps, --sampler, --grid and --eta; not where an image "
                              "is inverted.")] = False
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="", help="Reverse steps, from 1 to the number of timesteps that there "
                                     "are (default: all of them; 20 for inpaint).")] = None
    sampler: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="", help="ddpm, ddpm-posterior, ddpm-repaint (five "
                                       "network passes a step), ddim, heun (two), dpm++2m, ab2, ab3 or ab4 (default: ddpm; ddim for "
                                       "flows, interpolate, invert and vary; ddpm-repaint for inpaint).")] = None
    grid: Annotated[str, arg(metavar="NAME", help="Which timesteps are visited: trailing (even), log-snr or shifted (mostly noisy "
                             "ones).")] = "trailing"
    eta: Annotated[float, arg(metavar="X", help="Randomness of ddim on the way, from 0 (none) to 1 (as ddpm-posterior).")] = 0.0
    clamp: Annotated[bool, arg(help="Limit the estimate of x0 to the range of the training latents; --no-clamp is the bare "
                               "update.")] = True
    guidance: Annotated[float, arg(metavar="SCALE", help="Classifier-free guidance for models that know labels: 1 is off, 2 draws what "
                                   "the label says more clearly, with less variety and at twice the cost.")] = 1.0
    guidance_interval: Annotated[str | None, arg(metavar="T-T", help_behavior_hint="", help="Guide only from the lowest to the highest of "
                                                 "these timesteps, such as 20-80 (default: all).")] = None

    def settings(self, model: str, t: int | None = None, usual: "SamplerOptions | None" = None) -> "Sampling":
        """As the samplers take them, for all timesteps of `model` or from timestep t. usual: the command's defaults. Raises InputError."""
        from nanoldm.fast import quickened
        from nanoldm.sampling import Sampling
        own = {name: value for name, value in vars(self).items() if name != "fast"}
        sampling = Sampling(**own | {"guidance_interval": parse_interval(self.guidance_interval)})
        if self.fast and any(getattr(self, name) != getattr(usual or AS_USUAL, name) for name in ("steps", "sampler", "grid", "eta")):
            raise InputError("--fast chooses steps, sampler and grid: leave out --steps, --sampler, --grid and --eta")
        return quickened(model, sampling, t) if self.fast else sampling


    def drawing(self, model: str, t: int | None = None) -> "Sampling":
        """As `settings`, for commands that draw from noise: a model of a fast recipe has its few-step setting unless told otherwise."""
        from nanoldm.fast import usually_fast
        chosen = any(getattr(self, name) != getattr(AS_USUAL, name) for name in ("steps", "sampler", "grid", "eta"))
        return (self if chosen or not usually_fast(model) else replace(self, fast=True)).settings(model, t)


# Among the options of a command, without a prefix of their own: --steps, not --sampling.steps.
Drawn = Annotated[SamplerOptions, OmitArgPrefixes]
AS_USUAL = SamplerOptions()
