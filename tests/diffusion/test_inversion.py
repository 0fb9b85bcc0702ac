"""Inversion of ddim on an exactly known Gaussian."""

import pytest
import torch
from gaussian import Gaussian

from nanoldm.diffusion import NoiseSchedule, ddim, sampling_timesteps
from nanoldm.diffusion.inversion import invert
from nanoldm.utils.seeding import generator


@pytest.fixture(params=["cosine", "rectified"])
def gaussian(request):
    return Gaussian(NoiseSchedule(request.param, 100).double(), std=0.5)


def there_and_back(gaussian, x0, steps, iterations):
    timesteps = sampling_timesteps(gaussian.schedule, steps)
    *_, x_T = invert(gaussian, x0, gaussian.schedule, timesteps, iterations)
    *_, (back, _) = ddim(gaussian, x_T, gaussian.schedule, timesteps, None)
    return x_T, back


def test_inversion_finds_the_exact_inverse_of_ddim_with_enough_iterations(gaussian):
    x0 = torch.randn(50, 4, dtype=torch.float64, generator=generator(1))
    errors = [(there_and_back(gaussian, x0, 20, iterations)[1] - x0).abs().max().item()
              for iterations in (1, 2, 4, 8, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-9


def test_one_iteration_converges_with_the_number_of_steps(gaussian):
    x0 = torch.randn(50, 4, dtype=torch.float64, generator=generator(1))
    error = {steps: (there_and_back(gaussian, x0, steps, 1)[1] - x0).abs().max().item()
             for steps in (10, 20, 50, 100)}
    assert error[10] > error[20] > error[50] > error[100]
    assert error[100] < 0.02 * x0.abs().max()


def test_inversion_of_the_data_is_standard_normal_noise(gaussian):
    """The exact flow of this Gaussian divides by its standard deviation; the last step leaves an
    error of about 1 / steps.
    """
    x0 = 0.5 * torch.randn(50, 4, dtype=torch.float64, generator=generator(1))
    x_T, _ = there_and_back(gaussian, x0, 100, 5)
    assert torch.allclose(x_T, x0 / 0.5, rtol=0.03)


def test_inversion_never_evaluates_the_clean_level(gaussian):
    asked = []

    def denoise(x_t, t):
        asked.extend(t.tolist())
        return gaussian(x_t, t)

    list(invert(denoise, torch.ones(1, 4, dtype=torch.float64), gaussian.schedule, [99, 40, 3], 2))
    assert asked == [3, 3, 40, 40, 99, 99]
