"""The specification's own suspects, trained for equal time, then examined by `nanoldm doctor`: which of them breaks the model, and where?

    python benchmarks/suspects.py [MINUTES] [FOLDER]

reference, 64 latent channels, additive time embedding and latents without normalisation get MINUTES (10) of denoiser training
each, after 10 epochs of the autoencoder; their speeds are measured before any training. "no EMA" is the last weights of the
reference run (averaging does not change the training). What is in FOLDER (suspects) already is not trained again.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch

from nanoldm.data import load
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.stages import (
    autoencoder_stage,
    denoiser_stage,
    encode,
    encode_and_normalise,
)
from nanoldm.models import ConvAE
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.files import write_json

MINUTES = float(sys.argv[1]) if len(sys.argv) > 1 else 10
FOLDER = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("suspects")
SUSPECTS = {"reference": "mnist", "64-channels": "mnist-64", "additive": "mnist-additive", "no-normalisation": "mnist"}
IMAGES = load("mnist")[0].images


def count_steps() -> dict[str, int]:
    """How many steps each suspect takes in MINUTES."""
    steps = {}
    for name, recipe in SUSPECTS.items():
        channels = RECIPES[recipe]().autoencoder.latent_channels
        stage = denoiser_stage(RECIPES[recipe](), torch.randn(10_000, 49, channels))
        steps[name] = int(60 * MINUTES / stage.seconds_per_step(15))
    return steps


def train_autoencoder(recipe: Recipe) -> ConvAE:
    stage = autoencoder_stage(recipe, IMAGES)
    for _ in stage.run():
        pass
    return stage.loss_module.autoencoder.eval()


def train(name: str, autoencoder: ConvAE, steps: int) -> None:
    recipe = RECIPES[SUSPECTS[name]]()
    latents = encode(autoencoder, IMAGES) if name == "no-normalisation" else encode_and_normalise(autoencoder, IMAGES)
    stage = denoiser_stage(recipe, latents)
    for step in stage.run(steps):
        if step.number % 100 == 0:
            print(f"{name}: step {step.number} of {steps}, loss {step.loss:.4f}", flush=True)
    limit = latents.abs().max().item()
    finished = {name: stage.averaged} | ({"no-EMA": stage.loss_module} if name == "reference" else {})
    for variant, loss_module in finished.items():
        write_json(FOLDER / variant / "recipe.json", recipe.model_dump())
        LatentDiffusion(autoencoder, loss_module.denoiser, limit).save_pretrained(FOLDER / variant)


prepare_torch()
if not (FOLDER / "steps.json").exists():
    write_json(FOLDER / "steps.json", count_steps())
steps = json.loads((FOLDER / "steps.json").read_text())
print(steps, flush=True)
autoencoders: dict[int, ConvAE] = {}
for name, recipe_name in SUSPECTS.items():
    if not (FOLDER / name / "model_index.json").exists():
        recipe = RECIPES[recipe_name]()
        key = recipe.autoencoder.latent_channels
        autoencoders[key] = autoencoders.get(key) or train_autoencoder(recipe)
        # a copy: normalising belongs to one suspect, and the next must find the autoencoder as it was trained
        copy = ConvAE(**autoencoders[key].config)
        copy.load_state_dict(autoencoders[key].state_dict())
        train(name, copy.eval(), steps[name])

for name in ("reference", "no-EMA", *list(SUSPECTS)[1:]):
    print(f"\n{name}:", flush=True)
    subprocess.run([sys.executable, "-m", "nanoldm", "doctor", str(FOLDER / name), "--out", str(FOLDER / "doctor" / name)], check=False)
