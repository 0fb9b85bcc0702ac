import math

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from gaussian import Gaussian
from torch import nn

from nanoldm.diffusion import Clamped, Denoiser, NoiseSchedule, ddpm, trailing
from nanoldm.utils.seeding import generator, seeded

pytestmark = pytest.mark.usefixtures("no_gradients")
SCHEDULE, SHAPE = NoiseSchedule(), (4, 49, 6)

# The specification's cosine table in float64. An unlimited chain multiplies rounding errors by
# 1/alpha_99, about 2000: in float64 an
# error of the formula cannot hide behind them.
F = [math.cos((t / 100 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(101)]
BETAS = torch.tensor([min(1 - F[t + 1] / F[t], 0.999) for t in range(100)], dtype=torch.float64)
ALPHA_BAR = (1 - BETAS).cumprod(0)


class ExactSchedule(nn.Module):
    zero_terminal_snr = False
    alpha = torch.cat((torch.ones(1), ALPHA_BAR.sqrt()))

    def forward(self, t):
        alpha_bar = torch.where(t < 0, 1, ALPHA_BAR[t])
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


class Bounded(nn.Module):
    """Deterministic, mixes channels, depends on t, and is bounded like a prediction of noise."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x_t, t):
        return torch.tanh(self.linear(x_t) + torch.cos(t / 10)[:, None, None])


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture
def network():
    with seeded(0):
        return Bounded()


@pytest.fixture
def x_T():
    return torch.randn(SHAPE, generator=generator(1))


@pytest.fixture
def noises():
    """One noise tensor for every step but the last."""
    return torch.randn(99, *SHAPE, generator=generator(2))


@pytest.fixture
def diffusers_chain(monkeypatch):
    """Run DDPMScheduler with the given noise -> [(x, x0), ...]."""

    def run(network, x, noises, steps, **options):
        scheduler = DDPMScheduler(100, beta_schedule="squaredcos_cap_v2",
                                  variance_type="fixed_large", prediction_type="epsilon",
                                  timestep_spacing="trailing", **options)
        scheduler.set_timesteps(steps)
        if x.dtype == torch.float64:
            scheduler.alphas_cumprod = ALPHA_BAR
        # It adds noise after its last step too unless that is at t = 0: there it gets zeros.
        feed, chain = iter([*noises[: steps - 1], torch.zeros_like(x)]), []
        monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *args, **kwargs: next(feed))
        for t in scheduler.timesteps:
            x, x0 = scheduler.step(network(x, t.expand(len(x))), t, x, return_dict=False)
            chain.append((x, x0))
        return chain

    return run


def our_chain(denoise, x, noises, steps, schedule=SCHEDULE):
    return list(ddpm(denoise, x, schedule, trailing(99, steps), iter(noises).__next__))


def assert_same_chain(ours, theirs, tolerance):
    assert len(ours) == len(theirs)
    for (x, estimate), (expected_x, expected_x0) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, expected_x, atol=tolerance, rtol=0)
        torch.testing.assert_close(estimate.x0, expected_x0, atol=tolerance, rtol=0)


# Against diffusers, step for step


@pytest.mark.parametrize("steps", [100, 50, 10, 7, 1])
def test_every_step_on_every_spacing_is_that_of_diffusers(
    diffusers_chain, network, x_T, noises, steps
):
    network, x_T, noises = network.double(), x_T.double(), noises.double()
    schedule = ExactSchedule()
    ours = our_chain(Denoiser(network, schedule), x_T, noises, steps, schedule)
    assert_same_chain(ours, diffusers_chain(network, x_T, noises, steps, clip_sample=False), 1e-8)


@pytest.mark.parametrize("steps", [100, 50, 10, 7, 1])
@pytest.mark.parametrize("limit", [1.0, 3.5])
def test_every_clamped_step_on_every_spacing_is_that_of_diffusers_with_clipping(
    diffusers_chain, network, x_T, noises, limit, steps
):
    network, x_T, noises = network.double(), x_T.double(), noises.double()
    schedule = ExactSchedule()
    ours = our_chain(Clamped(Denoiser(network, schedule), limit), x_T, noises, steps, schedule)
    assert_same_chain(ours,
                      diffusers_chain(network, x_T, noises, steps, clip_sample=True,
                                      clip_sample_range=limit), 1e-8)
    assert ours[0][1].x0.abs().max() == limit


def test_a_clamped_chain_in_float32_on_our_own_table_stays_that_of_diffusers(
    diffusers_chain, network, x_T, noises
):
    ours = our_chain(Clamped(Denoiser(network, SCHEDULE), 3.5), x_T, noises, 100)
    theirs = diffusers_chain(network, x_T, noises, 100, clip_sample=True, clip_sample_range=3.5)
    for (x, _), (expected, _) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x, expected, atol=1e-4, rtol=0)


def test_an_unlimited_chain_in_float32_stays_that_of_diffusers_if_the_network_is_good(
    diffusers_chain, x_T, noises
):
    perfect, x_T, noises = Gaussian(SCHEDULE, 0.0, 0.5), x_T.flatten(1), noises.flatten(2)
    theirs = diffusers_chain(lambda x, t: perfect(x, t).eps, x_T, noises, 100, clip_sample=False)
    for (x, _), (expected, _) in zip(our_chain(perfect, x_T, noises, 100), theirs, strict=True):
        torch.testing.assert_close(x, expected, atol=1e-4, rtol=0)


# Against the specification


def test_every_step_of_the_full_spacing_is_the_formula_of_the_specification(network, x_T, noises):
    network, x, noises, schedule = network.double(), x_T.double(), noises.double(), ExactSchedule()
    chain = our_chain(Denoiser(network, schedule), x, noises, 100, schedule)
    for t, z, (ours, _) in zip(range(99, -1, -1), [*noises, None], chain, strict=True):
        alpha_t, beta_t, alpha_bar_t = 1 - BETAS[t], BETAS[t], ALPHA_BAR[t]
        eps = network(x, torch.full((len(x),), t))
        x = 1 / alpha_t.sqrt() * (x - beta_t / (1 - alpha_bar_t).sqrt() * eps)
        if t > 0:
            x = x + beta_t.sqrt() * z
        torch.testing.assert_close(ours, x, atol=1e-8, rtol=0)


# Behaviour


@pytest.mark.parametrize("steps", [1, 10, 100])
def test_noise_is_sampled_between_steps_and_not_after_the_last(network, x_T, noises, steps):
    calls = []

    def noise():
        calls.append(len(calls))
        return noises[calls[-1]]

    *_, (x, estimate) = ddpm(Denoiser(network, SCHEDULE), x_T, SCHEDULE, trailing(99, steps), noise)
    assert len(calls) == steps - 1
    # the last x is the last estimate of the data
    torch.testing.assert_close(x, estimate.x0, atol=1e-5, rtol=1e-5)


def test_the_denoiser_sees_each_timestep_once_and_never_the_clean_level(network, x_T, noises):
    seen = []

    def denoise(x_t, t):
        seen.append(t)
        return Denoiser(network, SCHEDULE)(x_t, t)

    our_chain(denoise, x_T, noises, 10)
    # once for the whole batch
    assert torch.equal(torch.stack(seen), torch.tensor(trailing(99, 10))[:, None])
    assert seen[0].dtype == torch.int64


def test_each_estimate_belongs_to_the_x_before_it(network, x_T, noises):
    x, denoiser = x_T, Denoiser(network, SCHEDULE)
    for t, (after, estimate) in zip(trailing(99, 10), our_chain(denoiser, x_T, noises, 10),
                                    strict=True):
        torch.testing.assert_close(estimate, denoiser(x, torch.full((len(x),), t)))
        x = after


def test_the_starting_noise_is_left_as_it_was(network, x_T, noises):
    before = x_T.clone()
    our_chain(Denoiser(network, SCHEDULE), x_T, noises, 100)
    assert torch.equal(x_T, before)


# Against a distribution that is known exactly


def exact_variance(std):
    """Of the samples: a step is linear in x, so variances follow v -> (dx_s/dx_t)^2 v + beta from
    1 at the start.
    """
    alpha, sigma = (level.double().tolist() for level in SCHEDULE(torch.arange(-1, 100)))
    variance = 1.0
    for t in range(100, 0, -1):                                        # row t holds timestep t - 1
        a = alpha[t] / alpha[t - 1]
        beta = 1 - a**2
        slope = (1 - beta / (alpha[t] ** 2 * std**2 + sigma[t] ** 2)) / a
        variance = slope**2 * variance + (beta if t > 1 else 0)
    return variance


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (2.0, 0.5), (-1.0, 0.1)])
def test_a_perfect_denoiser_of_a_gaussian_samples_that_gaussian(mean, std):
    """100 steps of variance beta are a little too wide: by 0 at std 1 to 3 % at std 0.1. Tolerances
    are five standard errors more.
    """
    shape, rng = (5000, 8), generator(3)
    n = math.prod(shape)
    *_, (x, _) = ddpm(Gaussian(SCHEDULE, mean, std), torch.randn(shape, generator=rng), SCHEDULE,
                      trailing(99, 100), lambda: torch.randn(shape, generator=rng))
    assert x.mean().item() == pytest.approx(mean, abs=5 * std / math.sqrt(n))
    assert x.std().item() == pytest.approx(math.sqrt(exact_variance(std)), rel=5 / math.sqrt(2 * n))
    assert 0.98 * std < x.std() < 1.05 * std
