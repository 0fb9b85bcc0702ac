"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

# An empty help_behavior_hint spares the reader "(default: None)".
Model = Positional[Annotated[str, arg(metavar="MODEL", help="A bundled name, a run folder or an exported folder.")]]
Device = Annotated[str, arg(metavar="DEVICE", help="auto, cpu, cuda or mps.")]
Threads = Annotated[int | None, arg(metavar="N", help_behavior_hint="", help="CPU threads (default: one for each core).")]
Clamp = Annotated[bool, arg(help="Limit the estimate of x0 to the range of the training latents; --no-clamp is the bare update.")]
Sampler = Annotated[str | None, arg(metavar="NAME", help_behavior_hint="", help="ddpm, ddpm-posterior, ddpm-repaint (five network "
                                    "passes a step), ddim, heun (two), dpm++2m, ab2, ab3 or ab4 (default: ddpm; ddim for flows).")]
Grid = Annotated[str, arg(metavar="NAME", help="Which timesteps are visited: trailing (even), log-snr or shifted (mostly noisy ones).")]
Eta = Annotated[float, arg(metavar="X", help="Randomness of ddim on the way, from 0 (none) to 1 (as ddpm-posterior).")]
Count = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Text = Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")]
File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
Picture = Annotated[Path, arg(metavar="FILE")]
Folder = Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")]
FeatureFolder = Annotated[str, arg(metavar="NAME", help="Feature networks: a bundled name, or a folder that `nanoldm features` wrote.")]
