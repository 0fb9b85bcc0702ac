"""Batches on the CPU, each computed by one thread."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

import torch
from torch import Tensor

Stopped = Callable[[], bool]


def even_batches(count: int, most: int, threads: int) -> list[slice]:
    """Cut `count` images into batches of at most `most`, equal ones for all threads.

    Up to `most` images are one batch, which all threads compute.
    """
    if threads > 1 and count > most:
        rounds = -(-count // (most * threads))
        most = -(-count // (rounds * threads))
    return [slice(k, k + most) for k in range(0, count, most)]


def map_batches(task: Callable[[slice, Stopped], Tensor], batches: Sequence[slice],
                threads: int) -> list[Tensor]:
    """[the result of task(batch, stopped) for each batch], `threads` of them at a time.

    A batch of small matrices is computed faster by one thread than by all (docs/performance.md).
    stopped() becomes True after Ctrl-C or an error in another batch: then the result is not used.
    Other threads of the program that use torch for the first time meanwhile keep one CPU thread.
    """
    if min(threads, len(batches)) == 1:
        return [task(batch, lambda: False) for batch in batches]
    before, stop = torch.get_num_threads(), threading.Event()

    def run(batch: slice) -> Tensor | None:
        try:
            return None if stop.is_set() else task(batch, stop.is_set)
        except BaseException:
            stop.set()
            raise

    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        futures: list[Future] = [pool.submit(run, batch) for batch in batches]
        while not stop.is_set() and wait(futures, 0.2, FIRST_EXCEPTION).not_done:
            pass  # short waits: Windows handles Ctrl-C only between them
        return [future.result() for future in futures]
    finally:
        stop.set()
        try:
            pool.shutdown(cancel_futures=True)
        finally:
            torch.set_num_threads(before)  # for threads that start later
