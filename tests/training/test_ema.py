import pytest
import torch
from torch import nn

from nanoldm.training import EMA


def averages(values, decay):
    """The EMA of a module with one weight that takes the given values after steps 1, 2, ..."""
    module = nn.Linear(1, 1, bias=False)
    ema, found = EMA(module, decay), []
    for k, value in enumerate(values, 1):
        module.weight.data.fill_(value)
        ema.update(k)
        found.append(ema.module.weight.item())
    return found


def test_after_the_first_step_it_is_that_step_whatever_the_random_start_was():
    assert averages([7.0], 0.999) == [7.0]


def test_it_is_the_average_with_weights_that_fall_by_the_decay():
    values, decay = [3.0, -1.0, 4.0, 1.0, -5.0], 0.9
    weights = [decay ** (len(values) - i) for i in range(1, len(values) + 1)]
    exact = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    assert averages(values, decay)[-1] == pytest.approx(exact, rel=1e-5)


def test_constant_weights_are_their_own_average():
    assert averages([2.5] * 50, 0.999) == pytest.approx([2.5] * 50)


def test_after_many_steps_it_is_the_plain_average_of_the_specification():
    """ema = 0.999 ema + 0.001 weights; the correction has decayed to 0.999^20000 = 2e-9."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(20000, generator=generator).tolist()
    plain = 0.0
    for value in values:
        plain = 0.999 * plain + 0.001 * value
    assert averages(values, 0.999)[-1] == pytest.approx(plain, abs=1e-5)


def test_the_average_needs_no_gradient():
    assert not any(parameter.requires_grad
                   for parameter in EMA(nn.Linear(2, 2), 0.999).module.parameters())


def test_a_power_function_weighs_step_i_by_its_power_and_keeps_its_share_of_the_run():
    """weights_i in proportion to i^g on average over a long run: the mean step is (g + 1) / (g + 2)
    of the whole.
    """
    module = nn.Linear(1, 1, bias=False)
    ema = EMA(module, power=6.94)
    for k in range(1, 2001):
        module.weight.data.fill_(float(k))
        ema.update(k)
        if k in (200, 2000):
            assert ema.module.weight.item() / k == pytest.approx(7.94 / 8.94, rel=0.01)


def test_an_ema_has_the_running_statistics_of_its_source():
    source = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    ema = EMA(source, 0.9)
    for k in range(1, 4):
        source(torch.randn(8, 3) * 5 + 2)
        ema.update(k)
    assert source[0].num_batches_tracked == 3
    for own, live in zip(ema.module.buffers(), source.buffers(), strict=True):
        assert torch.equal(own, live)
