"""Options that several commands share."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, UseAppendAction, arg

from nanoldm.utils.errors import InputError
from nanoldm.utils.options import parse_interval

if TYPE_CHECKING:
    from nanoldm.pipeline.settings import Sampling

# An empty help_behavior_hint spares the reader "(default: None)".
Model = Positional[Annotated[str, arg(metavar="MODEL", help="A bundled name, a run folder or an exported folder.")]]
Device = Annotated[str, arg(metavar="DEVICE", help="auto, cpu, cuda or mps.")]
Threads = Annotated[int | None, arg(metavar="N", help_behavior_hint="", help="CPU threads (default: one for each core).")]
# Labels are "" where none are given: of an option that may be None, tyro takes the text None for that.
Label = Annotated[str, arg(metavar="LABEL", help_behavior_hint="", help="Class to draw, for models that know labels: its number or "
                                  "name, or several in turn, such as 0-9 or cat,dog, or none (default: each seed draws its own; none also "
                                  "leaves out cells). nanoldm info MODEL lists them.")]
Count = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Text = Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")]
File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
Picture = Annotated[Path, arg(metavar="FILE")]
Folder = Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")]
FeatureFolder = Annotated[str, arg(metavar="NAME", help="Feature networks: a bundled name, or a folder that `nanoldm features` wrote.")]
Weak = Annotated[bool, FlagCreatePairsOff, arg(help="Judge by feature networks that are too often wrong, all the same.")]
OtherData = Annotated[str | None, arg(metavar="DATA", help_behavior_hint="", help="Measure by these images instead of those that the model "
                                      "was trained on: mnist, ..., or folder:PATH, also where that folder has moved or changed.")]
Fields = UseAppendAction[Annotated[tuple[str, ...], arg(name="set", metavar="FIELD=VALUE", help_behavior_hint="")]]


@dataclass(frozen=True)
class SamplerOptions:
    """How the images are drawn."""

    fast: Annotated[bool, FlagCreatePairsOff, arg(
        help="The few-step setting stored with the model by `nanoldm compare MODEL --save`; 12 steps of ab3 on the shifted grid if "
             "there is none. Instead of --steps, --sampler, --grid and --eta; not where an image is inverted. Models of fast recipes have "
             "it in sample, denoise, evaluate and img2img anyway, unless one of those is given.")] = False
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="", help="Reverse steps, from 1 to the number of timesteps that there "
                                     "are (default: all of them; 20 for inpaint; see --fast).")] = None
    sampler: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="", help="ddpm, ddpm-posterior, ddpm-repaint (five "
                                       "network passes a step), ddim, heun (two), dpm++2m, ab2, ab3 or ab4 (default: ddpm; ddim for "
                                       "flows, interpolate, invert and vary; ddpm-repaint for inpaint).")] = None
    grid: Annotated[str | None, arg(metavar="NAME", help_behavior_hint="", help="Which timesteps are visited: trailing (even), log-snr or "
                                    "shifted (mostly noisy ones) (default: trailing; shifted for inpaint).")] = None
    eta: Annotated[float | None, arg(metavar="X", help_behavior_hint="", help="Randomness of ddim on the way, from 0 (none, the default) "
                                     "to 1 (as ddpm-posterior).")] = None
    clamp: Annotated[bool, arg(help="Limit the estimate of x0 to the range of the training latents; --no-clamp is the bare "
                               "update.")] = True
    guidance: Annotated[float, arg(metavar="SCALE", help="Classifier-free guidance for models that know labels or cells: 1 is off, 2 draws "
                                   "what they say more clearly, with less variety and at twice the cost.")] = 1.0
    guidance_interval: Annotated[str | None, arg(metavar="T-T", help_behavior_hint="", help="Guide only from the lowest to the highest of "
                                                 "these timesteps, such as 20-80 (default: all).")] = None

    @property
    def chosen(self) -> bool:
        """Whether anything is said that the few-step setting would decide."""
        return any(option is not None for option in (self.steps, self.sampler, self.grid, self.eta))

    def settings(self, model: str, t: int | None = None, grid: str = "trailing") -> "Sampling":
        """As the samplers take them, for all timesteps of `model` or from timestep t. grid: where none is chosen. Raises InputError."""
        from nanoldm.pipeline.fast import quickened
        from nanoldm.pipeline.settings import Sampling
        if self.fast and self.chosen:
            raise InputError("--fast chooses steps, sampler and grid: leave out --steps, --sampler, --grid and --eta")
        own = {name: value for name, value in vars(self).items() if name != "fast"}
        sampling = Sampling(**own | {"grid": self.grid or grid, "eta": self.eta or 0.0,
                                     "guidance_interval": parse_interval(self.guidance_interval)})
        return quickened(model, sampling, t) if self.fast else sampling

    def drawing(self, model: str, t: int | None = None) -> "Sampling":
        """As `settings`, for commands that draw from noise: a model of a fast recipe has its few-step setting unless told otherwise."""
        from nanoldm.pipeline.fast import usual
        settings = self.settings(model, t)
        return settings if self.fast or self.chosen else usual(model, settings, t)


# Among the options of a command, without a prefix of their own: --steps, not --sampling.steps.
Drawn = Annotated[SamplerOptions, OmitArgPrefixes]
AS_USUAL = SamplerOptions()
