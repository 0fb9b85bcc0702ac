"""The training loop."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nanoldm.training.ema import EMA
from nanoldm.utils.distributed import WHOLE, Part, average
from nanoldm.utils.seeding import Stream, seeded


class Step(NamedTuple):
    """The result of one training step. Reading loss or grad_norm makes a GPU wait."""

    number: int  # 1 for the first
    loss: Tensor  # scalar, before the update
    grad_norm: Tensor  # scalar, before clipping
    learning_rate: float


def fit(loss_module: nn.Module, batches: Iterable[dict[str, Tensor]],
        optimizers: Sequence[torch.optim.Optimizer], *, steps: int,
        learning_rate: Callable[[int], float], start: int = 0, gradient_clip: float | None = None,
        ema: EMA | None = None, seed: int | None = 0,
        parts: Sequence[Part] = (WHOLE,)) -> Iterator[Step]:
    """Take steps start + 1 ... steps and yield after each update of the weights and the EMA.

    loss_module: returns the loss of a batch; it may be compiled by torch.compile.
    batches: keyword arguments of loss_module; the first batch is that of step start + 1. Each
        batch comes as its `parts`.
    optimizers: one or several, for different parameters.
    steps: number of the last step.
    learning_rate: learning_rate(k) is the rate of step k = 0, 1, ...
    gradient_clip: largest norm of the whole gradient (None: no limit).
    ema: moving average of the weights.
    seed: of dropout; None if loss_module draws no random numbers.
    parts: the equal parts of each batch that this process computes, one after the other; other
        processes compute the others. The gradient of a batch is the mean over its parts.
    """
    device = next(loss_module.parameters()).device
    each = zip(*[iter(batches)] * len(parts), strict=False)  # the parts of one batch at a time
    loss_module.train()
    for step, batch in zip(range(start, steps), each, strict=False):  # batches may be endless
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = learning_rate(step)
        loss_module.zero_grad()
        total = torch.zeros((), device=device)
        for part, own in zip(parts, batch, strict=True):
            key = (seed, Stream.DROPOUT, step)
            with nullcontext() if seed is None else seeded(*key, device=device, part=part):
                loss = loss_module(**own) / len(parts)
            loss.backward()
            total += loss.detach()
        if parts[0].count > len(parts):
            average(gradients(loss_module))
        limit = gradient_clip or float("inf")
        grad_norm = nn.utils.clip_grad_norm_(loss_module.parameters(), limit)
        for optimizer in optimizers:
            optimizer.step()
        if ema:
            ema.update(step + 1)
        yield Step(step + 1, total, grad_norm, learning_rate(step))


def gradients(module: nn.Module) -> list[Tensor]:
    """All gradients of a module. A missing one becomes 0: all processes send equally many."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    return [p.grad for p in parameters]
