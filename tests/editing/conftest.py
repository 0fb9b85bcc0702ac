"""Fixtures: an image, a mask, and the bundled model with digits."""

import pytest
import torch

from nanoldm import LatentDiffusion
from nanoldm.data import load
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import generator


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 1, 28, 28, generator=generator(5))


@pytest.fixture(scope="module")
def mask():
    """A rectangle that is not aligned with the tokens."""
    masked = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
    masked[..., 5:18, 9:22] = True
    return masked


@pytest.fixture(scope="module")
def digits_model():
    return LatentDiffusion.from_pretrained("mnist")


@pytest.fixture(scope="module")
def digit():
    return to_float(load("mnist")[1].images[:2])
