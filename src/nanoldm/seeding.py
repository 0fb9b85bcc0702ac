"""Random streams that depend on a key and on nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def generator(*key: int) -> torch.Generator:
    """A CPU generator for the stream named `key` (integers from 0 on), such as `(seed, stage, step)`.

    The key is hashed by NumPy's SeedSequence, because `manual_seed` keeps only the low 32 bits of its argument: packing
    several numbers into one would make streams collide. Keys of different lengths may name the same stream, since
    SeedSequence ignores zeros at the end: one purpose, one length.
    """
    return torch.Generator().manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))


@contextmanager
def seeded(*key: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Give code that draws from torch's global state on the CPU (initial weights) and on `device` (dropout) the stream `key`; afterwards
    the state is put back. Other GPUs are not touched: they may belong to somebody else."""
    kind = torch.device(device).type
    with torch.random.fork_rng([device] if kind == "cuda" else []):
        (torch.default_generator.manual_seed if kind == "cpu" else torch.manual_seed)(generator(*key).initial_seed())
        yield
