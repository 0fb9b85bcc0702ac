import math

import pytest
import torch
from torch import nn

from nanoldm.models import Dropout, LayerNorm
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator


def randn(*shape, key=0):
    return torch.randn(shape, generator=generator(key))


# LayerNorm


def test_layer_norm_is_its_formula():
    norm, x = LayerNorm(8), 3 * randn(5, 8) + 2
    norm.gamma.data, norm.beta.data = randn(8, key=1), randn(8, key=2)
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    torch.testing.assert_close(norm(x),
                               norm.gamma * (x - mean) / (variance + 1e-5).sqrt() + norm.beta)


@pytest.mark.parametrize("affine", [True, False])
def test_layer_norm_and_its_gradients_are_those_of_torch(affine):
    ours, theirs = LayerNorm(8, affine), nn.LayerNorm(8, elementwise_affine=affine)
    if affine:
        ours.gamma.data, ours.beta.data = randn(8, key=1), randn(8, key=2)
        theirs.load_state_dict({"weight": ours.gamma.data, "bias": ours.beta.data})
    x, weights = randn(4, 5, 8).requires_grad_(), randn(4, 5, 8, key=3)
    torch.testing.assert_close(ours(x), theirs(x))
    gradients = [torch.autograd.grad((norm(x) * weights).sum(), [x, *norm.parameters()])
                 for norm in (ours, theirs)]
    assert len(gradients[0]) == (3 if affine else 1)
    torch.testing.assert_close(*gradients)


# Dropout


def test_dropout_is_the_identity_in_eval_mode():
    x = randn(100)
    assert torch.equal(Dropout(0.5).eval()(x), x)


def test_dropout_without_probability_is_the_identity_in_training():
    x = randn(100)
    assert torch.equal(Dropout(0.0)(x), x)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_scales_survivors_and_preserves_the_mean(p):
    n = 100_000
    y = Dropout(p)(torch.ones(n))
    survivors = y[y != 0]
    torch.testing.assert_close(survivors, torch.full_like(survivors, 1 / (1 - p)))
    standard_error = math.sqrt(p / (1 - p) / n)
    assert y.mean().item() == pytest.approx(1, abs=5 * standard_error)


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5, math.nan])
def test_dropout_rejects_what_is_no_probability_below_one(p):
    with pytest.raises(InputError, match="dropout"):
        Dropout(p)
