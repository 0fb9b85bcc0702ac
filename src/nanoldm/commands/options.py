"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

# An empty help_behavior_hint spares the reader "(default: None)".
Model = Positional[Annotated[str, arg(metavar="MODEL", help="A bundled name, a run folder or an exported folder.")]]
Device = Annotated[str, arg(metavar="DEVICE", help="auto, cpu, cuda or mps.")]
Threads = Annotated[int | None, arg(metavar="N", help_behavior_hint="", help="CPU threads (default: one for each core).")]
Clamp = Annotated[bool, arg(help="Limit the estimate of x0 to the range of the training latents; --no-clamp is the bare update.")]
Count = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Text = Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")]
File = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
Picture = Annotated[Path, arg(metavar="FILE")]
Folder = Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="")]
FeatureFolder = Annotated[str, arg(metavar="NAME", help="Feature networks: a bundled name, or a folder that `nanoldm features` wrote.")]
