"""The commands of nanoldm: each checks its options and calls one function. Signatures and docstrings are what `--help` shows."""

import time
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from nanoldm.options import parse_duration, parse_seeds

# Options that several commands share. An empty help_behavior_hint spares the reader "(default: None)".
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


def train(recipe: Positional[Annotated[str, arg(metavar="RECIPE")]], *, budget: Text = None, epochs: Count = None, steps: Count = None,
          ae_epochs: Count = None, data: Text = None, size: Count = None, holdout: Count = None, seed: Count = None,
          out: File = None, device: Device = "auto", threads: Threads = None) -> None:
    """Train an autoencoder and a denoiser from the raw images; the same command resumes a stopped run.

    Example: nanoldm train mnist --budget 20m

    Args:
        recipe: mnist (the reference), mnist-64 (64 latent channels) or mnist-additive (plain Transformer).
        budget: Wall time for the whole run, such as 20m or 1h30m: decides the number of denoiser steps.
        epochs: Epochs of the denoiser (recipes say 200).
        steps: Steps of the denoiser, instead of epochs.
        ae_epochs: Epochs of the autoencoder (recipes say 10).
        data: mnist, fashion-mnist, kmnist, qmnist, emnist-digits, cifar10, ... or folder:PATH with your own images.
        size: Side of the images in pixels, a multiple of 4; others are resized.
        holdout: Test on this many of the last training images instead of the test set.
        seed: Of initial weights, order of the data and noise (recipes say 0).
        out: Run folder (default: runs/RECIPE).
    """
    began = time.monotonic()
    from nanoldm.recipes import override
    resolved = override(recipe, budget=None if budget is None else parse_duration(budget), epochs=epochs, steps=steps,
                        ae_epochs=ae_epochs, data=data, size=size, holdout=holdout, seed=seed)
    from nanoldm.device import prepare_torch
    from nanoldm.train import train as run
    run(resolved, out or Path("runs") / recipe, prepare_torch(device, threads), began)


def sample(model: Model = "mnist", *, n: Count = None, seed: Count = None, seeds: Text = None, steps: Count = None,
           clamp: Clamp = True, out: Picture = Path("samples.png"), npz: File = None, trajectory: File = None,
           device: Device = "auto", threads: Threads = None) -> None:
    """Draw new images from a trained model.

    Example: nanoldm sample mnist --n 64 --seed 0 --out samples.png

    Args:
        n: How many images (default: 64).
        seed: Of the first image; the next ones count up (default: 0).
        seeds: Seeds by name instead of --n and --seed, such as 3,7,20-29.
        steps: Reverse steps, from 1 to the model's number of timesteps (default: all of them).
        out: The grid, as a picture.
        npz: Also write the images as numbers: array `images`, uint8 (N, S, S) or (N, S, S, 3).
        trajectory: Also write a GIF of the way there: x_t beside the estimate of x0.
    """
    numbers = parse_seeds(n, seed, seeds)
    from nanoldm.device import prepare_torch
    from nanoldm.use import draw
    draw(model, numbers, steps, clamp, out, npz, trajectory, prepare_torch(device, threads))


def denoise(model: Model = "mnist", *, t: int = 75, n: int = 16, seed: int = 0, steps: Count = None, clamp: Clamp = True,
            out: Picture = Path("denoise.png"), device: Device = "auto", threads: Threads = None) -> None:
    """Noise real test images to timestep t, run the reverse process, and show both beside the originals.

    A model that gets this right and still fails from pure noise has learnt to denoise, not to find the data.

    Example: nanoldm denoise mnist --t 75

    Args:
        t: Timestep to noise to; 0 is the least noisy.
        n: How many test images.
        seed: Of the first image's noise; the next ones count up.
        steps: Reverse steps, from 1 to t + 1 (default: all of them).
        out: The comparison, as a picture.
    """
    numbers = parse_seeds(n, seed, None)
    from nanoldm.device import prepare_torch
    from nanoldm.use import denoise_test_images
    denoise_test_images(model, t, numbers, steps, clamp, out, prepare_torch(device, threads))


