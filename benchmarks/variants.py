"""Variants of `mnist-fast-conditional`, most of which no option offers, in equally many steps.

    python benchmarks/variants.py FOLDER STEPS [--seeds 0 1] [--variants whitened x0]

Trained and measured as in screen.py, but for STEPS and in bf16. FOLDER keeps the autoencoder, which
all variants and seeds share. Appends a line to benchmarks/screen.jsonl for each training.
"""

from pathlib import Path

import screen
import torch
import tyro
from torch import Tensor

from nanoldm.data import load
from nanoldm.diffusion import objective
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import Judge
from nanoldm.experiments import stages
from nanoldm.experiments.recipes import mnist_fast_conditional
from nanoldm.models import ConvAE
from nanoldm.utils.device import prepare_torch

LEAST_SIGMA = 0.05  # the loss of v is that of x0 over sigma^2
VARIANTS = {
    "base": [],
    "whitened": [],
    "x0": ["diffusion.prediction=x0"],
    "dropout": ["network.dropout=0.1"],
    "deep": ["network.width=96", "network.hidden=384", "network.depth=7"],
    "wide": ["network.width=176", "network.hidden=704", "network.depth=2"],
}


class LossOfV(objective.DenoisingLoss):
    """The mean squared error of v for a network that predicts x0: (x0' - x0)^2 / sigma^2."""

    def forward(self, x0: Tensor, t: Tensor, eps: Tensor, label: Tensor | None = None) -> Tensor:
        alpha, sigma = (objective.expand(level, x0) for level in self.denoiser.schedule(t))
        output = self.denoiser.output(objective.corrupt(x0, eps, alpha, sigma), t, label)
        return ((output - x0) / sigma.clamp(min=LEAST_SIGMA)).square().mean()


def whiten(autoencoder: ConvAE, latents: Tensor) -> Tensor:
    """Let an autoencoder whiten its channels -> whitened latents: their covariance is the identity.

    latents: (N, tokens, channels), normalised.
    """
    values, vectors = torch.linalg.eigh(latents.flatten(0, 1).double().T.cov())
    matrix = (vectors / values.sqrt()).float()
    inverse = (vectors * values.sqrt()).T.float()
    normalise, decode = autoencoder.normalise, autoencoder.decode
    autoencoder.normalise = lambda tokens: normalise(tokens) @ matrix
    autoencoder.decode = lambda tokens: decode(tokens @ inverse)
    return latents @ matrix


def main(folder: tyro.conf.Positional[Path], steps: tyro.conf.Positional[int],
         seeds: tuple[int, ...] = (0, 1), variants: tuple[str, ...] = tuple(VARIANTS)) -> None:
    prepare_torch("cpu", threads=1)
    folder.mkdir(parents=True, exist_ok=True)
    judge = Judge(load_features("digits-v1"), *load("mnist", None, 5000))
    for seed in seeds:
        for name in variants:
            found, latents = screen.autoencoder(mnist_fast_conditional(), judge.train_set, folder)
            if name == "whitened":
                latents = whiten(found, latents)
            fields = [f"seed={seed}", f"training.steps={steps}", "precision=bf16"]
            recipe = screen.changed(mnist_fast_conditional(), fields + VARIANTS[name])
            stages.DenoisingLoss = LossOfV if name == "x0" else objective.DenoisingLoss
            result = screen.screen(recipe, judge, found, latents, None, f"{name} {seed}")
            screen.record(variant=name, seed=seed, **result)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
