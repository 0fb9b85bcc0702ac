"""Fixtures that several test files share."""

import pytest
import torch

from nanoldm.diffusion import NoiseSchedule
from nanoldm.models import ConvAE, DiffusionNet
from nanoldm.pipeline import LatentDiffusion
from nanoldm.seeding import seeded


@pytest.fixture(scope="session")
def tiny_pipeline() -> LatentDiffusion:
    """An untrained model whose every layer does something: its pictures are noise, but strong noise that differs from seed to seed.

    Shared by all tests: do not change it.
    """
    with seeded(0), torch.no_grad():
        autoencoder, network = ConvAE(), DiffusionNet(width=32, depth=1, heads=2, hidden=64)
        for parameter in network.parameters():
            if not parameter.any():             # what AdaLN-Zero initialised to zero
                parameter.normal_(std=0.1)
        autoencoder.latent_mean.normal_(std=0.5)
        autoencoder.latent_std.uniform_(2, 4)
        for parameter in autoencoder.decoder.parameters():
            parameter.mul_(2)
    return LatentDiffusion(autoencoder, network, NoiseSchedule("cosine", 100), "epsilon", 3.0)