def evaluate(model: Positional[Annotated[str | None, arg(metavar="[MODEL]", help_behavior_hint="", help="A bundled name, a run folder or "
                                   "an exported folder (default: mnist, unless --samples is given).")]] = None, *,
             samples: File = None, n: int = 10_000, seed: int = 0, steps: Count = None, clamp: Clamp = True,
             features: FeatureFolder = "digits-v1", out: Folder = None, device: Device = "auto", threads: Threads = None) -> None:
    """Measure how good samples are: distances to real images beside their floors, with intervals, as a table, JSON and HTML.

    Says first what it will cost. Samples and the features of real images are kept: a second call takes a minute.

    Example: nanoldm evaluate mnist --n 10000

    Args:
        samples: Judge these images instead: an .npz file with `images`, uint8 (N, S, S) or (N, S, S, 3), perhaps `labels`.
        n: How many images to draw. Figures of different N must not be compared.
        seed: Of the first image; the next ones count up.
        steps: Reverse steps, from 1 to the model's number of timesteps (default: all of them).
        out: Folder for report.json, report.html, pictures and samples (default: evaluation/NAME).
    """
    from nanoldm.device import prepare_torch
    from nanoldm.evaluate import evaluate as run
    run(model, samples=samples, n=n, seed=seed, steps=steps, clamp=clamp, features=features, out=out, device=prepare_torch(device, threads))


def doctor(model: Model = "mnist", *, features: FeatureFolder = "digits-v1", out: Folder = None, device: Device = "auto",
           threads: Threads = None) -> None:
    """Find where a model breaks: autoencoder, latent statistics, denoising from ever noisier images, sampling. Exit code 1 if it does.

    Example: nanoldm doctor runs/mnist

    Args:
        out: Folder for the picture of all rungs and doctor.json (default: doctor/NAME).
    """
    from nanoldm.device import prepare_torch
    from nanoldm.doctor import examine
    if not examine(model, features=features, out=out, device=prepare_torch(device, threads)):
        raise SystemExit(1)


def curves(runs: Positional[Annotated[tuple[str, ...], arg(metavar="RUN ...")]], *, out: Picture = Path("curves.png"),
           gif: File = None) -> None:
    """Draw the learning curves of one or several runs: losses, proxy, AdaLN gates, learning rate, gradient norm.

    Example: nanoldm curves runs/mnist runs/mnist-64 --out curves.png --gif samples.gif

    Args:
        runs: Run folders (also while they train), exported folders or bundled names.
        out: The curves, as a picture.
        gif: Also write the sample grids over time as a GIF.
    """
    from nanoldm.curves import draw_curves
    draw_curves(runs, out, gif)


def features(data: Positional[Annotated[str, arg(metavar="DATA")]], *, size: Count = None, epochs: int = 10, seed: int = 0,
             out: Folder = None, device: Device = "auto", threads: Threads = None) -> None:
    """Train the networks that `evaluate` and `doctor` judge by, for other images than MNIST: a classifier, and one without labels.

    Example: nanoldm features fashion-mnist --out features/fashion-mnist

    Args:
        data: mnist, fashion-mnist, ..., or folder:PATH with your own images (class subfolders give labels).
        size: Side of the images in pixels, as the model has it.
        epochs: Passes over the training images.
        seed: Of initial weights, order and augmentation.
        out: The new folder (default: features/DATA).
    """
    from nanoldm.device import prepare_torch
    from nanoldm.features import train_features
    from nanoldm.recipes import Data, absolute
    chosen = Data(name=absolute(data), size=size, holdout=0)
    train_features(chosen, out or Path("features") / Path(data).name, epochs=epochs, seed=seed, device=prepare_torch(device, threads))


def info(model: Model = "mnist") -> None:
    """Print a model's recipe, parameters and training history.

    Example: nanoldm info mnist
    """
    from nanoldm.card import describe
    print(describe(model))


def export(run: Positional[Annotated[str, arg(metavar="RUN")]], folder: Positional[Annotated[Path, arg(metavar="FOLDER")]]) -> None:
    """Copy a run's model, its history and a model card into a new folder that any nanoldm can load.

    Example: nanoldm export runs/mnist my-digits

    Args:
        run: A run folder.
        folder: The new folder.
    """
    from nanoldm.card import export as write
    write(run, folder)
    print(f"wrote {folder}: draw from it with: nanoldm sample {folder}")


COMMANDS = {"train": train, "sample": sample, "denoise": denoise, "evaluate": evaluate, "doctor": doctor, "curves": curves,
            "features": features, "info": info, "export": export}
