import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nanoldm.data import load
from nanoldm.models import ConvAE, ReconstructionLoss
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import generator, seeded


@pytest.fixture(scope="module")
def digits():
    return to_float(load("mnist")[1].images[:128])


def test_28x28_pixels_become_14x14_become_7x7_become_49_tokens_row_by_row(digits):
    autoencoder = ConvAE()
    first, _, second = autoencoder.encoder
    h = F.relu(F.conv2d(digits[:2], first.weight, first.bias, stride=2, padding=1))
    z = F.conv2d(h, second.weight, second.bias, stride=2, padding=1)
    assert (h.shape, z.shape) == ((2, 32, 14, 14), (2, 6, 7, 7))
    tokens = autoencoder.encode(digits[:2])
    assert tokens.shape == (2, 49, 6)
    for row in range(7):
        for column in range(7):
            torch.testing.assert_close(tokens[:, 7 * row + column], z[:, :, row, column])


def test_decode_gives_the_raw_output_of_the_last_layer():
    """Logits: no activation follows."""
    autoencoder, tokens = ConvAE(), torch.randn(2, 49, 6, generator=generator(0))
    first, _, second = autoencoder.decoder
    z = torch.stack([tokens[:, 7 * row : 7 * row + 7] for row in range(7)], 1).permute(0, 3, 1, 2)
    h = F.relu(F.conv_transpose2d(z, first.weight, first.bias, stride=2, padding=1))
    assert h.shape == (2, 32, 14, 14)
    torch.testing.assert_close(autoencoder.decode(tokens),
                               F.conv_transpose2d(h, second.weight, second.bias, stride=2,
                                                  padding=1))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 5), (6, 3)])
def test_a_token_changes_the_pixels_around_its_own_place_alone(row, column):
    """A 4x4 kernel of stride 2 and padding 1 spreads place i over 2i-1 ... 2i+2; twice: over 4i-3
    ... 4i+6.
    """
    autoencoder, tokens = ConvAE(), torch.zeros(1, 49, 6)
    before = autoencoder.decode(tokens)
    tokens[0, 7 * row + column] = 100
    changed = (autoencoder.decode(tokens) - before)[0, 0] != 0
    expected = torch.zeros(28, 28, dtype=torch.bool)
    expected[max(4 * row - 3, 0) : 4 * row + 7, max(4 * column - 3, 0) : 4 * column + 7] = True
    assert not (changed & ~expected).any()
    assert changed[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].all()


def test_parameters_are_those_of_four_4x4_convolutions():
    def convolution(inputs, outputs):
        return inputs * outputs * 4 * 4 + outputs

    expected = convolution(1, 32) + convolution(32, 6) + convolution(6, 32) + convolution(32, 1)
    assert sum(parameter.numel() for parameter in ConvAE().parameters()) == expected


