import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoldm.diffusion import NoiseSchedule, sampling_timesteps, trailing
from nanoldm.utils.errors import InputError

repeatably = settings(deadline=None, derandomize=True, max_examples=200)


@repeatably
@given(st.data(), st.integers(0, 999))
def test_a_spacing_descends_from_its_start_in_even_strides_to_the_clean_level(data, start):
    steps = data.draw(st.integers(1, start + 1))
    spacing = trailing(start, steps)
    assert len(spacing) == steps
    assert spacing[0] == start
    assert all(0 <= t <= start for t in spacing)
    strides = [t - s for t, s in zip(spacing, [*spacing[1:], -1], strict=True)]
    assert min(strides) >= 1
    assert max(strides) - min(strides) <= 1  # as even as whole numbers can be


@repeatably
@given(st.integers(0, 999))
def test_the_full_spacing_is_every_timestep(start):
    assert trailing(start, start + 1) == list(range(start, -1, -1))


@pytest.mark.parametrize("steps", [1, 7, 10, 25, 30, 60, 100])
def test_it_is_the_trailing_spacing_of_diffusers(steps):
    scheduler = DDPMScheduler(num_train_timesteps=100, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert trailing(99, steps) == scheduler.timesteps.tolist()


@pytest.mark.parametrize(("start", "steps"), [(99, 0), (99, -1), (99, 101), (0, 2), (-1, 1)])
def test_a_number_of_steps_that_does_not_fit_is_an_error(start, steps):
    with pytest.raises(InputError, match=f"^{steps} steps do not fit"):
        trailing(start, steps)


# Spacings that depend on the schedule

COSINE, RECTIFIED = NoiseSchedule("cosine", 100), NoiseSchedule("rectified", 100)


@pytest.mark.parametrize("spacing", ["trailing", "log-snr", "shifted"])
@pytest.mark.parametrize("schedule", [COSINE, RECTIFIED], ids=lambda schedule: schedule.kind)
@pytest.mark.parametrize(("start", "steps"),
                         [(99, 1), (99, 2), (99, 16), (99, 100), (40, 8), (0, 1), (1, 2)])
def test_a_spacing_descends_from_its_start_without_repetition(spacing, schedule, start, steps):
    timesteps = sampling_timesteps(schedule, steps, start, spacing)
    assert timesteps[0] == start
    assert timesteps == sorted(set(timesteps), reverse=True)
    assert 1 <= len(timesteps) <= steps
    assert timesteps[-1] >= 0


def test_the_log_snr_spacing_is_even_in_log_snr():
    # fine enough that rounding to timesteps hides nothing
    schedule = NoiseSchedule("linear", 20_000)
    timesteps = sampling_timesteps(schedule, 12, None, "log-snr")
    alpha, sigma = schedule(torch.tensor(timesteps))
    levels = (alpha / sigma).log()
    assert timesteps[-1] == 0
    # they are about 1 apart
    torch.testing.assert_close(levels, torch.linspace(levels[0], levels[-1], 12), atol=0.2, rtol=0)


@pytest.mark.parametrize("schedule", [COSINE, RECTIFIED], ids=lambda schedule: schedule.kind)
def test_the_log_snr_spacing_ends_at_timestep_0_from_two_steps_on(schedule):
    assert sampling_timesteps(schedule, 2, None, "log-snr") == [99, 0]
    assert sampling_timesteps(schedule, 3, None, "log-snr")[-1] == 0


def test_the_shifted_spacing_spends_its_steps_where_there_is_much_noise():
    assert sum(t >= 50 for t in sampling_timesteps(RECTIFIED, 12, None, "shifted")) >= 8
    assert sampling_timesteps(RECTIFIED, 1, None, "shifted") == [99]
    _, sigma = RECTIFIED(torch.tensor(sampling_timesteps(RECTIFIED, 4, None, "shifted")))
    # 5 tau / (1 + 4 tau) of 1, 3/4, 1/2, 1/4, as near as a table in hundredths comes to it
    torch.testing.assert_close(sigma, torch.tensor([1, 15 / 16, 5 / 6, 5 / 8]), atol=0.0051, rtol=0)


@pytest.mark.parametrize(("steps", "spacing", "message"),
                         [(0, "log-snr", "choose 1 to 100"), (101, "shifted", "choose 1 to 100"),
                          (10, "karras", "unknown spacing 'karras': choose one of trailing")])
def test_a_spacing_that_cannot_be_is_an_error(steps, spacing, message):
    with pytest.raises(InputError, match=message):
        sampling_timesteps(COSINE, steps, None, spacing)
