"""Commands that measure: quality, faults, learning curves, speed."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from nanoldm.cli.options import AS_USUAL, Count, Device, Drawn, FeatureFolder, File, Folder, Model, OtherData, Picture, Threads, Weak
from nanoldm.pipeline.folders import DEFAULT_MODEL
from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import LARGEST_SIZE, short
from nanoldm.utils.options import parse_names
from nanoldm.utils.ranges import parse_numbers


def evaluate(model: Positional[Annotated[str | None, arg(metavar="[MODEL]", help_behavior_hint="", help="A bundled name, a run folder or "
                                   "an exported folder (default: mnist-fast, unless --samples is given).")]] = None, *,
             samples: File = None, n: Count = None, seed: int = 0, sampling: Drawn = AS_USUAL, features: FeatureFolder = "digits-v1",
             weak_features: Weak = False, data: OtherData = None, out: Folder = None, compile: bool = False,
             device: Device = "auto", threads: Threads = None) -> None:
    """Measure how good samples are: distances to real images beside their floors, with intervals, as a table, JSON and HTML.

    Says first what it will cost. Samples and the features of real images are kept: a second call takes a minute. A model that knows
    labels draws one from each seed, and is also judged by whether the images show them.

    Example: nanoldm evaluate mnist-fast --n 10000

    Args:
        samples: Judge these images instead: an .npz file with `images`, uint8 (N, S, S) or (N, S, S, 3), perhaps `labels`.
        n: How many images to draw (default: 10,000). Figures of different N must not be compared.
        seed: Of the first image; the next ones count up.
        out: Folder for report.json, report.html, pictures and samples (default: evaluation/NAME).
        compile: Compile the denoiser first (torch.compile; needs a C++ compiler): pays from some thousand images on.
    """
    from nanoldm.evaluation.evaluate import evaluate as run
    from nanoldm.evaluation.features import load_features
    from nanoldm.utils.device import prepare_torch
    if samples and (sampling != AS_USUAL or n is not None or compile):
        raise InputError("--samples are drawn already: leave out --n, --compile and the options that say how to draw")
    drawn = None if samples else sampling.drawing(model or DEFAULT_MODEL)
    run(model, samples=samples, n=10_000 if n is None else n, seed=seed, sampling=drawn,
        features=load_features(features, weak_features), data=data, out=out, compiled=compile, device=prepare_torch(device, threads))


def compare(model: Model = DEFAULT_MODEL, *, n: int = 1000, seed: int = 0, passes: Annotated[str, arg(metavar="N,N,...")] = "4,8,16,32",
            samplers: Annotated[str, arg(metavar="NAMES")] = "dpm++2m,ab2,ab3", grids: Annotated[str, arg(metavar="NAMES")] =
            "shifted,log-snr", features: FeatureFolder = "digits-v1", weak_features: Weak = False, data: OtherData = None,
            save: bool = False, out: Folder = None, device: Device = "auto", threads: Threads = None) -> None:
    """Find the sampler that needs the fewest steps: distance to real images against network passes, as a table and a picture.

    All settings draw the same seeds. Says first what it will cost; samples are kept, so that a second call, or one after Ctrl-C, draws
    only what is missing. The choice is the setting of the fewest network passes, 16 at most, whose Frechet distance is not above that of
    the full-length default sampler by more than its interval (of several, the nearest); if none is so good, the nearest of at most 16.

    Example: nanoldm compare runs/mnist-fast --save

    Args:
        n: How many images of each setting. Figures of different N must not be compared.
        seed: Of the first image; the next ones count up.
        passes: Numbers of network passes. Each sampler gets as many steps as fit: n steps of heun take 2 n - 1, and steps that fall on
            one timestep (on log-snr, shifted) count once.
        samplers: Of ddpm, ddpm-posterior, ddim, heun, dpm++2m, ab2, ab3 and ab4.
        grids: Of trailing, log-snr and shifted.
        save: Store the choice in the model's folder (sampling.json), where sample, denoise and evaluate find it by --fast.
        out: Folder for compare.json, compare.png and the samples (default: compare/NAME).
    """
    numbers = parse_numbers("--passes", passes, "4,8,16,32")
    from nanoldm.evaluation.compare import compare as run
    from nanoldm.evaluation.features import load_features
    from nanoldm.utils.device import prepare_torch
    run(model, n=n, seed=seed, passes=numbers, samplers=parse_names(samplers), grids=parse_names(grids),
        features=load_features(features, weak_features), data=data, save=save, out=out, device=prepare_torch(device, threads))


def doctor(model: Model = DEFAULT_MODEL, *, features: FeatureFolder = "digits-v1", weak_features: Weak = False, data: OtherData = None,
           out: Folder = None, device: Device = "auto", threads: Threads = None) -> None:
    """Find where a model breaks: autoencoder, latent statistics, denoising from ever noisier images, sampling. Exit code 1 if it does.

    Example: nanoldm doctor runs/mnist-fast

    Args:
        out: Folder for the picture of all rungs and doctor.json (default: doctor/NAME).
    """
    from nanoldm.evaluation.doctor import examine
    from nanoldm.evaluation.features import load_features
    from nanoldm.utils.device import prepare_torch
    if not examine(model, features=load_features(features, weak_features), data=data, out=out, device=prepare_torch(device, threads)):
        raise SystemExit(1)


def curves(runs: Positional[Annotated[tuple[str, ...], arg(metavar="RUN ...")]], *, out: Picture = Path("curves.png"),
           gif: File = None) -> None:
    """Draw the learning curves of one or several runs: losses, proxy, AdaLN gates, learning rate, gradient norm.

    Example: nanoldm curves runs/mnist runs/mnist-fast --out curves.png --gif samples.gif

    Args:
        runs: Run folders (also while they train), exported folders or bundled names.
        out: The curves, as a picture.
        gif: Also write the sample grids over time as a GIF.
    """
    from nanoldm.evaluation.curves import draw_curves
    draw_curves(runs, out, gif)


def features(data: Positional[Annotated[str, arg(metavar="DATA")]], *, size: Count = None, epochs: Count = None, seed: int = 0,
             out: Folder = None, device: Device = "auto", threads: Threads = None) -> None:
    """Train the networks that `evaluate` and `doctor` judge by, for other images than MNIST: a classifier, and one without labels.

    Example: nanoldm features fashion-mnist --out features/fashion-mnist

    Args:
        data: mnist, fashion-mnist, ..., or folder:PATH with your own images (class subfolders give labels).
        size: Side of the images in pixels, as the model has it.
        epochs: Passes over the training images (default: 10; of few images as many as make 500 steps).
        seed: Of initial weights, order and augmentation.
        out: The new folder (default: features/DATA).
    """
    from nanoldm.data.source import Data, absolute
    from nanoldm.evaluation.feature_training import train_features
    from nanoldm.utils.device import prepare_torch
    if size is not None and not 4 <= size <= LARGEST_SIZE:
        raise InputError(f"--size {short(size)}: give a side of at least 4 pixels and at most {LARGEST_SIZE}, such as 28")
    chosen = Data(name=absolute(data), size=size, holdout=0)
    out = out or Path("features") / Path(chosen.name.removeprefix("folder:")).name
    train_features(chosen, out, epochs=epochs, seed=seed, device=prepare_torch(device, threads))


def info(model: Model = DEFAULT_MODEL) -> None:
    """Print a model's recipe, parameters and training history.

    Example: nanoldm info mnist-fast
    """
    from nanoldm.experiments.model_card import describe
    print(describe(model))
