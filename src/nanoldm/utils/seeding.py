"""Random streams that depend only on a key, and the keys of all streams."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from nanoldm.utils.distributed import WHOLE, Part

# Bytes of a CPU generator's state with the 624 words of the Mersenne Twister, 8 bytes each
STATE = slice(24, 24 + 8 * 624)
_part = WHOLE  # of the batch, inside `seeded`


class Stream:
    """The second part of every key. Two purposes may share a number if their keys differ elsewhere.

    | key                                      | purpose                                   |
    | ---------------------------------------- | ----------------------------------------- |
    | (image seed,)                            | x_T of an image, then its sampling noise  |
    | (image seed, LABEL)                      | its label or cluster                      |
    | (run seed, AUTOENCODER), (.., DENOISER)  | the seed of a stage                       |
    | (run seed, stage, INITIAL_WEIGHTS)       | initial weights of a stage                |
    | (run seed, TEST_LOSS)                    | timesteps and noise of the test loss      |
    | (0, TEST_LOSS, 1)                        | noise of the denoising error              |
    | (stage seed, ORDER, epoch)               | order of the data                         |
    | (stage seed, NOISE, step)                | timesteps, noise and label dropout        |
    | (stage seed, DROPOUT, step)              | dropout of the network                    |
    | (seed, FEATURE_WEIGHTS)                  | initial weights of a feature network      |
    | (seed, AUGMENTATION, step)               | augmentation for the feature networks     |
    | (seed, 0, FLOORS), (.., SCORE_IMAGES)    | real images and noise of an evaluation    |
    | (0, 0, BATCHES), (.., EQUAL), (.., SCORE_SAMPLES) | order of the samples             |
    | (0,)                                     | which images are held out (holdout)       |
    | (0, timestep)                            | noise of `doctor`                         |
    """

    LABEL = 1
    AUTOENCODER, DENOISER, TEST_LOSS, INITIAL_WEIGHTS = 0, 1, 2, 3
    ORDER, NOISE, DROPOUT, AUGMENTATION = 0, 1, 2, 2
    FEATURE_WEIGHTS = 0
    FLOORS, SCORE_IMAGES, BATCHES, EQUAL, SCORE_SAMPLES = 1, 2, 3, 4, 5


def generator(*key: int) -> torch.Generator:
    """A CPU generator for the stream `key`: integers from 0 on, such as (seed, Stream.NOISE, step).

    NumPy's SeedSequence hashes the key to 128 bits, which fill the whole state of the generator.
    (`manual_seed` alone uses 32 bits: two of 100,000 seeds would share a stream.) SeedSequence
    ignores trailing zeros: keys of one purpose have one length.
    """
    words = np.random.SeedSequence(key)
    stream = torch.Generator().manual_seed(int(words.generate_state(1, np.uint64)[0]))
    state = stream.get_state()
    state.numpy()[STATE].view(np.uint64)[:] = np.random.PCG64(words).random_raw(312).view(np.uint32)
    stream.set_state(state)
    return stream


@contextmanager
def seeded(*key: int, device: torch.device | str = "cpu", part: Part = WHOLE) -> Iterator[None]:
    """Set torch's global random state on the CPU and on `device` to the stream `key`.

    The state is restored afterwards. Other GPUs are not changed.
    part: of the batch that is computed meanwhile, for `bernoulli`.
    """
    global _part
    kind, stream, before = torch.device(device).type, generator(*key), _part
    with torch.random.fork_rng([device] if kind == "cuda" else []):
        if kind != "cpu":
            torch.manual_seed(stream.initial_seed())
        torch.default_generator.set_state(stream.get_state())
        _part = part
        try:
            yield
        finally:
            _part = before


def bernoulli(x: Tensor, p: float) -> Tensor:
    """1 with probability p, else 0, for each element of x (B, ...).

    If x is a part of a batch (`seeded`), the numbers are those of the whole batch, cut: they do not
    depend on the number of parts.
    """
    whole = x.new_empty(len(x) * _part.count, *x.shape[1:]).bernoulli_(p)
    # A copy: a view would keep the numbers of the other parts in memory.
    return whole if _part.count == 1 else whole[_part.rows(len(whole))].clone()
