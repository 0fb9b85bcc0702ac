"""Distillation, on Gaussians whose teacher is known exactly."""

import pytest
import torch
from torch import nn

from nanoldm.diffusion import Denoiser, DistillationLoss, NoiseSchedule, ddim

VARIANCE = 4.0  # of the data, N(0, VARIANCE)
NOISE = torch.randn(4000, 2, 3, generator=torch.Generator().manual_seed(0))


class Exact(nn.Module):
    """The best v of N(0, VARIANCE): proportional to x_t."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x, t):
        alpha, sigma = (level[:, None, None] for level in self.schedule(t))
        x0 = alpha * VARIANCE / (alpha**2 * VARIANCE + sigma**2) * x
        return (alpha * x - x0) / sigma


class Gain(nn.Module):
    """A network of one weight for each timestep."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(100))

    def forward(self, x, t):
        return self.gain[t][:, None, None] * x


@pytest.fixture
def schedule():
    return NoiseSchedule("cosine", 100)


def ends(schedule) -> torch.Tensor:
    """Where the exact flow takes NOISE: Gaussians keep their rank, so it is a scaling."""
    alpha, sigma = schedule(torch.tensor([99]))
    return (VARIANCE / (alpha**2 * VARIANCE + sigma**2)) ** 0.5 * NOISE


@pytest.mark.parametrize("timesteps", [(99,), (99, 86), (99, 60, 30, 10)])
def test_the_loss_of_the_exact_denoiser_is_the_error_of_its_few_steps(schedule, timesteps):
    """ddim on a Gaussian is a product of factors, one for each step."""
    factor = 1.0
    for t, s in zip(timesteps, (*timesteps[1:], -1), strict=True):
        (alpha_t, alpha_s), (sigma_t, sigma_s) = schedule(torch.tensor([t, s]))
        variance = alpha_t**2 * VARIANCE + sigma_t**2
        factor *= (alpha_s * alpha_t * VARIANCE + sigma_s * sigma_t) / variance
    x0 = ends(schedule)
    expected = (factor * NOISE - x0).square().mean().item()
    loss = DistillationLoss(Denoiser(Exact(schedule), schedule, "v"), timesteps)
    assert loss(NOISE, x0).item() == pytest.approx(expected, rel=1e-4)
    assert expected > 0.01


@pytest.mark.parametrize("timesteps", [(99,), (99, 86)])
def test_a_student_learns_in_few_steps_where_the_exact_flow_ends(schedule, timesteps):
    denoiser = Denoiser(Gain(), schedule, "v")
    loss, x0 = DistillationLoss(denoiser, timesteps), ends(schedule)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss(NOISE, x0).backward()
        optimizer.step()
    assert loss(NOISE, x0).item() < 1e-4
    *_, (x, _) = ddim(denoiser, NOISE, schedule, timesteps, NOISE.clone)
    assert x.var().item() == pytest.approx(VARIANCE, rel=0.05)


def test_the_gradient_reaches_every_pass_and_no_other_timestep(schedule):
    network = Gain()
    loss = DistillationLoss(Denoiser(network, schedule, "v"), (99, 86, 40))
    loss(NOISE, ends(schedule)).backward()
    assert network.gain.grad.nonzero()[:, 0].tolist() == [40, 86, 99]
