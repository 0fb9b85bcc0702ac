"""The command that writes a web page with a model inside."""

import inspect
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from nanoldm.cli.options import ModelName, command
from nanoldm.cli.recipes import notes

PAGE_MODEL = "mnist-page"


@command
class Page:
    """Write a web page that runs a model by itself: draw, noise, denoise, look inside.

    It needs no network, no server and no installation: open it, or send it to somebody.

    Example: nanoldm page --out digits.html

    Your own model: nanoldm page runs/ten --out ten.html
    """

    model: ModelName = PAGE_MODEL
    # The page.
    out: Annotated[Path, arg(metavar="FILE")] = Path("page.html")

    def run(self) -> None:
        from nanoldm.experiments.model_card import facts
        from nanoldm.experiments.recipes import RECIPES
        from nanoldm.page import write_page
        from nanoldm.pipeline.folders import RECIPE, bundled_models, find_model
        from nanoldm.pipeline.latent_diffusion import LatentDiffusion
        from nanoldm.utils.files import read_json
        from nanoldm.utils.paths import check_target
        from nanoldm.utils.text import shell

        check_target(self.out, ".html")
        folder, shown = find_model(self.model), facts(self.model)
        if self.model in bundled_models():
            recipe = RECIPES[read_json(folder / RECIPE)["recipe"]]
            shown["Frechet distance to the test set"] = notes(inspect.getdoc(recipe))["Score"]
        name = self.model if self.model in bundled_models() else Path(self.model).name
        write_page(LatentDiffusion.from_pretrained(folder), self.out, name, shown)
        print(f"wrote {self.out}, {self.out.stat().st_size / 1e6:.1f} MB: open it in a browser, "
              f"for example with: python -m webbrowser {shell(self.out)}")
