"""Batches on the CPU, each computed by one thread."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

Stopped = Callable[[], bool]


def map_batches(task: Callable[[slice, Stopped], Tensor], batches: Sequence[slice],
                threads: int) -> list[Tensor]:
    """[the result of task(batch, stopped) for each batch], `threads` of them at a time.

    A batch of small matrices is computed faster by one thread than by all (docs/performance.md).
    stopped() is True after Ctrl-C or an error in another batch: then a task may return anything.
    """
    if min(threads, len(batches)) == 1:
        return [task(batch, bool) for batch in batches]  # bool() is False
    before, stop = torch.get_num_threads(), threading.Event()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        return list(pool.map(lambda batch: task(batch, stop.is_set), batches))
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # for threads that start later
