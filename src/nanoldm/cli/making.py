"""Commands that make something: a trained model, images, a folder to share."""

import time
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from nanoldm.cli.options import AS_USUAL, Count, Device, Drawn, Fields, File, Folder, Label, Model, Picture, Text, Threads
from nanoldm.pipeline.folders import DEFAULT_MODEL
from nanoldm.utils.options import DEFAULT_IMAGES, IMAGES_OF_EACH, parse_duration, parse_fields, parse_seeds
from nanoldm.utils.text import shell


def train(recipe: Positional[Annotated[str, arg(metavar="RECIPE")]], *, budget: Text = None, epochs: Count = None, steps: Count = None,
          ae_epochs: Count = None, data: Text = None, size: Count = None, holdout: Count = None, seed: Count = None,
          fields: Fields = (), out: Folder = None, dry_run: bool = False, compile: bool = False, device: Device = "auto",
          threads: Threads = None) -> None:
    """Train an autoencoder and a denoiser from the raw images; the same command resumes a stopped run.

    Example: nanoldm train mnist-fast

    In about ten minutes: nanoldm train mnist-fast --budget 10m

    Any number of a recipe: nanoldm train mnist --set training.learning_rate=1e-3 --set network.depth=6 --dry-run

    Args:
        recipe: A recipe by its name: `nanoldm recipes` lists them, with their fields, times and scores.
        budget: Wall time to aim at, such as 20m or 1h30m: decides the number of denoiser steps when the run starts,
            and gives the autoencoder a fifth of it at most.
        epochs: Epochs of the denoiser (the reference: 200).
        steps: Steps of the denoiser, instead of epochs.
        ae_epochs: Epochs of the autoencoder (the reference: 10).
        data: mnist, fashion-mnist, kmnist, qmnist, emnist-digits, cifar10, ... or folder:PATH with your own images.
        size: Side of the images in pixels, a multiple of 4; others are resized. mnist-fast: 16, 28, 32, 44, 48, 60, 64, ...: its latents
            must have an even side.
        holdout: Test on this many of the last training images (of a folder: from all over it) instead of the test set.
        seed: Of initial weights, order of the data and noise (recipes say 0).
        fields: Change any field of the recipe, as `nanoldm recipes RECIPE` names them; repeat it for others.
        out: Run folder (default: runs/RECIPE).
        dry_run: Print every field, parameters, steps, expected time and disk space, and write nothing.
        compile: Compile the denoiser first (torch.compile; needs a C++ compiler): half a minute at the start, then faster steps.
    """
    began = time.monotonic()
    from nanoldm.experiments.overrides import override
    resolved = override(recipe, parse_fields(fields), budget=None if budget is None else parse_duration(budget), epochs=epochs, steps=steps,
                        ae_epochs=ae_epochs, data=data, size=size, holdout=holdout, seed=seed)
    from nanoldm.experiments.forecast import forecast
    from nanoldm.experiments.train import train as run
    from nanoldm.utils.device import prepare_torch
    (forecast if dry_run else run)(resolved, out or Path("runs") / recipe, prepare_torch(device, threads), began, compile)


def sample(model: Model = DEFAULT_MODEL, *, n: Count = None, seed: Count = None, seeds: Text = None, label: Label = "",
           sampling: Drawn = AS_USUAL, out: Picture = Path("samples.png"), npz: File = None, trajectory: File = None,
           device: Device = "auto", threads: Threads = None) -> None:
    """Draw new images from a trained model.

    Example: nanoldm sample --n 64 --seed 0 --out samples.png

    Other samplers: nanoldm sample mnist-fast --steps 100, or --steps 16 --sampler dpm++2m --grid shifted

    Chosen digits: nanoldm sample mnist-fast-conditional --label 0-9 --guidance 2

    Args:
        n: How many images (default: 64; 8 of each where --label names several, which then have a row each).
        seed: Of the first image; the next ones count up (default: 0).
        seeds: Seeds by name instead of --n and --seed, such as 3,7,20-29.
        out: The grid, as a picture.
        npz: Also write the images as numbers: array `images`, uint8 (N, S, S) or (N, S, S, 3), and `labels` where the model
            knows them.
        trajectory: Also write a GIF of the way there: x_t beside the estimate of x0.
    """
    from nanoldm.pipeline.labels import labels_of
    labels = labels_of(model, label)
    several = labels is not None and len(labels) > 1
    numbers = parse_seeds(n, seed, seeds, IMAGES_OF_EACH * len(labels) if several else DEFAULT_IMAGES)
    from nanoldm.cli.use import draw
    from nanoldm.utils.device import prepare_torch
    draw(model, numbers, labels, sampling.drawing(model), out, npz, trajectory, prepare_torch(device, threads))


def denoise(model: Model = DEFAULT_MODEL, *, t: int = 75, n: int = 16, seed: int = 0, sampling: Drawn = AS_USUAL,
            out: Picture = Path("denoise.png"), device: Device = "auto", threads: Threads = None) -> None:
    """Noise real test images to timestep t, run the reverse process, and show both beside the originals.

    A model that gets this right and still fails from pure noise has learnt to denoise, not to find the data. A model that knows labels
    is told those of the images.

    Example: nanoldm denoise mnist-fast --t 75

    Args:
        t: Timestep to noise to; 0 is the least noisy.
        n: How many test images.
        seed: Of the first image's noise; the next ones count up.
        out: The comparison, as a picture.
    """
    numbers = parse_seeds(n, seed, None)
    from nanoldm.cli.use import denoise_test_images
    from nanoldm.utils.device import prepare_torch
    denoise_test_images(model, t, numbers, sampling.drawing(model, t), out, prepare_torch(device, threads))


def export(run: Positional[Annotated[str, arg(metavar="RUN")]], folder: Positional[Annotated[Path, arg(metavar="FOLDER")]]) -> None:
    """Copy a run's model, its history and a model card into a new folder that any nanoldm can load.

    Example: nanoldm export runs/mnist my-digits

    Args:
        run: A run folder; also an exported folder or a bundled name.
        folder: The new folder.
    """
    from nanoldm.experiments.model_card import export as write
    done = f"wrote {folder}" if write(run, folder) else f"{folder} holds this model already: nothing to do"
    print(f"{done}. Draw from it with: nanoldm sample {shell(folder)}")
