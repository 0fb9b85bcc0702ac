"""The training loop."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nanoldm.training.ema import EMA
from nanoldm.utils.seeding import seeded

FORWARD = 2     # the random stream of dropout; batches.py has 0 and 1


class Step(NamedTuple):
    """What a step reports. loss and grad_norm stay on the device: read them seldom on a GPU."""

    number: int         # 1 for the first
    loss: Tensor        # scalar, before the update
    grad_norm: Tensor   # scalar, before clipping
    learning_rate: float


def fit(loss_module: nn.Module, batches: Iterable[dict[str, Tensor]], optimizer: torch.optim.Optimizer, *, steps: int, start: int = 0,
        learning_rate: Callable[[int], float], gradient_clip: float | None = None, ema: EMA | None = None, seed: int = 0,
        compiled: bool = False) -> Iterator[Step]:
    """Take steps start + 1 ... steps; yield after each, when optimiser and EMA are up to date. Everything else is the caller's.

    batches: keyword arguments of loss_module, the first for step start + 1. learning_rate(k) is the rate of step k = 0, 1, ...
    gradient_clip: largest norm of the whole gradient (None: no limit). compiled: run loss_module through torch.compile, which
    fuses its elementwise operations; the mathematics stays the same, up to the order of sums.
    """
    device = next(loss_module.parameters()).device
    # Every batch has the same shape, hence dynamic=False.
    model = torch.compile(loss_module, dynamic=False) if compiled else loss_module
    model.train()
    for step, batch in zip(range(start, steps), batches, strict=False):      # batches may be endless
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        with seeded(seed, FORWARD, step, device=device):
            loss = model(**batch)
        optimizer.zero_grad()
        loss.backward()
        grad_norm = nn.utils.clip_grad_norm_(model.parameters(), gradient_clip or float("inf"))
        optimizer.step()
        if ema:
            ema.update(step + 1)
        yield Step(step + 1, loss.detach(), grad_norm, learning_rate(step))
