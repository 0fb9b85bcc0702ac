import itertools
from copy import deepcopy

import pytest
import torch
from torch import nn

from nanoldm.models import Dropout
from nanoldm.training import EMA, fit, load_checkpoint, save_checkpoint
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator, seeded


class Regression(nn.Module):
    """Squared error of a small network with dropout: anything that returns a loss can be trained.
    """

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        with seeded(0):
            self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), Dropout(dropout), nn.Linear(8, 1))

    def forward(self, x, y):
        return (self.net(x) - y).pow(2).mean()


def batches(start=0):
    for step in itertools.count(start):
        x = torch.randn(16, 3, generator=generator(5, step))
        yield {"x": x, "y": 10 * x.sum(1, keepdim=True)}


def rate(step):
    return 0.01 / (1 + step)


def adamw(model):
    return torch.optim.AdamW(model.parameters(), lr=1.0, fused=True)       # fit sets the rate


def same(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_step_is_forward_backward_clip_update_written_by_hand():
    ours, theirs = Regression(), Regression()
    steps = list(fit(ours, batches(), [adamw(ours)], steps=5, learning_rate=rate,
                     gradient_clip=0.5))

    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.01)
    for number, batch in enumerate(itertools.islice(batches(), 5)):
        loss = theirs(**batch)
        gradients = torch.autograd.grad(loss, list(theirs.parameters()))
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        assert norm > 0.5  # so that clipping is tested
        for parameter, gradient in zip(theirs.parameters(), gradients, strict=True):
            parameter.grad = gradient * 0.5 / norm
        optimizer.param_groups[0]["lr"] = 0.01 / (1 + number)
        optimizer.step()
        step = steps[number]
        assert (step.number, step.learning_rate) == (number + 1, 0.01 / (1 + number))
        assert step.loss.item() == pytest.approx(loss.item(), rel=1e-4)
        assert step.grad_norm.item() == pytest.approx(norm.item(), rel=1e-4)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_without_a_limit_gradients_are_not_clipped():
    clipped, free = Regression(), Regression()
    large, none = ([step.grad_norm
                    for step in fit(model, batches(), [adamw(model)], steps=3, learning_rate=rate,
                                    gradient_clip=clip)]
                   for model, clip in ((clipped, 1e9), (free, None)))
    assert large == none
    assert same(clipped, free)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_run_resumed_from_its_checkpoint_has_the_weights_of_an_unbroken_one_bit_for_bit(
    tmp_path, dropout
):
    whole, path = Regression(dropout), tmp_path / "state.safetensors"
    whole_ema = EMA(whole, 0.9)
    list(fit(whole, batches(), [adamw(whole)], steps=9, learning_rate=rate, ema=whole_ema, seed=1))

    first = Regression(dropout)
    ema, optimizer = EMA(first, 0.9), adamw(first)
    list(fit(first, batches(), [optimizer], steps=4, learning_rate=rate, ema=ema, seed=1))
    save_checkpoint(path, 4, first, [optimizer], ema)

    second = Regression(dropout)
    nn.init.zeros_(second.net[0].weight)  # everything must come from the file
    torch.rand(7)  # nor does global randomness matter
    ema, optimizer = EMA(second, 0.9), adamw(second)
    start = load_checkpoint(path, second, [optimizer], ema)
    list(fit(second, batches(start), [optimizer], steps=9, start=start, learning_rate=rate, ema=ema,
             seed=1))
    assert start == 4
    assert same(second, whole)
    assert same(ema.module, whole_ema.module)


def test_the_ema_is_up_to_date_when_a_step_is_yielded():
    model = Regression()
    ema = EMA(model, 0.9)
    for step in fit(model, batches(), [adamw(model)], steps=1, learning_rate=rate, ema=ema):
        assert step.number == 1
        assert same(ema.module, model)


def test_a_checkpoint_of_something_else_is_an_error_by_name(tmp_path):
    model, path = Regression(), tmp_path / "state.safetensors"
    save_checkpoint(path, 1, model, [adamw(model)])
    other = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"state\.safetensors is not a checkpoint of this run"):
        load_checkpoint(path, other, [adamw(other)])


def test_a_truncated_checkpoint_is_an_error_by_name(tmp_path):
    model, path = Regression(), tmp_path / "state.safetensors"
    save_checkpoint(path, 1, model, [adamw(model)])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"state\.safetensors is truncated"):
        load_checkpoint(path, deepcopy(model), [adamw(model)])


class Overwriting(Regression):
    """Overwrites the loss of the last step, as a CUDA graph does."""

    last = torch.zeros(())

    def forward(self, **batch):
        self.last.detach().zero_()
        self.last = super().forward(**batch)
        return self.last


def test_losses_are_kept_though_their_memory_is_used_again():
    own, overwritten = (
        [step.loss for step in fit(model, batches(), [adamw(model)], steps=3, learning_rate=rate)]
        for model in (Regression(), Overwriting()))
    torch.testing.assert_close(overwritten, own)


def test_no_random_state_is_saved_where_nothing_is_random(monkeypatch):
    monkeypatch.setattr("nanoldm.training.loop.seeded", None)  # cannot be called
    model = Regression()
    assert len(list(fit(model, batches(), [adamw(model)], steps=3, learning_rate=rate,
                        seed=None))) == 3


def test_random_numbers_for_the_cpu_leave_gpus_alone(monkeypatch):
    """torch would start, and read, every GPU of the machine: also those that are full, or somebody
    else's.
    """
    def touched(*_):
        raise AssertionError("a GPU was touched")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("get_rng_state", "set_rng_state", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, touched)
    state = torch.get_rng_state()
    with seeded(3, 1):
        first = torch.rand(5)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, torch.rand(5, generator=generator(3, 1)))
