import math

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoldm.diffusion import NoiseSchedule, corrupt
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator

kinds, lengths = st.sampled_from(["cosine", "linear"]), st.integers(1, 1000)
repeatably = settings(deadline=None, derandomize=True, max_examples=50)


def table(kind, timesteps):
    return NoiseSchedule(kind, timesteps)(torch.arange(timesteps))


def signal_left(timesteps):
    """alpha_bar at the last timestep of the linear schedule."""
    return table("linear", timesteps)[0][-1].item() ** 2


@pytest.mark.parametrize("timesteps", [10, 100, 1000])
def test_cosine_is_the_table_of_diffusers(timesteps):
    theirs = DDPMScheduler(num_train_timesteps=timesteps,
                           beta_schedule="squaredcos_cap_v2").alphas_cumprod
    alpha, sigma = table("cosine", timesteps)
    torch.testing.assert_close(alpha**2, theirs, atol=1e-6, rtol=0)
    torch.testing.assert_close(sigma**2, 1 - theirs, atol=1e-6, rtol=0)


def test_cosine_is_the_formula_of_the_specification_until_the_last_beta_is_clipped():
    f = [math.cos((t / 100 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(101)]
    alpha_bar = table("cosine", 100)[0] ** 2
    torch.testing.assert_close(alpha_bar[:99], torch.tensor([f[t + 1] / f[0] for t in range(99)]),
                               atol=1e-6, rtol=0)
    assert (alpha_bar[99] / alpha_bar[98]).item() == pytest.approx(1 - 0.999, rel=1e-5)


@pytest.mark.parametrize("timesteps", [50, 100, 1000])
def test_linear_is_the_table_of_diffusers_with_betas_scaled_to_the_length(timesteps):
    """1e-4 ... 0.02 at T = 1000."""
    scale = 1000 / timesteps
    scheduler = DDPMScheduler(num_train_timesteps=timesteps, beta_schedule="linear",
                              beta_start=1e-4 * scale, beta_end=0.02 * scale)
    torch.testing.assert_close(table("linear", timesteps)[0] ** 2, scheduler.alphas_cumprod,
                               atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("timesteps", [50, 100, 500, 1000])
def test_linear_leaves_as_little_signal_at_the_end_for_every_length(timesteps):
    """The betas b sum to 10.05 at every T, and -b - b^2 < ln(1 - b) < -b; unscaled, a third of the
    signal would be left at T = 100.
    """
    squares = sum((0.1 + 19.9 * i / (timesteps - 1)) ** 2 for i in range(timesteps)) / timesteps**2
    assert math.exp(-10.05 - squares) < signal_left(timesteps) < math.exp(-10.05)


@repeatably
@given(kinds, lengths)
def test_signal_and_noise_keep_the_variance_at_one(kind, timesteps):
    alpha, sigma = table(kind, timesteps)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(timesteps), atol=1e-6, rtol=0)


@repeatably
@given(kinds, lengths)
def test_signal_falls_and_noise_rises_with_every_timestep(kind, timesteps):
    alpha, sigma = NoiseSchedule(kind, timesteps)(torch.arange(-1, timesteps))
    assert (alpha.diff() < 0).all()
    assert (sigma.diff() >= 0).all()  # float32 cannot tell the last ones from 1
    assert (alpha > 0).all()


@repeatably
@given(kinds, lengths)
def test_the_clean_level_is_all_signal(kind, timesteps):
    alpha, sigma = NoiseSchedule(kind, timesteps)(torch.tensor(-1))
    assert (alpha.item(), sigma.item()) == (1, 0)


def test_a_schedule_answers_in_the_shape_of_the_question():
    schedule, t = NoiseSchedule(), torch.tensor([[3, -1], [99, 0]])
    alpha, sigma = schedule(t)
    for place in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        assert (alpha[place], sigma[place]) == schedule(t[place])


def test_an_unknown_kind_is_an_error_with_the_known_ones():
    with pytest.raises(InputError, match="'quadratic': choose one of cosine, linear"):
        NoiseSchedule("quadratic")


@pytest.mark.parametrize("timesteps", [0, -5])
def test_a_schedule_without_timesteps_is_an_error(timesteps):
    with pytest.raises(InputError, match=f"at least 1 timestep, got {timesteps}"):
        NoiseSchedule("cosine", timesteps)


def test_corrupt_is_add_noise_of_diffusers():
    scheduler = DDPMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2")
    x0, eps = torch.randn(2, 100, 49, 6, generator=generator(0))
    t = torch.randperm(100, generator=generator(1))
    torch.testing.assert_close(corrupt(x0, eps, *NoiseSchedule()(t)),
                               scheduler.add_noise(x0, eps, t), atol=1e-5, rtol=0)


def test_corrupt_takes_one_level_for_a_whole_batch():
    x0, eps = torch.randn(2, 4, 5, 3, generator=generator(0))
    schedule = NoiseSchedule()
    assert torch.equal(corrupt(x0, eps, *schedule(torch.tensor(40))),
                       corrupt(x0, eps, *schedule(torch.full((4,), 40))))
