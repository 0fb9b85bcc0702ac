"""A small model and feature networks for 8x8 digits, made without the command line."""

import json
from pathlib import Path

import pytest
import torch

from nanoldm.data.source import Data
from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.evaluation.feature_training import train_features
from nanoldm.evaluation.reference import Reference
from nanoldm.models import ConvAE, DiffusionNet
from nanoldm.pipeline.folders import METRICS_FILE, RECIPE
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.files import write_json
from nanoldm.utils.seeding import seeded


@pytest.fixture(scope="session")
def tiny_features(digits, tmp_path_factory) -> Path:
    """Shared by all tests: do not change them."""
    folder = tmp_path_factory.mktemp("networks") / "tiny-features"
    train_features(Data(name=f"folder:{digits.resolve()}", size=8), folder, epochs=60)
    return folder


@pytest.fixture(scope="session")
def tiny_reference(tiny_features) -> Reference:
    return Reference(tiny_features)


@pytest.fixture(scope="session")
def small_model(digits, tmp_path_factory) -> Path:
    """An exported model of 8x8 pixels with a history, untrained. Shared: do not change it."""
    folder = tmp_path_factory.mktemp("models") / "small"
    with seeded(0), torch.no_grad():
        autoencoder = ConvAE(image_size=8)
        network = DiffusionNet(tokens=autoencoder.tokens, width=32, depth=1, heads=2, hidden=64)
        for parameter in network.parameters():
            if not parameter.any():  # what AdaLN-Zero initialised to zero
                parameter.normal_(std=0.1)
        for parameter in autoencoder.decoder.parameters():
            parameter.mul_(3)
    denoiser = Denoiser(network, NoiseSchedule("cosine", 100))
    LatentDiffusion(autoencoder, denoiser, 3.0).save_pretrained(folder)
    write_json(folder / RECIPE, {"data": {"name": f"folder:{digits.resolve()}", "size": 8}})
    record = {"stage": "denoiser", "step": 1, "seconds": 1.0, "loss": 1.0}
    (folder / METRICS_FILE).write_text(json.dumps(record | {"denoising_error": [1.0] * 12}) + "\n")
    return folder
