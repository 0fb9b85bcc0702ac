"""Commands that measure: evaluate, compare, doctor, curves, features."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from nanoldm.cli.options import (
    Count,
    File,
    Flag,
    Folder,
    Machine,
    ModelMachine,
    ModelName,
    Picture,
    SamplingOptions,
    Shared,
    command,
    parse_names,
)
from nanoldm.pipeline.folders import DEFAULT_MODEL
from nanoldm.utils.errors import InputError
from nanoldm.utils.ranges import parse_numbers

if TYPE_CHECKING:
    from nanoldm.evaluation.reference import Reference

IMAGES = 10_000


@command
class ReferenceOptions(ModelMachine):
    """The real images and the feature networks to measure with."""

    # Feature networks: a bundled name, or a folder that `nanoldm features` wrote.
    features: Annotated[str, arg(metavar="NAME")] = "digits-v1"
    # Accept feature networks with a low accuracy.
    weak_features: Flag = False
    # Measure with these images instead of those of the model's training: mnist, ..., or
    # folder:PATH, also if that folder has moved or changed.
    data: Annotated[str | None, arg(metavar="DATA", help_behavior_hint="")] = None

    def reference(self) -> "Reference":
        from nanoldm.evaluation.reference import Reference

        return Reference(self.features, self.weak_features, self.data)


@command
class Evaluate(SamplingOptions, Shared, ReferenceOptions):
    """Measure the quality of samples: distances to real images with floors and intervals.

    Writes a table, JSON and HTML. It prints the expected time first. Samples and features of real
    images are kept: a second call takes a minute. Samples of a model with classes have a random
    label each, and the report also measures whether the images show their labels.

    Example: nanoldm evaluate mnist-fast --n 10000
    """

    # A bundled name, a run folder or an exported folder (default: mnist-fast-conditional, unless
    # --samples).
    model: Positional[Annotated[str | None, arg(metavar="[MODEL]", help_behavior_hint="")]] = None
    # Measure these images instead: an .npz file with `images`, uint8 (N, S, S) or (N, S, S, 3), and
    # optionally `labels`.
    samples: File = None
    # How many images to generate (default: 10,000). Compare results of equal N only.
    n: Count = None
    # Seed of the first image; the next images count up.
    seed: int = 0
    # Folder for report.json, report.html, pictures and samples (default: evaluation/NAME).
    out: Folder = None
    # Compile the denoiser first (torch.compile, needs a C++ compiler): useful for thousands of
    # images.
    compile: Literal["on", "off"] = "off"
    # Also store the main metrics in the model's folder: info, the model card and page show them.
    save: Flag = False

    def run(self) -> None:
        from nanoldm.evaluation.evaluate import evaluate
        from nanoldm.evaluation.summary import check_saving, save_summary
        from nanoldm.utils.distributed import is_main

        changed = self.changes() != SamplingOptions().changes() or self.precision != "fp32"
        wrong = (changed or self.n is not None or self.compile == "on" or self.save
                 or self.rng != "torch")
        if self.samples and wrong:
            raise InputError("samples are generated already: leave out --n, --compile, --precision,"
                             " --rng, --save and sampling options")
        name = self.model or (None if self.samples else DEFAULT_MODEL)
        self.prepare()
        model = None if name is None else self.load(name)
        if self.save:
            check_saving(model)
        if self.compile == "on":
            model.compile()
        settings = None if self.samples else model.settings.changed(**self.changes())
        report = evaluate(model, self.reference(), samples=self.samples,
                          n=IMAGES if self.n is None else self.n, seed=self.seed,
                          settings=settings, out=self.out)
        if self.save and is_main():
            print(f"wrote {save_summary(model, report)}")


@command
class Compare(Shared, ReferenceOptions):
    """Find the sampling settings with the fewest network evaluations (NFE) for a model.

    Measures the Frechet distance against NFE, as a table and a picture. All settings use the same
    seeds. Samples are kept: a second call, or one after Ctrl-C, generates only what is missing. The
    choice is the smallest NFE, at most 16, whose distance is not above that of the full-length
    default sampler by more than its interval (the nearest of several); if there is none, the
    nearest of at most 16.

    Example: nanoldm compare runs/mnist-fast --save
    """

    model: ModelName = DEFAULT_MODEL
    # How many images of each setting. Compare results of equal N only.
    n: int = 1000
    # Seed of the first image; the next images count up.
    seed: int = 0
    # Numbers of network evaluations. Each sampler gets as many steps as fit.
    nfe: Annotated[str, arg(metavar="N,N,...")] = "4,8,16,32"
    # Of ddpm, ddpm-posterior, ddpm-repaint, ddim, heun, dpm++2m, ab2, ab3 and ab4.
    samplers: Annotated[str, arg(metavar="NAMES")] = "dpm++2m,ab2,ab3"
    # Of trailing, log-snr and shifted.
    spacings: Annotated[str, arg(metavar="NAMES")] = "shifted,log-snr"
    # Store the choice in the model's folder (sampling.json) as the model's own settings.
    save: Flag = False
    # Folder for compare.json, compare.png and the samples (default: compare/NAME).
    out: Folder = None

    def run(self) -> None:
        from nanoldm.evaluation.candidates import Candidates
        from nanoldm.evaluation.compare import compare

        nfe = parse_numbers("nfe", self.nfe, "4,8,16,32")
        candidates = Candidates(nfe, parse_names(self.samplers), parse_names(self.spacings))
        model, reference = self.load(self.model), self.reference()
        options = dict(n=self.n, seed=self.seed, save=self.save, out=self.out)
        compare(model, reference, candidates, **options)


@command
class Doctor(ReferenceOptions):
    """Find the part of a model that fails: autoencoder, statistics, denoising or sampling.

    Exit code 1 if a check fails.

    Example: nanoldm doctor runs/mnist-fast
    """

    model: ModelName = DEFAULT_MODEL
    # Folder for the picture of all checks and doctor.json (default: doctor/NAME).
    out: Folder = None

    def run(self) -> None:
        from nanoldm.evaluation.doctor import examine

        if not examine(self.load(self.model), self.reference(), self.out):
            raise SystemExit(1)


@command
class Curves:
    """Plot the learning curves of one or several runs.

    Losses, denoising error, AdaLN gates, learning rate and gradient norm.

    Example: nanoldm curves runs/mnist runs/mnist-fast --out curves.png --gif samples.gif
    """

    # Run folders (also while they train), exported folders or bundled names.
    runs: Positional[Annotated[tuple[str, ...], arg(metavar="RUN ...")]]
    # The curves, as a picture.
    out: Picture = Path("curves.png")
    # Also write the sample grids over time as a GIF.
    gif: File = None

    def run(self) -> None:
        from nanoldm.evaluation.curves import draw_curves

        draw_curves(self.runs, self.out, self.gif)


@command
class Features(Machine):
    """Train the feature networks of `evaluate` and `doctor` for other images than MNIST.

    A classifier, if the images have labels, and a network that needs no labels.

    Example: nanoldm features fashion-mnist --out features/fashion-mnist
    """

    # mnist, fashion-mnist, ..., or folder:PATH with your own images (class subfolders give labels).
    data: Positional[Annotated[str, arg(metavar="DATA")]]
    # Side of the images in pixels, as in the model.
    size: Count = None
    # Passes over the training images (default: 10; for few images as many as make 500 steps).
    epochs: Count = None
    # Seed of initial weights, order and augmentation.
    seed: int = 0
    # The new folder (default: features/DATA).
    out: Folder = None

    def run(self) -> None:
        from nanoldm.data.source import Data, absolute
        from nanoldm.evaluation.feature_training import train_features

        data = Data(name=absolute(self.data), size=self.size)
        out = self.out or Path("features") / Path(data.name.removeprefix("folder:")).name
        options = dict(epochs=self.epochs, seed=self.seed, device=self.prepare())
        train_features(data, out, **options)
