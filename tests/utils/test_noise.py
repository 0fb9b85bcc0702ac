"""The portable generator gives known numbers."""

import numpy as np
import pytest

from nanoldm.utils.noise import philox, portable_choice, portable_normals

NORMALS = [0.000291567417, -0.304846986, 1.78875732, 1.06787252]
LABELS = [5, 0, 8, 2, 9, 3, 8, 4]


def test_the_words_are_those_of_the_authors_of_philox():
    """Random123's own known answers (kat_vectors)."""
    for counter, key, expected in [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0],
         [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
    ]:
        assert philox(np.array([counter]), key)[0].tolist() == expected


def test_the_normals_are_these():
    """Written down once: a change on both sides would change all images."""
    assert portable_normals(7, 0, 4) == pytest.approx(NORMALS, rel=1e-6)
    assert [portable_choice(seed, 10) for seed in range(8)] == LABELS
