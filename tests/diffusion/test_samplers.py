"""Every sampler: parity with diffusers, order on an exactly known Gaussian, agreement with each
other, every prediction and table.
"""

import math
from functools import partial
from itertools import pairwise, product

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from gaussian import Gaussian

from nanoldm.diffusion import (
    PREDICTIONS,
    SAMPLERS,
    Clamped,
    Denoiser,
    NoiseSchedule,
    ddim,
    evaluations,
    sampling_timesteps,
    trailing,
)
from nanoldm.pipeline.saving import PREDICTION_TYPES
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator

COSINE, LINEAR, RECTIFIED = (NoiseSchedule(kind, 100) for kind in ("cosine", "linear", "rectified"))
MEAN, STD = 0.7, 0.4        # of the Gaussian data


def randn(*shape, key=0):
    return torch.randn(shape, generator=generator(key), dtype=torch.float64)


class Table(NoiseSchedule):
    """A table in float64, cosine from the start, so that orders are not hidden by rounding: alpha =
    cos, sigma = sin of an angle.
    """

    def __init__(self, timesteps, noisiest=1.5):
        super().__init__("cosine", timesteps)
        angle = torch.linspace(0, noisiest, timesteps + 1, dtype=torch.float64)
        self.alpha, self.sigma = angle.cos(), angle.sin()


exact = partial(Gaussian, mean=MEAN, std=STD)


def flow_map(x, schedule, t):
    """Where the probability flow takes x from timestep t: each quantile of the Gaussian at t to
    that of the data.
    """
    alpha, sigma = schedule(torch.tensor([t]))
    return MEAN + STD * (x - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2).sqrt()


def run(sampler, denoise, x, schedule, timesteps, **options):
    noise = iter(range(10_000))
    *_, (x, _) = SAMPLERS[sampler](denoise, x, schedule, timesteps,
                                   lambda: randn(*x.shape, key=next(noise)), **options)
    return x


# Order


@pytest.mark.parametrize(("sampler", "order"),
                         [("ddim", 1), ("heun", 2), ("dpm++2m", 2), ("ab2", 2), ("ab3", 3)])
def test_the_error_on_a_gaussian_falls_with_the_order_of_the_sampler(sampler, order):
    """Down to timestep k of a fine table, where the exact solution is known too; equal steps of the
    angle.
    """
    schedule, x = Table(3200, noisiest=1.4), torch.linspace(-2, 2, 9, dtype=torch.float64)
    alpha_T, sigma_T = schedule(torch.tensor([3199]))
    stop = 799
    alpha, sigma = schedule(torch.tensor([stop]))
    there = alpha * MEAN + (x - alpha_T * MEAN) * ((alpha**2 * STD**2 + sigma**2)
                                                   / (alpha_T**2 * STD**2 + sigma_T**2)).sqrt()
    errors = []
    for steps in (20, 40, 80):
        timesteps = list(range(3199, stop, -2400 // steps))
        run = SAMPLERS[sampler](exact(schedule), x, schedule, [*timesteps, stop], None)
        states = [state for state, _ in run]
        errors.append((states[-2] - there).abs().max().item())  # the last state is the clean one
    found = [math.log2(a / b) for a, b in pairwise(errors)]
    assert found[-1] == pytest.approx(order, abs=0.35), (errors, found)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if not name.startswith("ddpm")])
@pytest.mark.parametrize("schedule", [COSINE, RECTIFIED], ids=lambda schedule: schedule.kind)
def test_many_steps_end_where_the_probability_flow_does(sampler, schedule):
    x = torch.linspace(-2, 2, 9)
    assert (run(sampler, exact(schedule), x, schedule, trailing(99, 100))
            - flow_map(x, schedule, 99)).abs().max() < 0.03


# Agreement


def test_ddim_with_eta_1_is_ancestral_sampling_with_the_posterior_variance():
    x = randn(4, 49, 6, key=5)
    first, second = (run(name, exact(COSINE), x, COSINE, trailing(99, 20), **options)
                     for name, options in (("ddim", {"eta": 1.0}), ("ddpm-posterior", {})))
    torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(first, run("ddim", exact(COSINE), x, COSINE, trailing(99, 20)),
                              atol=0.1)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if not name.startswith("ddpm")])
