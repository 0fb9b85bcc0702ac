"""Where the noise of an image comes from: torch's generator, or one that browsers have too.

The portable generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3") with the method of Box and Muller. page/static/noise.js is the same in JavaScript.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from nanoldm.utils.seeding import Stream, generator

Noise = Callable[[Sequence[int]], Tensor]  # shape -> the next numbers from N(0, 1), float32
MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
WORD = np.uint64(0xFFFFFFFF)


def philox(counter: np.ndarray, key: Sequence[int]) -> np.ndarray:
    """Ten rounds of Philox4x32: counters (N, 4) and a key of two words -> (N, 4), all uint32."""
    a, b, c, d = counter.astype(np.uint64).T
    k0, k1 = (np.uint64(word) for word in key)
    for _ in range(10):
        first, second = a * np.uint64(MULTIPLIERS[0]), c * np.uint64(MULTIPLIERS[1])
        a, b = (second >> np.uint64(32)) ^ b ^ k0, second & WORD
        c, d = (first >> np.uint64(32)) ^ d ^ k1, first & WORD
        k0, k1 = (k0 + np.uint64(WEYL[0])) & WORD, (k1 + np.uint64(WEYL[1])) & WORD
    return np.stack((a, b, c, d), axis=1).astype(np.uint32)


def words(seed: int) -> tuple[int, int]:
    """The lower and the upper 32 bits of a seed."""
    return seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF


def portable_normals(seed: int, draw: int, count: int) -> np.ndarray:
    """Draw number `draw` of a seed: (count,) from N(0, 1), float32.

    Four words make four numbers, two pairs of sqrt(-2 ln u) (cos, sin)(2 pi v). Element k is in
    the block of counter (k // 4, draw, 0, 0). Computed in float64, then rounded.
    """
    blocks = np.arange(-(-count // 4))
    counter = np.stack((blocks, np.full_like(blocks, draw), 0 * blocks, 0 * blocks), axis=1)
    bits = philox(counter, words(seed)).astype(np.float64)
    radius = np.sqrt(-2 * np.log((bits[:, 0::2] + 1) / 2**32))
    angle = 2 * np.pi * (bits[:, 1::2] / 2**32)
    pairs = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=2)
    return pairs.reshape(-1)[:count].astype(np.float32)


def portable_choice(seed: int, count: int) -> int:
    """A whole number from 0 to count - 1, uniformly: the label of an image."""
    bits = philox(np.array([[0, 0, Stream.LABEL, 0]]), words(seed))[0, 0]
    return int(float(bits) / 2**32 * count)


class PortableNoise:
    """The noise of a seed: each call is the next draw."""

    def __init__(self, seed: int):
        self.seed, self.draws = seed, 0

    def __call__(self, shape: Sequence[int]) -> Tensor:
        values = portable_normals(self.seed, self.draws, int(np.prod(shape)))
        self.draws += 1
        return torch.from_numpy(values).reshape(*shape)


def torch_noise(seed: int) -> Noise:
    return partial(torch.randn, generator=generator(seed))


def torch_choice(seed: int, count: int) -> int:
    return int(torch.randint(count, (), generator=generator(seed, Stream.LABEL)))


# name -> (the noise of a seed, the label of a seed)
GENERATORS = {"torch": (torch_noise, torch_choice), "portable": (PortableNoise, portable_choice)}
