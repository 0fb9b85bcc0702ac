"""Recipes: one function per experiment. No torch here.

`nanoldm recipes` lists them, `nanoldm train NAME` runs one. Docstrings are what `nanoldm recipes` prints: a summary, then Command, Time (of
that command) and Score (Frechet distance to the test set, 10,000 samples).
"""

from collections.abc import Callable

from nanoldm.data.source import Data
from nanoldm.experiments.config import Autoencoder, Diffusion, Network, Recipe, Training
from nanoldm.utils.errors import InputError


def mnist() -> Recipe:
    """The reference, as specified but for what README lists under "Where it differs": 4 AdaLN-Zero blocks, 49 tokens of 6 numbers, epsilon.

    Command: nanoldm train mnist
    Time: 4 to 8 h on two cores (200 epochs, 46,800 steps of 0.30 s on a Zen 5, of at most 0.61 s on a Xeon; not run in full)
    Score: 12.1 with --epochs 40 (bundled; 100 network passes); in 16 passes 16.8 with --budget 30m (Zen 5), 49.9 with --budget 20m (Xeon)
    """
    return Recipe(
        recipe="mnist",
        seed=0,
        budget=None,
        data=Data(name="mnist", size=None, holdout=0),
        autoencoder=Autoencoder(hidden_channels=32, latent_channels=6),
        autoencoder_training=Training(optimizer="Adam", learning_rate=1e-3, annealing="constant", batch_size=128,
                                      epochs=10, steps=None, gradient_clip=None, ema_decay=None),
        network=Network(kind="DiffusionNet", width=128, depth=4, heads=4, hidden=512, dropout=0.0),
        diffusion=Diffusion(schedule="cosine", timesteps=100, prediction="epsilon"),
        training=Training(optimizer="AdamW", learning_rate=5e-4, annealing="cosine", batch_size=256,
                          epochs=200, steps=None, gradient_clip=1.0, ema_decay=0.999),
    )


def mnist_64() -> Recipe:
    """`mnist` with 64 latent channels: 3,136 numbers for 784 pixels, the expansion that the specification warns about.

    Command: nanoldm train mnist-64
    Time: about as long as mnist
    Score: 106.6 with --budget 20m of a Xeon (mnist: 49.9), in 16 network passes
    """
    return mnist().replace(recipe="mnist-64", autoencoder={"latent_channels": 64})


def mnist_additive() -> Recipe:
    """`mnist` with the plain Transformer: the time embedding is added to the tokens once instead of steering every block.

    Command: nanoldm train mnist-additive
    Time: about as long as mnist
    Score: 64.5 with --budget 20m of a Xeon (mnist: 49.9), in 16 network passes
    """
    return mnist().replace(recipe="mnist-additive", network={"kind": "Transformer"})


def mnist_v() -> Recipe:
    """`mnist` with a network that predicts v = alpha eps - sigma x0, which says something about the image at every noise level.

    Command: nanoldm train mnist-v
    Time: about as long as mnist
    Score: 23.6 with --budget 20m of a Xeon (mnist: 49.9), in 16 network passes
    """
    return mnist().replace(recipe="mnist-v", diffusion={"prediction": "v"})


def mnist_flow() -> Recipe:
    """`mnist` as rectified flow: straight paths from data to noise, eps - x0 predicted, timesteps mostly from the middle.

    Command: nanoldm train mnist-flow
    Time: about as long as mnist
    Score: 18.4 with --budget 20m of a Xeon (mnist: 49.9), in 16 network passes
    """
    return mnist().replace(recipe="mnist-flow", diffusion={"schedule": "rectified", "prediction": "flow",
                                                           "timestep_distribution": "logit-normal"})


def mnist_conditional() -> Recipe:
    """`mnist-v` that is told which digit to draw, and where in the image each token lies; 12 epochs of smaller batches at twice the rate.

    One label in ten is left out, so that the network also knows digits without label: guidance compares the two.

    Command: nanoldm train mnist-conditional
    Time: about 35 min on two cores (reckoned; the bundled model took 74 min on one)
    Score: 5.2 with --budget 20m of a Xeon, 80.2 % show their label; 3.3 after all 12 epochs (1,000 images), 90.4 %, with guidance 2 99.8 %
    """
    return mnist_v().replace(recipe="mnist-conditional", diffusion={"label_dropout": 0.1}, network={"position": "rope+learned"},
                             training={"batch_size": 128, "learning_rate": 1e-3, "epochs": 12})


