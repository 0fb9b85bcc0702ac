import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nanoldm.models import MHA, DiffusionNet, RoPE, Transformer, TransformerBlock
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator


def randn(*shape, key=0):
    return torch.randn(shape, generator=generator(key))


def rotate_naively(x, base=10000):
    """The specification, pair by pair: x[token, dim] with Python's own cos and sin."""
    rotated, dim = torch.empty_like(x), x.shape[-1]
    for position in range(len(x)):
        for i in range(dim // 2):
            theta = position / base ** (2 * i / dim)
            a, b = x[position, 2 * i].item(), x[position, 2 * i + 1].item()
            rotated[position, 2 * i] = a * math.cos(theta) - b * math.sin(theta)
            rotated[position, 2 * i + 1] = a * math.sin(theta) + b * math.cos(theta)
    return rotated


# RoPE


def test_rope_is_the_specification_pair_by_pair():
    x = randn(2, 3, 49, 8)
    rotated = RoPE(8, 49)(x)
    for batch in range(2):
        for head in range(3):
            torch.testing.assert_close(rotated[batch, head], rotate_naively(x[batch, head]),
                                       atol=1e-5, rtol=0)


def test_rope_rotates_a_shorter_sequence_as_the_beginning_of_a_longer_one():
    rope, x = RoPE(8, 49), randn(49, 8)
    assert torch.equal(rope(x[:10]), rope(x)[:10])


def test_products_of_rotated_queries_and_keys_depend_on_the_distance_only():
    rope, q, k = RoPE(32, 49), randn(32), randn(32, key=1)
    # [i, j]: the same q at position i, the same k at j
    products = rope(q.expand(49, 32)) @ rope(k.expand(49, 32)).T
    torch.testing.assert_close(products[1:, 1:], products[:-1, :-1], atol=1e-4, rtol=0)
    assert products[0].std() > 0.1  # and on the distance they do depend


def test_rope_preserves_the_norm_of_every_pair():
    x = randn(49, 32)
    torch.testing.assert_close(RoPE(32, 49)(x).unflatten(-1, (-1, 2)).norm(dim=-1),
                               x.unflatten(-1, (-1, 2)).norm(dim=-1))


def test_rope_leaves_position_zero_alone():
    x = randn(49, 32)
    assert torch.equal(RoPE(32, 49)(x)[0], x[0])


def test_rope_rejects_an_odd_width():
    with pytest.raises(InputError, match="even"):
        RoPE(7, 49)


# MHA


def test_attention_is_its_formula_on_rotated_queries_and_keys():
    heads, d = 2, 8
    attention, x = MHA(heads * d, heads, tokens=10), randn(1, 10, heads * d)
    w_q, w_k, w_v = attention.qkv.weight.chunk(3)
    b_q, b_k, b_v = attention.qkv.bias.chunk(3)
    q, k, v = x[0] @ w_q.T + b_q, x[0] @ w_k.T + b_k, x[0] @ w_v.T + b_v
    outputs = []
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        scores = rotate_naively(q[:, part]) @ rotate_naively(k[:, part]).T / math.sqrt(d)
        outputs.append(scores.exp() / scores.exp().sum(-1, keepdim=True) @ v[:, part])
    expected = torch.cat(outputs, -1) @ attention.out.weight.T + attention.out.bias
    torch.testing.assert_close(attention(x)[0], expected, atol=1e-5, rtol=0)


def torch_attention(attention, width, heads):
    """torch's own module with the same weights; it knows no positions."""
    theirs = nn.MultiheadAttention(width, heads, batch_first=True)
    theirs.load_state_dict({"in_proj_weight": attention.qkv.weight,
                            "in_proj_bias": attention.qkv.bias,
                            "out_proj.weight": attention.out.weight,
                            "out_proj.bias": attention.out.bias})
    return lambda x: theirs(x, x, x, need_weights=False)[0]


def test_attention_without_its_rotation_is_that_of_torch():
    attention, x = MHA(16, 4, tokens=49), randn(3, 49, 16)
    rotated = attention(x)
    attention.rope = nn.Identity()
    torch.testing.assert_close(attention(x), torch_attention(attention, 16, 4)(x))
    assert (rotated - attention(x)).abs().max() > 1e-3


@pytest.mark.parametrize("tokens", [49, 10])
def test_the_form_for_compiling_is_the_same_attention(tokens, monkeypatch):
    attention, x = MHA(16, 2, tokens=49), randn(3, tokens, 16)
    expected = attention(x)
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: True)
    monkeypatch.setattr(RoPE, "forward", None)  # it is not the readable form
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("kind", [partial(MHA, tokens=4), DiffusionNet, Transformer])
def test_a_width_that_does_not_divide_into_heads_is_an_error(kind):
    with pytest.raises(InputError, match="width 10 is not a multiple of 3 heads"):
        kind(width=10, heads=3)


# TransformerBlock and Transformer


def normalised(x):
    return F.layer_norm(x, x.shape[-1:])


def test_a_block_adds_attention_then_feed_forward_of_the_normalised_tokens():
    block, x = TransformerBlock(16, heads=2, tokens=10, hidden=32), randn(2, 10, 16)
    middle = x + block.attention(normalised(x))
    h = F.gelu(normalised(middle) @ block.mlp[0].weight.T + block.mlp[0].bias)
    torch.testing.assert_close(block(x), middle + h @ block.mlp[2].weight.T + block.mlp[2].bias)


@pytest.mark.parametrize("silent", ["attention.out", "mlp.2"])
def test_dropout_of_a_block_falls_on_each_sublayer(silent):
    """With the other sublayer silent, each element of the change of x is dropped or doubled at p =
    1/2.
    """
    block, x = TransformerBlock(16, heads=2, tokens=10, hidden=32, dropout=0.5), randn(50, 10, 16)
    for parameter in block.get_submodule(silent).parameters():
        nn.init.zeros_(parameter)
    undisturbed = block.eval()(x) - x
    large = undisturbed.abs() > 0.1
    ratio = ((block.train()(x) - x) / undisturbed)[large]
    torch.testing.assert_close(ratio, 2.0 * (ratio > 1), atol=1e-3, rtol=0)
    assert (ratio > 1).float().mean().item() == pytest.approx(
        0.5, abs=5 * 0.5 / math.sqrt(len(ratio))
    )


def small_transformer():
    return Transformer(tokens=9, channels=3, width=16, depth=2, heads=2, hidden=32)


def test_the_plain_transformer_starts_at_zero():
    assert torch.equal(small_transformer()(randn(2, 9, 3), torch.tensor([0, 99])),
                       torch.zeros(2, 9, 3))


def test_the_plain_transformer_adds_the_time_to_the_tokens_once_before_its_blocks():
    network, x, t = small_transformer(), randn(2, 9, 3), torch.tensor([3, 70])
    nn.init.normal_(network.out_proj.weight)
    h = network.in_proj(x) + network.time(t)[:, None, :]
    for block in network.blocks:
        h = block(h)
    torch.testing.assert_close(network(x, t), normalised(h) @ network.out_proj.weight.T)
