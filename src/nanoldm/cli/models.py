"""Commands about trained models: info, export and page."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from nanoldm.cli.options import Flag, ModelName, Name, command
from nanoldm.pipeline.folders import DEFAULT_MODEL
from nanoldm.utils.text import shell


@command
class Info:
    """Print the recipe, parameters and training history of a model.

    Example: nanoldm info mnist-fast
    """

    model: ModelName = DEFAULT_MODEL

    def run(self) -> None:
        from nanoldm.experiments.model_card import describe

        print(describe(self.model))


@command
class Export:
    """Copy a model, its history and a model card to a new folder, to share it.

    Example: nanoldm export runs/mnist my-digits

    On the Hugging Face hub: nanoldm export runs/mnist my-digits --push USER/my-digits
    """

    # A run folder, an exported folder or a bundled name.
    source: Positional[Annotated[str, arg(metavar="RUN")]]
    # The new folder.
    folder: Positional[Annotated[Path, arg(metavar="FOLDER")]]
    # Also copy the folder to this model of the Hugging Face hub (USER/NAME); a new one is private.
    push: Name = None
    # Round the weights to float16: files of half the size, images that differ by less than 1/100.
    half: Flag = False
    # Also write network.onnx, encoder.onnx and decoder.onnx to the folder, for other runtimes.
    onnx: Flag = False

    def run(self) -> None:
        from nanoldm.experiments.export import export

        if self.onnx:
            from nanoldm.pipeline.for_onnx import check_packages, write_onnx
            from nanoldm.pipeline.latent_diffusion import LatentDiffusion

            check_packages()
        new = export(self.source, self.folder, self.half)
        done = f"wrote {self.folder}" if new else f"{self.folder} has this model already"
        print(f"{done}. Sample from it with: nanoldm sample {shell(self.folder)}")
        if self.onnx:
            files = write_onnx(LatentDiffusion.from_pretrained(self.folder), self.folder)
            print(f"wrote {', '.join(str(file) for file in files)}")
        if self.push:
            from nanoldm.pipeline.hub import upload

            print(f"copied to {upload(self.folder, self.push)}. Sample from it anywhere with: "
                  f"nanoldm sample {shell(self.push)}")


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
        model = LatentDiffusion.from_pretrained(self.model)
        write_page(model, self.out, facts(model))
        print(f"wrote {self.out}, {self.out.stat().st_size / 1e6:.1f} MB: open it in a browser: "
              f"{self.out.resolve().as_uri()}")
