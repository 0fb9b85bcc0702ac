"""A model with every oddity that a page must bear, and its page."""

import json
from pathlib import Path

import pytest
import torch

from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.models import ConvAE, DiffusionNet
from nanoldm.page import write_page
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.seeding import seeded

NAMES = ["<script>", "cat & dog", "7", "it's", '"', "été", "a" * 40, "--n", "x y", "猫", "$HOME",
         "none"]


@pytest.fixture(scope="session")
def colourful() -> LatentDiffusion:
    """An untrained RGB model of 12 classes with odd names, whose every layer does something."""
    with seeded(1), torch.no_grad():
        autoencoder = ConvAE(image_size=20, image_channels=3, latent_channels=5, levels=2)
        network = DiffusionNet(tokens=25, channels=5, width=24, depth=2, heads=3, hidden=40,
                               labels=12, position="rope+learned")
        for parameter in network.parameters():
            if not parameter.any():             # what AdaLN-Zero initialised to zero
                parameter.normal_(std=0.1)
        autoencoder.latent_mean.normal_(std=0.5)
        autoencoder.latent_std.uniform_(0.5, 2)
    names = dict(enumerate(NAMES))
    return LatentDiffusion(autoencoder, Denoiser(network, NoiseSchedule("cosine", 60), "v"), 3.0,
                           class_names=names, settings=Sampling("ab3", 6, "shifted")).halved()


@pytest.fixture(scope="session")
def page(colourful, tmp_path_factory) -> Path:
    """The page of the model above."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    colourful.name = "colour <b>"
    write_page(colourful, path, {"a <b>": "</script><script>alert(1)</script>"})
    return path


@pytest.fixture(scope="session")
def described(page) -> dict:
    """What the page knows of its model."""
    text = page.read_text(encoding="utf-8")
    return json.loads(text.split('id="page">')[1].split("</script>")[0])