def test_statistics_make_the_tokens_of_digits_mean_0_and_standard_deviation_1_per_channel(digits):
    autoencoder = ConvAE()
    with torch.no_grad():
        raw = autoencoder.encode_raw(digits)
        autoencoder.set_statistics(raw)
        tokens = autoencoder.encode(digits)
    torch.testing.assert_close(tokens, (raw - raw.mean((0, 1))) / raw.std((0, 1)), atol=1e-5,
                               rtol=1e-5)
    torch.testing.assert_close(tokens.mean((0, 1)), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(tokens.std((0, 1)), torch.ones(6), atol=1e-4, rtol=0)
    assert (raw.mean((0, 1)).abs() > 1e-3).any()                       # they were not so before


@torch.no_grad()
def test_statistics_leave_the_reconstruction_unchanged(digits):
    autoencoder = ConvAE()
    before = autoencoder(digits)
    autoencoder.set_statistics(autoencoder.encode_raw(digits))
    assert (autoencoder.latent_std != 1).all()
    torch.testing.assert_close(autoencoder(digits), before, atol=1e-5, rtol=0)


@torch.no_grad()
def test_statistics_of_other_images_replace_the_former_ones(digits):
    first, direct = ConvAE(), ConvAE()
    direct.load_state_dict(first.state_dict())
    first.set_statistics(first.encode_raw(1 - digits))
    for autoencoder in (first, direct):
        autoencoder.set_statistics(autoencoder.encode_raw(digits))
    torch.testing.assert_close(first.state_dict(), direct.state_dict(), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_a_channel_that_never_changes_does_not_divide_by_zero(digits):
    autoencoder = ConvAE()
    autoencoder.encoder[2].weight[3] = 0
    autoencoder.set_statistics(autoencoder.encode_raw(digits))
    tokens = autoencoder.encode(digits)
    assert torch.equal(tokens[..., 3], torch.zeros(128, 49))
    assert tokens.isfinite().all()


@torch.no_grad()
def test_statistics_travel_with_the_weights(digits):
    autoencoder = ConvAE()
    autoencoder.set_statistics(autoencoder.encode_raw(digits))
    copy = ConvAE(**autoencoder.config)
    copy.load_state_dict(autoencoder.state_dict())
    assert torch.equal(copy.encode(digits), autoencoder.encode(digits))
    assert not torch.equal(autoencoder.latent_std, ConvAE().latent_std)


@pytest.mark.parametrize("size", [0, 2, 27, 30])
def test_a_side_that_is_no_multiple_of_4_is_an_error(size):
    with pytest.raises(InputError, match=f"image size {size} is not a multiple of 4"):
        ConvAE(image_size=size)


def test_the_error_names_a_size_that_works():
    with pytest.raises(InputError, match="choose 32"):
        ConvAE(image_size=31)
    assert ConvAE(image_size=32).tokens == 64


@torch.no_grad()
def test_colour_images_of_32x32_use_all_three_channels():
    autoencoder = ConvAE(image_size=32, image_channels=3, latent_channels=8)
    images = torch.rand(2, 3, 32, 32, generator=generator(0))
    tokens = autoencoder.encode(images)
    assert tokens.shape == (2, autoencoder.tokens, 8) == (2, 64, 8)
    for channel in range(3):
        without = images.clone()
        without[:, channel] = 0
        # at every token
        assert (autoencoder.encode(without) - tokens).abs().amax((0, 2)).min() > 1e-3
    logits = autoencoder(images)
    assert logits.shape == images.shape
    assert torch.equal(logits, autoencoder.decode(tokens))


def test_a_seed_gives_the_reference_the_weights_that_it_always_gave():
    """Initialised in the order of the data's way: else runs of earlier versions could not be
    repeated.
    """
    shape = dict(kernel_size=4, stride=2, padding=1)
    with seeded(3):
        layers = [nn.Conv2d(1, 32, **shape), nn.Conv2d(32, 6, **shape),
                  nn.ConvTranspose2d(6, 32, **shape), nn.ConvTranspose2d(32, 1, **shape)]
    with seeded(3):
        autoencoder = ConvAE()
    for expected, layer in zip(layers, [*autoencoder.encoder[::2], *autoencoder.decoder[::2]],
                               strict=True):
        assert torch.equal(layer.weight, expected.weight)
        assert torch.equal(layer.bias, expected.bias)


def test_the_reconstruction_loss_is_torchs_bce_with_logits(digits):
    autoencoder = ConvAE()
    loss = ReconstructionLoss(autoencoder)(digits)
    torch.testing.assert_close(loss, nn.BCEWithLogitsLoss()(autoencoder(digits), digits))
    p = autoencoder(digits).sigmoid()
    torch.testing.assert_close(loss, -(digits * p.log() + (1 - digits) * (1 - p).log()).mean())


def test_a_decoder_that_gives_zero_costs_ln_2_per_pixel(digits):
    autoencoder = ConvAE()
    nn.init.zeros_(autoencoder.decoder[2].weight)
    nn.init.zeros_(autoencoder.decoder[2].bias)
    assert ReconstructionLoss(autoencoder)(digits).item() == pytest.approx(math.log(2), abs=1e-6)


def test_thirty_steps_reconstruct_digits_better_than_their_mean_image(digits):
    autoencoder = ConvAE()
    loss = ReconstructionLoss(autoencoder)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        loss(digits).backward()
        optimizer.step()
    mean_image = digits.mean(0).expand_as(digits)
    assert loss(digits) < F.binary_cross_entropy(mean_image, digits)
