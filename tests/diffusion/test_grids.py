import pytest
from diffusers import DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoldm.diffusion import trailing
from nanoldm.errors import InputError

repeatably = settings(deadline=None, derandomize=True, max_examples=200)


@repeatably
@given(st.data(), st.integers(0, 999))
def test_a_grid_descends_from_its_start_in_even_strides_to_the_clean_level(data, start):
    steps = data.draw(st.integers(1, start + 1))
    grid = trailing(start, steps)
    assert len(grid) == steps
    assert grid[0] == start
    assert all(0 <= t <= start for t in grid)
    strides = [t - s for t, s in zip(grid, [*grid[1:], -1], strict=True)]
    assert min(strides) >= 1
    assert max(strides) - min(strides) <= 1                            # as even as whole numbers can be


@repeatably
@given(st.integers(0, 999))
def test_the_full_grid_is_every_timestep(start):
    assert trailing(start, start + 1) == list(range(start, -1, -1))


@pytest.mark.parametrize("steps", [1, 7, 10, 25, 30, 60, 100])
def test_a_grid_is_the_trailing_spacing_of_diffusers(steps):
    scheduler = DDPMScheduler(num_train_timesteps=100, timestep_spacing="trailing")
    scheduler.set_timesteps(steps)
    assert trailing(99, steps) == scheduler.timesteps.tolist()


@pytest.mark.parametrize(("start", "steps"), [(99, 0), (99, -1), (99, 101), (0, 2), (-1, 1)])
def test_a_number_of_steps_that_does_not_fit_is_refused(start, steps):
    with pytest.raises(InputError, match=f"^{steps} steps do not fit"):
        trailing(start, steps)
