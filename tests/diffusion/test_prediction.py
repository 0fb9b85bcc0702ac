"""Predictions and their inverses on every table; weights of the loss."""

import pytest
import torch

from nanoldm.diffusion import PREDICTIONS, Denoiser, DenoisingLoss, NoiseSchedule, corrupt
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator

TABLES = {kind: NoiseSchedule(kind, 100) for kind in ("cosine", "linear", "rectified")}


def randn(*shape, key=0):
    return torch.randn(shape, generator=generator(key))


def test_the_rectified_table_goes_from_data_to_noise_in_equal_steps():
    alpha, sigma = TABLES["rectified"](torch.arange(-1, 100))
    torch.testing.assert_close(alpha, torch.linspace(1, 0, 101), atol=1e-6, rtol=0)
    torch.testing.assert_close(sigma, torch.linspace(0, 1, 101), atol=1e-6, rtol=0)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_target_leads_back_to_x0_and_eps(prediction, table):
    x0, eps, t = randn(100, 49, 6), randn(100, 49, 6, key=1), torch.arange(100)
    if (prediction, table) == ("epsilon", "rectified"):
        t = t.clamp(max=98)                                 # at 99 there is no way back: see below
    alpha, sigma = (level.view(-1, 1, 1) for level in TABLES[table](t))
    target = PREDICTIONS[prediction].target(x0, eps, alpha, sigma)
    found = PREDICTIONS[prediction].estimate(target, corrupt(x0, eps, alpha, sigma), alpha, sigma)
    for ours, true, scale in zip(found, (x0, eps), (alpha, sigma), strict=True):
        # rounding grows where little of it is in x_t
        assert ((ours - true) * scale).abs().max() < 1e-4


def test_v_and_flow_are_their_definitions():
    x0, eps, alpha, sigma = randn(5), randn(5, key=1), torch.tensor(0.8), torch.tensor(0.6)
    assert torch.equal(PREDICTIONS["v"].target(x0, eps, alpha, sigma), alpha * eps - sigma * x0)
    assert torch.equal(PREDICTIONS["flow"].target(x0, eps, alpha, sigma), eps - x0)


def test_epsilon_is_an_error_where_the_noisiest_timestep_holds_no_signal():
    with pytest.raises(InputError, match="epsilon does not determine x0 where alpha is 0"):
        Denoiser(torch.nn.Identity(), TABLES["rectified"], "epsilon")


# The loss


class Wrong(torch.nn.Module):
    """Knows the answer, and is off by 1 everywhere."""

    def __init__(self, prediction, x0, eps, schedule):
        super().__init__()
        self.target, self.data = PREDICTIONS[prediction].target, (x0, eps)
        self.schedule = schedule

    def forward(self, x_t, t):
        return self.target(*self.data, *(level.view(-1, 1, 1) for level in self.schedule(t))) + 1


def loss(prediction, schedule, weighting, t):
    x0, eps = randn(1, 49, 6), randn(1, 49, 6, key=1)
    denoiser = Denoiser(Wrong(prediction, x0, eps, schedule), schedule, prediction)
    return DenoisingLoss(denoiser, weighting)(x0, torch.tensor([t]), eps).item()


@pytest.mark.parametrize("t", [0, 10, 50, 90, 99])
def test_min_snr_weights_are_those_of_its_authors(t):
    alpha, sigma = (level.item() for level in TABLES["cosine"](torch.tensor(t)))
    snr = alpha**2 / sigma**2
    published = {"epsilon": min(snr, 5) / snr, "x0": min(snr, 5), "v": min(snr, 5) / (snr + 1)}
    for prediction, weight in published.items():
        assert loss(
            prediction, TABLES["cosine"], "min-snr", t
        ) == pytest.approx(weight, rel=1e-3), prediction
        assert loss(prediction, TABLES["cosine"], "uniform", t) == pytest.approx(1, rel=1e-4)
    assert loss("flow", TABLES["cosine"], "min-snr",
                t) == pytest.approx(min(snr, 5) * (sigma / (alpha + sigma)) ** 2, rel=1e-3)


@pytest.mark.parametrize(("schedule", "weighting", "message"), [
    ("rectified", "min-snr", "the weight 0, because its SNR is 0: choose uniform"),
    ("cosine", "max-snr", "unknown loss weighting 'max-snr': choose one of uniform, min-snr")])
def test_weightings_that_cannot_be_are_errors(schedule, weighting, message):
    with pytest.raises(InputError, match=message):
        DenoisingLoss(Denoiser(torch.nn.Identity(), TABLES[schedule], "x0"), weighting)
