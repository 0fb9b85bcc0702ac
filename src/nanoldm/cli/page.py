"""The command that writes a web page with a model inside."""

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from nanoldm.cli.options import ModelName, command
from nanoldm.pipeline.folders import DEFAULT_MODEL


@command
class Page:
    """Write a web page that runs a model by itself: draw, noise, denoise, look inside.

    It needs no network, no server and no installation: open it, or send it to somebody.

    Example: nanoldm page --out digits.html

    Your own model: nanoldm page runs/ten --out ten.html
    """

    model: ModelName = DEFAULT_MODEL
    # The page.
    out: Annotated[Path, arg(metavar="FILE")] = Path("page.html")

    def run(self) -> None:
        from nanoldm.experiments.model_card import facts
        from nanoldm.page import write_page
        from nanoldm.pipeline.latent_diffusion import LatentDiffusion
        from nanoldm.utils.paths import check_target

        check_target(self.out, ".html")
        write_page(LatentDiffusion.from_pretrained(self.model), self.out, facts(self.model))
        print(f"wrote {self.out}, {self.out.stat().st_size / 1e6:.1f} MB: open it in a browser: "
              f"{self.out.resolve().as_uri()}")
