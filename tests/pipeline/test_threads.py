"""Batches in threads: the same results in order, and an end when one fails."""

import threading

import pytest
import torch

from nanoldm.pipeline.threads import map_batches
from nanoldm.utils.errors import InputError

BATCHES = [slice(k, k + 2) for k in range(0, 10, 2)]


@pytest.mark.parametrize("threads", [1, 3])
def test_results_are_in_the_order_of_the_batches(threads):
    values, before = torch.arange(10), torch.get_num_threads()
    results = map_batches(lambda batch, stopped: values[batch] ** 2, BATCHES, threads)
    assert torch.equal(torch.cat(results), values**2)
    assert torch.get_num_threads() == before


def test_each_batch_has_one_thread_and_as_many_run_as_there_are_threads():
    barrier, seen = threading.Barrier(2, timeout=10), []

    def task(batch, stopped):
        barrier.wait()  # fails unless two run at a time
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return torch.zeros(1)

    map_batches(task, BATCHES[:4], threads=2)
    assert {count for _, count in seen} == {1}
    assert threading.get_ident() not in {thread for thread, _ in seen}


def test_after_an_error_the_other_batches_stop():
    failed, ended = threading.Event(), []

    def task(batch, stopped):
        if batch.start == 0:
            failed.set()
            raise InputError("this batch is wrong")
        failed.wait(timeout=10)
        while not stopped():
            pass
        ended.append(batch.start)

    with pytest.raises(InputError, match="this batch is wrong"):
        map_batches(task, BATCHES, threads=2)
    assert set(ended) <= {2, 4}  # those that ran, and not all others
