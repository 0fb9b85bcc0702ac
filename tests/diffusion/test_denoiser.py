import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nanoldm.diffusion import Clamped, Denoiser, DenoisingLoss, NoiseSchedule, corrupt
from nanoldm.models import DiffusionNet
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator, seeded

timesteps, keys = st.integers(0, 99), st.integers(0, 1000)
repeatably = settings(deadline=None, derandomize=True, max_examples=50)
SCHEDULE = NoiseSchedule()


class Wave(nn.Module):
    """A small network without weights whose output depends on x_t and on t."""

    def forward(self, x_t, t):
        return torch.sin(2 * x_t + t[:, None, None])


class Constant(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x_t, t):
        return self.output


def draw(key, *shape):
    return torch.randn(shape, generator=generator(key), dtype=torch.float64)


def levels(t):
    """alpha and sigma of the timesteps t, ready to multiply (B, tokens, channels)."""
    return (level[:, None, None].double() for level in SCHEDULE(t))


# Denoiser


@repeatably
@given(timesteps, timesteps, keys)
def test_signal_and_noise_of_an_estimate_make_up_its_input(t_1, t_2, key):
    t, x_t = torch.tensor([t_1, t_2]), draw(key, 2, 5, 3)
    x0, eps = Denoiser(Wave(), SCHEDULE)(x_t, t)
    alpha, sigma = levels(t)
    assert torch.equal(eps, Wave()(x_t, t))
    torch.testing.assert_close(alpha * x0 + sigma * eps, x_t, atol=1e-9, rtol=0)


@repeatably
@given(timesteps, timesteps, keys)
def test_an_oracle_for_the_noise_recovers_the_data(t_1, t_2, key):
    t, (x0, eps) = torch.tensor([t_1, t_2]), draw(key, 2, 2, 5, 3)
    estimate = Denoiser(Constant(eps), SCHEDULE)(corrupt(x0, eps, *SCHEDULE(t)), t)
    torch.testing.assert_close(estimate.x0, x0, atol=1e-9, rtol=0)
    assert torch.equal(estimate.eps, eps)


def test_an_unknown_prediction_is_an_error():
    with pytest.raises(InputError, match="unknown prediction 'score': choose one of epsilon"):
        Denoiser(Wave(), SCHEDULE, "score")


# Clamped


@repeatably
@given(timesteps, timesteps, keys, st.floats(0.01, 10))
def test_clamping_limits_the_data_and_keeps_the_pair_consistent(t_1, t_2, key, limit):
    t, x_t = torch.tensor([t_1, t_2]), 3 * draw(key, 2, 5, 3)
    denoiser = Denoiser(Wave(), SCHEDULE)
    x0, eps = Clamped(denoiser, limit)(x_t, t)
    torch.testing.assert_close(x0, denoiser(x_t, t).x0.clip(-limit, limit))
    assert x0.abs().max() <= limit
    alpha, sigma = levels(t)
    torch.testing.assert_close(alpha * x0 + sigma * eps, x_t, atol=1e-9, rtol=0)


def test_clamping_changes_the_noise_where_the_data_is_out_of_range_and_only_there():
    x_t, t = 3 * draw(0, 2, 50, 3), torch.tensor([40, 60])
    free = Denoiser(Wave(), SCHEDULE)(x_t, t)
    eps = Clamped(Denoiser(Wave(), SCHEDULE), 2.0)(x_t, t).eps
    outside = free.x0.abs() > 2
    assert 0 < outside.sum() < outside.numel()
    assert torch.equal((eps - free.eps).abs() > 1e-9, outside)


@pytest.mark.parametrize("limit", [0, -1.0, math.nan])
def test_a_limit_that_is_not_positive_is_an_error(limit):
    with pytest.raises(InputError, match="must be positive"):
        Clamped(Denoiser(Wave(), SCHEDULE), limit)


# DenoisingLoss


@repeatably
@given(timesteps, timesteps, keys)
def test_the_loss_is_the_mean_squared_error_of_the_predicted_noise(t_1, t_2, key):
    t, (x0, eps) = torch.tensor([t_1, t_2]), draw(key, 2, 2, 5, 3)
    alpha, sigma = levels(t)
    expected = sum((Wave()(alpha * x0 + sigma * eps, t) - eps).flatten() ** 2) / (2 * 5 * 3)
    torch.testing.assert_close(DenoisingLoss(Denoiser(Wave(), SCHEDULE))(x0, t, eps), expected)


def test_the_first_loss_is_one():
    """A new network predicts zero, and E[eps^2] = 1; the mean of n squared normals has standard
    error sqrt(2/n).
    """
    with seeded(0):
        network = DiffusionNet(width=8, depth=1, heads=2, hidden=16)
    x0, eps = draw(0, 2, 256, 49, 6).float()
    t = torch.randint(100, (256,), generator=generator(1))
    loss = DenoisingLoss(Denoiser(network, SCHEDULE))(x0, t, eps)
    torch.testing.assert_close(loss, eps.square().mean())
    assert loss.item() == pytest.approx(1, abs=5 * math.sqrt(2 / eps.numel()))


def test_training_on_the_loss_lowers_it():
    """Twenty steps on one batch, from zero: the gradient reaches the network through the loss."""
    with seeded(0):
        network = DiffusionNet(tokens=9, channels=3, width=16, depth=1, heads=2, hidden=32)
    x0, eps = draw(0, 2, 64, 9, 3).float()
    t = torch.randint(50, 100, (64,), generator=generator(1))
    loss = DenoisingLoss(Denoiser(network, SCHEDULE))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        loss(x0, t, eps).backward()
        optimizer.step()
    assert loss(x0, t, eps) < 0.5
