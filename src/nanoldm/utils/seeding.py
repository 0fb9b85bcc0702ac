"""Random streams that depend on a key and on nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

STATE = slice(24, 24 + 8 * 624)     # bytes of a CPU generator's state that hold the 624 words of the Mersenne Twister, 8 bytes each


def generator(*key: int) -> torch.Generator:
    """A CPU generator for the stream named `key` (integers from 0 on), such as `(seed, stage, step)`.

    NumPy's SeedSequence hashes the key to 128 bits, and these fill the generator's whole state: `manual_seed` alone would keep 32 bits,
    and of 100,000 seeds two would share a stream. Its `initial_seed` has 64 bits. Keys of different lengths may name the same stream, since
    SeedSequence ignores zeros at the end: one purpose, one length.
    """
    words = np.random.SeedSequence(key)
    stream = torch.Generator().manual_seed(int(words.generate_state(1, np.uint64)[0]))
    state = stream.get_state()
    state.numpy()[STATE].view(np.uint64)[:] = np.random.PCG64(words).random_raw(312).view(np.uint32)
    stream.set_state(state)
    return stream


@contextmanager
def seeded(*key: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Give code that draws from torch's global state on the CPU (initial weights) and on `device` (dropout) the stream `key`; afterwards
    the state is put back. Other GPUs are not touched: they may belong to somebody else."""
    kind, stream = torch.device(device).type, generator(*key)
    with torch.random.fork_rng([device] if kind == "cuda" else []):
        if kind != "cpu":
            torch.manual_seed(stream.initial_seed())
        torch.default_generator.set_state(stream.get_state())
        yield
