"""Guidance against Bayes' rule on Gaussian classes, where every denoiser is known exactly."""

import pytest
import torch
from torch import nn

from nanoldm.diffusion import (
    PREDICTIONS,
    SAMPLERS,
    Denoiser,
    Guided,
    NoiseSchedule,
    evaluations,
    trailing,
)
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.seeding import generator

SCHEDULE = NoiseSchedule("cosine", 100)
# of the classes; their standard deviation is 1, and without label the data is N(0.5, 2^2)
MEANS = torch.tensor([-2.0, 0.0, 3.0])
LABEL = torch.tensor([0, 2, 1, -1])


class Classes(nn.Module):
    """The exact denoiser of Gaussian data whose mean depends on the label, as a network of one kind
    of prediction. Counts its calls.
    """

    labels = 3

    def __init__(self, prediction="epsilon"):
        super().__init__()
        self.prediction, self.images = prediction, 0

    def forward(self, x_t, t, label=None):
        self.images += len(x_t)
        label = torch.full((len(x_t),), -1) if label is None else label
        alpha, sigma = (level.expand(len(x_t))[:, None, None].double() for level in SCHEDULE(t))
        mean = torch.where(
            label < 0, torch.tensor(0.5), MEANS[label.clamp(min=0)]
        )[:, None, None].double()
        variance = torch.where(label < 0, 4.0, 1.0)[:, None, None].double()
        # E[x0 | x_t]
        x0 = mean + alpha * variance / (alpha**2 * variance + sigma**2) * (x_t - alpha * mean)
        return PREDICTIONS[self.prediction].target(x0, (x_t - alpha * x0) / sigma, alpha, sigma)


def randn(*shape, key=0):
    return torch.randn(shape, generator=generator(key), dtype=torch.float64)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("t", [0, 40, 99])
def test_guidance_extrapolates_the_score_from_no_label_to_label(prediction, t):
    """score = -eps / sigma, so eps = eps(none) + scale (eps(label) - eps(none)) is Ho and
    Salimans' equation 6, (1 + w) eps(label) - w eps(none), with scale = 1 + w.
    """
    t = torch.tensor([t])
    x_t, denoiser = randn(4, 5, 2), Denoiser(Classes(prediction), SCHEDULE, prediction)
    found = Guided(denoiser, LABEL, 2.5)(x_t, t)
    labelled, unlabelled = denoiser(x_t, t, LABEL), denoiser(x_t, t)
    torch.testing.assert_close(found.eps, 2.5 * labelled.eps - 1.5 * unlabelled.eps)
    torch.testing.assert_close(found.x0, 2.5 * labelled.x0 - 1.5 * unlabelled.x0)
    # without a label there is nothing to exaggerate
    torch.testing.assert_close(found.x0[3], unlabelled.x0[3])
    alpha, sigma = (level[:, None, None].double() for level in SCHEDULE(t))
    torch.testing.assert_close(alpha * found.x0 + sigma * found.eps, x_t, atol=1e-4, rtol=0)


def test_scale_1_is_the_conditional_denoiser_in_one_evaluation_and_scale_0_is_no_label():
    network, x_t, t = Classes(), randn(4, 5, 2), torch.tensor([40])
    denoiser = Denoiser(network, SCHEDULE)
    assert torch.equal(Guided(denoiser, LABEL)(x_t, t).x0, denoiser(x_t, t, LABEL).x0)
    network.images = 0
    Guided(denoiser, LABEL, 1)(x_t, t)
    assert network.images == 4
    torch.testing.assert_close(Guided(denoiser, LABEL, 0)(x_t, t).x0, denoiser(x_t, t).x0)


def test_the_interval_ends_guidance_and_its_cost():
    network, x_t = Classes(), randn(4, 5, 2)
    denoiser = Denoiser(network, SCHEDULE)
    guided = Guided(denoiser, LABEL, 3.0, interval=(20, 60))
    for t, evaluated in ((19, 1), (20, 2), (60, 2), (61, 1)):
        network.images = 0
        found = guided(x_t, torch.tensor([t]))
        assert network.images == 4 * evaluated
        everywhere = Guided(denoiser, LABEL, 3.0)(x_t, torch.tensor([t]))
        assert torch.equal(found.x0,
                           (everywhere if evaluated == 2
                            else denoiser(x_t, torch.tensor([t]), LABEL)).x0)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("interval", [None, (10, 50)])
def test_every_sampler_generates_the_class_it_is_conditioned_on_and_its_nfe_is_known(
    sampler, interval
):
    network, label = Classes(), torch.arange(3).repeat_interleave(200)
    timesteps = trailing(99, 50)
    random = iter(range(1, 1000))
    steps = SAMPLERS[sampler](Guided(Denoiser(network, SCHEDULE), label, 2.0, interval),
                              randn(600, 1, 1), SCHEDULE, timesteps,
                              lambda: randn(600, 1, 1, key=next(random)))
    *_, (x, _) = steps
    settings = Sampling(sampler=sampler, timesteps=tuple(timesteps), guidance=2.0,
                        guidance_interval=interval)
    assert network.images == 600 * settings.nfe(SCHEDULE)
    means = torch.stack([x[label == k].mean() for k in range(3)])
    # Twice the step from the mean of everything to that of the class, or in the interval alone
    # something beyond the class.
    assert ((means - 0.5).sign() == (MEANS - 0.5).sign()).all()
    assert ((means - 0.5).abs() > (MEANS - 0.5).abs() - 0.25).all()


def test_without_guidance_the_nfe_is_that_of_the_sampler():
    assert Sampling(
        sampler="heun", timesteps=(99, 50, 10)
    ).nfe(SCHEDULE) == 5 == len(evaluations("heun", [99, 50, 10]))
    guided = Sampling(sampler="heun", timesteps=(99, 50, 10), guidance=2, guidance_interval=(0, 50))
    assert guided.nfe(SCHEDULE) == 9
