"""Two layers written so that torch.compile fuses them better. Same results: a test compares them.

docs/performance.md has the times.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """F.linear(x, weight, bias) with the bias apart: it is fused with what comes next."""
    y = F.linear(x, weight)
    return y + bias.to(y.dtype)


class Linear(nn.Linear):
    """nn.Linear with a bias, which compiles as `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return linear(x, self.weight, self.bias)
        return super().forward(x)


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, tokens, 3 width) -> q, k, v, each (B, heads, tokens, d)."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    return q, k, v


def compiled_qkv(x: Tensor, layer: nn.Linear, heads: int,
                 rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated q, rotated k, and v of x (B, tokens, width), each (B, heads, tokens, d).

    In q and k, the even channels of a head come before the odd ones. q k^T does not depend on the
    order of the channels, and RoPE becomes real products of contiguous halves: torch.compile has no
    complex products, and no vector instructions for pairs.
    layer: makes q, k and v. rotation: of RoPE, (tokens, d/2, 2), cos and sin.
    """
    weight, bias = (even_first(rows, heads) for rows in (layer.weight, layer.bias))
    q, k, v = split_heads(linear(x, weight, bias), heads)
    cos, sin = rotation[: x.shape[1]].unbind(-1)                      # (tokens, d/2) each
    return rotate_halves(q, cos, sin), rotate_halves(k, cos, sin), v


def even_first(qkv: Tensor, heads: int) -> Tensor:
    """Reorder the rows of a weight (3 width, width) or bias (3 width,): even ones of a head first.

    The rows of v stay.
    """
    q, k, v = qkv.chunk(3)
    q, k = (rows.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2) for rows in (q, k))
    return torch.cat((q, k, v))


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = x.chunk(2, dim=-1)                                    # (..., tokens, d/2) each
    return torch.cat((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
