"""An autoencoder of more levels: smaller squares of tokens, back to the same side."""

import pytest
import torch

from nanoldm.data import load
from nanoldm.models import ConvAE
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import generator


@pytest.fixture(scope="module")
def digits():
    return to_float(load("mnist")[1].images[:2])


def test_three_levels_halve_the_side_rounding_up_and_come_back_to_it():
    """28 -> 14 -> 7 -> 4, with 32, 64 and `latent_channels` channels."""
    autoencoder = ConvAE(levels=3, latent_channels=16)
    images = torch.rand(2, 1, 28, 28, generator=generator(0))
    shapes, h = [], images
    for layer in autoencoder.encoder:
        h = layer(h)
        shapes.append(tuple(h.shape[1:]))
    assert shapes[::2] == [(32, 14, 14), (64, 7, 7), (16, 4, 4)]
    assert autoencoder.tokens == 16
    assert autoencoder.encode(images).shape == (2, 16, 16)
    assert autoencoder(images).shape == images.shape
    assert [ConvAE(image_size=size, levels=3).tokens for size in (28, 32, 36)] == [16, 16, 25]
    assert ConvAE(image_size=36, levels=3)(torch.rand(1, 1, 36, 36)).shape == (1, 1, 36, 36)


def test_more_levels_than_halve_anything_are_an_error():
    assert ConvAE(levels=5).tokens == 1
    with pytest.raises(InputError,
                       match="6 levels are too many for images of 28x28: choose at most 5"):
        ConvAE(levels=6)


@pytest.mark.parametrize("levels", [2, 3])
def test_the_tokens_that_cover_a_pixel_are_those_that_change_with_it(levels, digits):
    autoencoder, place = ConvAE(levels=levels), generator(0)
    before = autoencoder.encode(digits[:1])
    for _ in range(20):
        row, column = torch.randint(28, (2,), generator=place).tolist()
        pixel = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
        pixel[..., row, column] = True
        changed = (
            autoencoder.encode(digits[:1].masked_fill(pixel, 1e4)) - before
        ).abs().amax(2, keepdim=True) > 0
        assert torch.equal(autoencoder.tokens_covering(pixel), changed)
