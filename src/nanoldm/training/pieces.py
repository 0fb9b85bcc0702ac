"""A thread for each piece of a batch, instead of all threads for each operation."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def by_threads(loss_module: nn.Module, pieces: int) -> Iterator[Callable[[dict[str, Tensor]], Tensor]]:
    """A function batch -> loss that also leaves the gradient in the parameters, for a module whose loss is a mean over the batch.

    The batch is cut into `pieces`, which torch's threads take whole, one after the other: operations on a small piece stay in a core's
    cache, and no thread waits for the others after each of them (benchmarks/RESULTS.md). Losses and gradients are added up in the
    order of the pieces, so that a run repeats bit for bit. Not for modules that draw random numbers: threads would draw them in any order.
    """
    parameters = [parameter for parameter in loss_module.parameters() if parameter.requires_grad]

    def piece_by_piece(batch: dict[str, Tensor]) -> Tensor:
        size = len(next(iter(batch.values())))

        def share(*tensors: Tensor) -> list[Tensor]:
            """What a piece contributes: its loss, then its gradients."""
            loss = loss_module(**dict(zip(batch, tensors, strict=True))) * (len(tensors[0]) / size)
            return [loss.detach(), *torch.autograd.grad(loss, parameters)]

        total, *others = pool.map(share, *(tensor.chunk(pieces) for tensor in batch.values()))
        for other in others:
            torch._foreach_add_(total, other)
        for parameter, gradient in zip(parameters, total[1:], strict=True):
            parameter.grad = gradient
        return total[0]

    with ThreadPoolExecutor(torch.get_num_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield piece_by_piece