def test_one_step_is_the_estimate_of_x0(sampler):
    x = randn(3, 49, 6)
    torch.testing.assert_close(run(sampler, exact(RECTIFIED), x, RECTIFIED, [99]),
                               exact(RECTIFIED)(x, torch.tensor([99])).x0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_evaluations_are_counted(sampler):
    asked = []

    def denoise(x, t):
        asked.append(t.item())
        return exact(COSINE)(x, t)

    run(sampler, denoise, randn(2, 3), COSINE, trailing(99, 10))
    assert sorted(asked) == sorted(evaluations(sampler, trailing(99, 10)))
    assert min(asked) >= 0                                  # never the clean level


# Parity with diffusers


class Known(torch.nn.Module):
    """A smooth nonlinear stand-in for a network, the same for both sides."""

    def forward(self, x, t):
        return torch.sin(2 * x) * 0.5 + 0.3 * x + 0.001 * t.view(-1, *[1] * (x.dim() - 1))


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v"])
@pytest.mark.parametrize("steps", [1, 5, 20, 50, 100])
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_ddim_is_that_of_diffusers(prediction, steps, eta):
    theirs = DDIMScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2",
                           timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=True,
                           clip_sample_range=3.0, prediction_type=PREDICTION_TYPES[prediction])
    theirs.set_timesteps(steps)
    network, x = Known(), randn(2, 49, 6).float()
    denoiser = Clamped(Denoiser(network, COSINE, prediction), 3.0)
    draws, expected = [randn(2, 49, 6, key=k).float() for k in range(steps)], x
    for k, t in enumerate(theirs.timesteps):
        expected = theirs.step(network(expected, t.view(1)), t, expected, eta=eta,
                               use_clipped_model_output=True,
                               variance_noise=draws[k] if eta else None).prev_sample
    *_, (ours, _) = ddim(denoiser, x, COSINE, theirs.timesteps.tolist(), iter(draws).__next__,
                         eta=eta)
    torch.testing.assert_close(ours, expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("steps", [2, 5, 10, 20])
def test_2m_is_that_of_diffusers_on_the_same_timesteps(prediction, steps):
    theirs = DPMSolverMultistepScheduler(num_train_timesteps=100, beta_schedule="squaredcos_cap_v2",
                                         timestep_spacing="trailing",
                                         prediction_type=PREDICTION_TYPES[prediction],
                                         solver_order=2, algorithm_type="dpmsolver++",
                                         final_sigmas_type="zero", lower_order_final=True)
    theirs.set_timesteps(steps)
    network, x = Known(), randn(2, 49, 6).float()
    expected = x
    for t in theirs.timesteps:
        expected = theirs.step(network(expected, t.view(1)), t, expected).prev_sample
    *_, (ours, _) = SAMPLERS["dpm++2m"](Denoiser(network, COSINE, prediction), x, COSINE,
                                        theirs.timesteps.tolist(), None)
    torch.testing.assert_close(ours, expected, atol=1e-3 * expected.abs().max().item(), rtol=1e-3)


# Everything with everything


class Perfect(torch.nn.Module):
    """Gives the target that belongs to the exact estimate, but for `error`."""

    def __init__(self, schedule, prediction, error=0.0):
        super().__init__()
        self.schedule, self.prediction, self.error = schedule, prediction, error

    def forward(self, x, t):
        return PREDICTIONS[self.prediction].target(*exact(self.schedule)(x, t),
                                                   *self.schedule(t)) + self.error


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("schedule", [COSINE, LINEAR, RECTIFIED],
                         ids=lambda schedule: schedule.kind)
def test_every_sampler_generates_gaussian_data_with_every_prediction_on_every_table(
    sampler, prediction, schedule
):
    network, x = Perfect(schedule, prediction), randn(4000, 1, key=9).float()
    if schedule is RECTIFIED and (prediction == "epsilon" or sampler.startswith("ddpm")):
        with pytest.raises(InputError, match=r"alpha.*schedule: choose"):
            run(sampler, Denoiser(network, schedule, prediction), x, schedule, trailing(99, 25))
        return
    x = run(sampler, Clamped(Denoiser(network, schedule, prediction), 4.0), x, schedule,
            trailing(99, 50))
    assert x.mean().item() == pytest.approx(MEAN, abs=0.04)
    # which under-disperses
    assert x.std().item() == pytest.approx(STD, rel=0.15 if sampler == "ddpm-posterior" else 0.1)


# which Denoiser rejects
@pytest.mark.parametrize(("schedule", "prediction"),
                         [(schedule, prediction)
                          for schedule, prediction in product(
                              (COSINE, LINEAR, RECTIFIED), PREDICTIONS)
                          if (schedule, prediction) != (RECTIFIED, "epsilon")])
def test_the_few_steps_of_mnist_fast_forgive_a_network_its_small_errors(schedule, prediction):
    def mean(steps, sampler, spacing):
        denoiser = Clamped(Denoiser(Perfect(schedule, prediction, error=0.01), schedule,
                                    prediction), 4.0)
        return run(sampler, denoiser, randn(500, 1).float(), schedule,
                   sampling_timesteps(schedule, steps, spacing=spacing)).mean().item()

    assert mean(12, "ab3", "shifted") == pytest.approx(MEAN, abs=0.1)
