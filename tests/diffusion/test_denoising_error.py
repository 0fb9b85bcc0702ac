"""The denoising error: oracles for which it is known exactly."""

import math

import pytest
import torch
from gaussian import Gaussian
from torch import nn

from nanoldm.diffusion import LOG_SNRS, Estimate, NoiseSchedule, denoising_error
from nanoldm.utils.seeding import generator

X0, EPS = (torch.randn(400, 49, 6, generator=generator(k)) for k in range(2))


@pytest.mark.parametrize("schedule",
                         [NoiseSchedule("cosine", 100), NoiseSchedule("linear", 100),
                          NoiseSchedule("cosine", 1000)])
def test_the_error_of_the_best_denoiser_is_known_at_every_level_on_every_table(schedule):
    """So models on different tables can be compared: the interpolation between two timesteps costs
    less than the sampling error.
    """
    found = denoising_error(Gaussian(schedule), X0, EPS, 100)
    log_snr = 2 * torch.log(schedule.alpha[1:] / schedule.sigma[1:])
    inside = [(level, error) for level, error in zip(LOG_SNRS, found, strict=True)
              if log_snr[-1] <= level <= log_snr[0]]
    assert len(inside) >= 10
    for level, error in inside:
        assert error == pytest.approx(1 / (1 + math.exp(level)), rel=0.015)


def test_an_oracle_that_knows_x0_has_no_error():
    class Oracle(nn.Module):
        schedule = NoiseSchedule("cosine", 100)

        def forward(self, x_t, t):
            return Estimate(X0, x_t)

    assert denoising_error(Oracle(), X0, EPS, 100) == [0] * 12


def test_a_wild_estimate_is_clamped():
    wild = Gaussian(NoiseSchedule("cosine", 100), mean=1000)
    wild = [denoising_error(wild, X0, EPS, limit)[-1] for limit in (1e6, 3)]
    assert wild[1] < 16 < wild[0]


def test_levels_beyond_a_short_table_take_its_ends():
    schedule = NoiseSchedule("cosine", 3)
    found = denoising_error(Gaussian(schedule), X0, EPS, 100)
    ends = [1 / (1 + (schedule.alpha[k] / schedule.sigma[k]).item() ** 2) for k in (1, -1)]
    assert found[0] == pytest.approx(ends[0], rel=0.02)
    assert found == sorted(found)


def test_a_table_of_one_timestep_has_one_error():
    """Its log-SNR lies inside LOG_SNRS, so that levels beyond both ends are asked for."""
    assert len(set(denoising_error(Gaussian(NoiseSchedule("linear", 1)), X0, EPS, 100))) == 1
