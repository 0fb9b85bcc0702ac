"""Several processes that share one task. Alone, every function here is the identity.

A launcher starts the processes (`utils.launched`) and `join` connects them. All run the same
program; rank 0 alone writes files.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, distributed, nn

from nanoldm.utils.errors import InputError, TrainingError
from nanoldm.utils.launched import launched_processes, local_rank

T = TypeVar("T")
PATIENCE = timedelta(hours=3)  # for a process that works alone, such as rank 0 while it evaluates


class Part(NamedTuple):
    """One of `count` equal parts of a batch: index 0 ... count - 1."""

    index: int = 0
    count: int = 1

    def rows(self, size: int) -> slice:
        """The rows of this part, of `size` rows; sizes differ by 1 if `count` does not divide."""
        return slice(size * self.index // self.count, size * (self.index + 1) // self.count)


WHOLE = Part()


def join(cpu: bool) -> None:
    """Connect with the other processes, if a launcher has started some.

    cpu: whether they compute on the CPU (gloo), not on GPUs (NCCL).
    Raises InputError if the launcher has not said how to find them.
    """
    if launched_processes() == 1 or shared():
        return
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR"):
        if name not in os.environ:
            raise InputError(f"WORLD_SIZE is {launched_processes()}, and {name} is not set: start "
                             "several processes with --processes, torchrun or accelerate launch, "
                             "or one without WORLD_SIZE")
    from accelerate import Accelerator, InitProcessGroupKwargs

    Accelerator(cpu=cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])


def world_size() -> int:
    """How many processes are connected."""
    connected = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if connected else 1


def shared() -> bool:
    """Whether there are several processes."""
    return world_size() > 1


def rank() -> int:
    return distributed.get_rank() if shared() else 0


def is_main() -> bool:
    """Whether this is rank 0, which writes files and prints."""
    return rank() == 0


def own_part() -> Part:
    """The part of any work that this process does."""
    return Part(rank(), world_size())


def gather(value: T) -> list[T]:
    """The value of each process, by rank."""
    found: list[Any] = [value]
    if shared():
        found *= world_size()
        distributed.all_gather_object(found, value)
    return found


def gather_rows(compute: Callable[[slice], Tensor], count: int) -> Tensor:
    """compute(slice of range(count)) in each process for its own part -> all rows, everywhere."""
    with agreed():
        own = compute(own_part().rows(count))
    return torch.cat([rows.to(own.device) for rows in gather(own.cpu())]) if shared() else own


def average(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over all processes, in one message."""
    if not shared():
        return
    together = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(together)
    parts = (together / world_size()).split([tensor.numel() for tensor in tensors])
    torch._foreach_copy_(list(tensors), [part.view_as(tensor) for part, tensor in
                                         zip(parts, tensors, strict=True)])


def from_main(task: Callable[[], T]) -> T:
    """The result of `task`, which rank 0 alone runs, in every process; likewise its exception.

    `task` must not exchange anything with the other processes.
    """
    if not shared():
        return task()
    result, error = None, None
    if is_main():
        try:
            result = task()
        except Exception as caught:
            error = caught
    box = [result, portable(error)]
    distributed.broadcast_object_list(box)
    if box[1]:
        raise known_to_all(error or box[1])
    return box[0]


@contextmanager
def agreed() -> Iterator[None]:
    """Raise an exception of one process in all of them, so that none waits for the others.

    The block must not exchange anything with the other processes.
    """
    error = None
    try:
        yield
    except Exception as caught:
        error = caught
    if found := next(filter(None, gather(portable(error))), None):
        raise known_to_all(error or found)


def portable(error: Exception | None) -> Exception | None:
    """An exception that can be sent: those of other libraries may hold anything."""
    if error is None or type(error) in (InputError, TrainingError) or isinstance(error, OSError):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


def known_to_all(error: Exception) -> Exception:
    """Mark an exception that all processes raise: rank 0 alone prints it."""
    error.known_to_all = True
    return error


def copy_from_main(module: nn.Module) -> None:
    """Give a module the weights and buffers that it has in rank 0."""
    if shared():
        module.load_state_dict(from_main(lambda: {name: tensor.cpu() for name, tensor in
                                                  module.state_dict().items()}))


def disconnect() -> None:
    """Disconnect from the other processes, at the end of a program.

    NCCL warns if this is left out; gloo needs nothing, and may wait for processes that have ended.
    """
    if shared() and distributed.get_backend() == "nccl":
        distributed.destroy_process_group()


def first_of_machine(task: Callable[[], T]) -> T:
    """task() in every process. One of each machine runs it first: the others find its downloads."""
    if not shared():
        return task()
    result = None
    for turn in (True, False):
        with agreed():
            if (local_rank() == 0) == turn:
                result = task()
    return result
