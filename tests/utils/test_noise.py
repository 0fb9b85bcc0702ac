"""The portable generator gives known numbers."""

import math

import numpy as np
import pytest

from nanoldm.utils.noise import philox, portable_choice, portable_normals


def test_the_words_are_those_of_the_authors_of_philox():
    """Random123's own known answers (kat_vectors)."""
    for counter, key, expected in [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0],
         [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    ]:
        assert philox(np.array([counter]), key)[0].tolist() == expected


def test_normals_are_those_of_box_and_muller():
    """Of the words that the authors of Philox give for the counter and key 0."""
    a, b, c, d = (word / 2**32 for word in (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8))
    pairs = [(math.sqrt(-2 * math.log(u)), 2 * math.pi * v) for u, v in ((a, b), (c, d))]
    expected = [r * wave(angle) for r, angle in pairs for wave in (math.cos, math.sin)]
    assert portable_normals(0, 0, 4) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", [7, 2**32 + 5, 2**63 - 1])
def test_seed_draw_and_position_are_the_key_and_the_counter(seed):
    key = [seed % 2**32, seed // 2**32]
    bits = philox(np.array([[2, 3, 0, 0]]), key)[0] / 2**32
    value = math.sqrt(-2 * math.log(bits[2])) * math.sin(2 * math.pi * bits[3])
    assert portable_normals(seed, 3, 12)[11] == pytest.approx(value, rel=1e-6)
    label = philox(np.array([[0, 0, 1, 0]]), key)[0, 0]
    assert portable_choice(seed, 10) == 10 * int(label) // 2**32