def mnist_fast() -> Recipe:
    """Good digits in minutes instead of a night: fewer tokens, Muon, and training where shapes are decided.

    What differs from `mnist` (what each gained: benchmarks/RESULTS.md, "Reference quality in minutes"):

    - autoencoder.levels 3, latent_channels 8: 4x4 tokens of 8 numbers instead of 7x7 of 6. Tokens are the cost: three times as many
      steps in the same time. And of fewer numbers there is less to learn: 8 lead further than 16, though they keep less of an image.
    - autoencoder_training.learning_rate 4e-3, batch_size 32, epochs 5, annealing cosine: by many steps on small batches 8 numbers come
      to keep more than 16 did after 8 epochs at the reference's rate.
    - training.optimizer Muon, learning_rate 8e-3: orthogonal steps stand sixteen times the reference's rate.
    - diffusion.timestep_distribution logit-normal: most steps go to the middle of the way, where shapes are decided.
    - diffusion.cells 1024, label_dropout 0.1: the network is told in which of 1,024 cells of the latent space an image lies, equally full
      and found by halving. A smaller question for each image, as labels are, but nobody has to give any: each seed draws a cell.
    - diffusion.prediction v: says something about the image at every noise level, where epsilon says nothing at the noisiest ones.
    - network.position rope+learned: the network is told where in the image a token lies, which RoPE alone cannot say.
    - network.patch 2: the blocks see squares of 2x2 tokens as one, 4 in all, which takes less than half the time.
    - network.width 192 with 6 heads and hidden 768, depth 6: more to learn with, for as many steps in a minute as without patches.
    - training.epochs 60: about half an hour on two cores of a Zen 5, 50 minutes of a Xeon or Zen 4 (reckoned).
    - training.ema_power 6.94, and no ema_decay: an average over the last tenth of the run, whatever its length.
    - fast: its models are drawn in a few network passes unless told otherwise.

    Command: nanoldm train mnist-fast
    Time: about 30 min on two cores (Zen 5; a Xeon or Zen 4: 50), the autoencoder included
    Score: 0.55 with --budget 30m (bundled; two more seeds: 0.46, 0.75; 16 passes of dpm++2m; real images 0.21); 1.13 with --budget 10m
    """
    return mnist_v().replace(recipe="mnist-fast", fast=True, autoencoder={"latent_channels": 8, "levels": 3},
                             autoencoder_training={"learning_rate": 4e-3, "batch_size": 32, "epochs": 5, "annealing": "cosine"},
                             diffusion={"timestep_distribution": "logit-normal", "cells": 1024, "label_dropout": 0.1},
                             network={"position": "rope+learned", "patch": 2, "width": 192, "heads": 6, "hidden": 768, "depth": 6},
                             training={"optimizer": "Muon", "learning_rate": 8e-3, "epochs": 60, "ema_decay": None, "ema_power": 6.94})


def mnist_fast_conditional() -> Recipe:
    """`mnist-fast` that is told which digit to draw instead of a cell; one label in ten is left out, for guidance.

    Command: nanoldm train mnist-fast-conditional
    Time: about 30 min on two cores (Zen 5; a Xeon: 50)
    Score: 0.56 with --budget 20m of a Xeon (16 passes of dpm++2m; real images 0.21), 96.8 % show their label; 10m: 0.73, 40m: 0.50
    """
    return mnist_fast().replace(recipe="mnist-fast-conditional", diffusion={"cells": None})


def fashion() -> Recipe:
    """Clothes instead of digits: `mnist` on fashion-mnist with a wider autoencoder, since clothes have greys and textures.

    The images are not bundled: torchvision downloads 30 MB when they are first used, and the command says so where it cannot.
    Chosen by judgement where there was no network: it has not been trained, and no score is claimed.

    Command: nanoldm train fashion
    Time: about as long as mnist (as many images of the same size)
    Score: not measured yet
    """
    return mnist().replace(recipe="fashion", data={"name": "fashion-mnist"}, autoencoder={"hidden_channels": 64, "latent_channels": 8})


RECIPES: dict[str, Callable[[], Recipe]] = {make.__name__.replace("_", "-"): make for make in (
    mnist_fast, mnist_fast_conditional, mnist, mnist_v, mnist_flow, mnist_conditional, mnist_64, mnist_additive, fashion)}


def find_recipe(name: str) -> Callable[[], Recipe]:
    """The function behind a name. Raises InputError with the names that exist."""
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
