"""Patches: squares of tokens that are one token to the blocks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanoldm.models import NETWORKS
from nanoldm.models.network import patchify, unpatchify
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import seeded

SIZES = dict(channels=3, width=16, depth=2, heads=2, hidden=32, position="rope+learned")


@given(patch=st.integers(1, 4), rows=st.integers(1, 4), channels=st.integers(1, 3))
def test_a_patch_holds_the_tokens_of_its_square_row_by_row(patch, rows, channels):
    side = patch * rows
    x = torch.arange(2 * side**2 * channels).view(2, side**2, channels)
    merged = patchify(x, patch)
    image = x.view(2, side, side, channels)
    patches = merged.view(2, rows, rows, patch, patch, channels)
    for row in range(side):
        for column in range(side):
            there = patches[:, row // patch, column // patch, row % patch, column % patch]
            assert torch.equal(there, image[:, row, column])
    assert torch.equal(unpatchify(merged, patch), x)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_with_patches_is_one_of_fewer_wider_tokens(kind):
    with seeded(1):
        patched = NETWORKS[kind](tokens=16, patch=2, **SIZES)
        plain = NETWORKS[kind](tokens=4, **SIZES | {"channels": 12})
        x_t, t = torch.randn(5, 16, 3), torch.tensor([0, 20, 50, 80, 99])
        for parameter in patched.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    plain.load_state_dict(patched.state_dict())
    torch.testing.assert_close(patched(x_t, t), unpatchify(plain(patchify(x_t, 2), t), 2))
    assert patched(x_t, t).std() > 0.1


@pytest.mark.parametrize(("tokens", "patch"), [(49, 2), (16, 3), (12, 2), (4, 4)])
def test_tokens_that_cannot_be_cut_into_patches_are_an_error(tokens, patch):
    with pytest.raises(InputError,
                       match=f"{tokens} tokens cannot be cut into {patch}x{patch} patches"):
        NETWORKS["DiffusionNet"](tokens=tokens, patch=patch, **SIZES)
