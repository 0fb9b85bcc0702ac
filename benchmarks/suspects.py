"""The suspects of the specification, trained for equal time: which check of the doctor fails?

    python benchmarks/suspects.py [MINUTES] [FOLDER]

reference, 64 latent channels, additive time embedding and latents without normalisation get MINUTES
(10) of denoiser training each, after 10 epochs of the autoencoder; their speeds are measured before
any training. "no EMA" is the last weights of the reference run (averaging does not change the
training). Models in FOLDER (suspects) are not trained again.
"""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import torch

from nanoldm.data import load
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.latents import normalised_latents, raw_tokens
from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.stages import autoencoder_stage, denoiser_stage, give_latents
from nanoldm.models import ConvAE
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.files import write_json

SUSPECTS = {"reference": "mnist", "64-channels": "mnist-64", "additive": "mnist-additive",
            "no-normalisation": "mnist"}


def count_steps(images: torch.Tensor, minutes: float) -> dict[str, int]:
    """How many steps each suspect takes in `minutes`."""
    steps = {}
    for name, recipe_name in SUSPECTS.items():
        recipe = RECIPES[recipe_name]()
        autoencoder = autoencoder_stage(recipe, images).loss_module.autoencoder
        latents = torch.randn(10_000, autoencoder.tokens, autoencoder.latent_channels)
        stage = denoiser_stage(recipe, autoencoder, 0)
        give_latents(stage, recipe, latents, torch.full((len(latents),), -1))
        steps[name] = int(60 * minutes / stage.seconds_per_step(15))
    return steps


def train_autoencoder(recipe: Recipe, images: torch.Tensor) -> ConvAE:
    stage = autoencoder_stage(recipe, images)
    for _ in stage.run(stage.length(len(images))):
        pass
    return stage.loss_module.autoencoder.eval()


def train(name: str, autoencoder: ConvAE, images: torch.Tensor, steps: int, folder: Path) -> None:
    recipe = RECIPES[SUSPECTS[name]]()
    encode = raw_tokens if name == "no-normalisation" else normalised_latents
    latents = encode(autoencoder, images)
    stage = denoiser_stage(recipe, autoencoder, 0)
    give_latents(stage, recipe, latents, torch.full((len(latents),), -1))
    for step in stage.run(steps):
        if step.number % 100 == 0:
            print(f"{name}: step {step.number} of {steps}, loss {step.loss:.4f}", flush=True)
    limit, finished = latents.abs().max().item(), {name: stage.averaged}
    if name == "reference":
        finished["no-EMA"] = stage.loss_module
    for variant, loss_module in finished.items():
        write_json(folder / variant / "recipe.json", recipe.model_dump())
        model = LatentDiffusion(autoencoder, loss_module.denoiser, limit)
        model.save_pretrained(folder / variant)


def main(minutes: float = 10, folder: Path = Path("suspects")) -> None:
    prepare_torch()
    images, counted = load("mnist")[0].images, folder / "steps.json"
    if not counted.exists():
        write_json(counted, count_steps(images, minutes))
    steps = json.loads(counted.read_text())
    print(steps, flush=True)
    autoencoders: dict[int, ConvAE] = {}
    for name, recipe_name in SUSPECTS.items():
        if (folder / name / "model_index.json").exists():
            continue
        recipe = RECIPES[recipe_name]()
        key = recipe.autoencoder.latent_channels
        if key not in autoencoders:
            autoencoders[key] = train_autoencoder(recipe, images)
        # A copy: normalisation belongs to one suspect.
        train(name, deepcopy(autoencoders[key]), images, steps[name], folder)
    for name in ("reference", "no-EMA", *list(SUSPECTS)[1:]):
        print(f"\n{name}:", flush=True)
        command = [sys.executable, "-m", "nanoldm", "doctor", folder / name]
        subprocess.run([*command, "--out", folder / "doctor" / name], check=False)


if __name__ == "__main__":
    minutes, folder = (*sys.argv[1:], *("10", "suspects")[len(sys.argv) - 1 :])
    main(float(minutes), Path(folder))
