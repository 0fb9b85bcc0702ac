"""Transformer parts written out (LayerNorm, Dropout, RoPE, MHA), and the plain Transformer as a baseline denoiser."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoldm.models.embedding import TokenNetwork, split
from nanoldm.utils.errors import InputError


class LayerNorm(nn.Module):
    """Normalise the last axis to mean 0 and variance 1, then scale and shift (Ba et al. 2016, arXiv 1607.06450, eq. 4).

        y = gamma (x - mean(x)) / sqrt(var(x) + eps) + beta        var is the biased variance

    `affine=False` leaves gamma and beta out: AdaLN supplies its own.
    """

    def __init__(self, width: int, affine: bool = True, eps: float = 1e-5):
        super().__init__()
        self.width, self.eps = width, eps
        self.gamma = nn.Parameter(torch.ones(width)) if affine else None
        self.beta = nn.Parameter(torch.zeros(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        # The fused kernel of the formula above: one pass over x. tests/models/test_norm.py ties the two together.
        return F.layer_norm(x, (self.width,), self.gamma, self.beta, self.eps)


class Dropout(nn.Module):
    """Zero each element with probability p and scale the rest by 1 / (1 - p); the identity in eval mode (Srivastava et al. 2014)."""

    def __init__(self, p: float = 0.0):
        super().__init__()
        if not 0 <= p < 1:
            raise InputError(f"dropout must be in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.empty_like(x).bernoulli_(1 - self.p)
        return x * keep / (1 - self.p)


class RoPE(nn.Module):
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864, eq. 34): rotate each adjacent pair by an angle that grows with position.

        theta_i = position / base^(2i/dim)
        (x_2i, x_2i+1) -> (x_2i cos theta_i - x_2i+1 sin theta_i,  x_2i sin theta_i + x_2i+1 cos theta_i)

    The product of a rotated query and a rotated key then depends only on the distance between their positions.
    """

    def __init__(self, dim: int, tokens: int, base: float = 10000.0):
        super().__init__()
        if dim % 2:
            raise InputError(f"RoPE rotates pairs: the width of a head must be even, got {dim}")
        frequency = base ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        theta = torch.arange(tokens, dtype=torch.float64)[:, None] * frequency                # (tokens, dim/2)
        self.register_buffer("rotation", torch.polar(torch.ones_like(theta), theta).to(torch.complex64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., tokens, dim), token k at position k -> the same shape, rotated."""
        # A pair is a complex number and a rotation a product with e^(i theta). One kernel: 1.1x for the whole training step
        # over the four products written out (benchmarks/forms.py).
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)))                               # (..., tokens, dim/2)
        return torch.view_as_real(pairs * self.rotation[: x.shape[-2]]).flatten(-2)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V, no mask (Vaswani et al. 2017, arXiv 1706.03762, eq. 1). q, k, v: (..., tokens, d) -> the same shape."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v)      # one kernel, which is what a GPU waits for
    # On the CPU the fused kernel gains nothing, and takes three times as long where nanoldm.utils.device has put oneDNN to work
    # (benchmarks/RESULTS.md).
    weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1)                     # (..., tokens, tokens)
    return weights @ v


class MHA(nn.Module):
    """Multi-head self-attention with RoPE on queries and keys."""

    def __init__(self, width: int, heads: int, tokens: int):
        super().__init__()
        if heads < 1 or width % heads:
            raise InputError(f"width {width} does not divide into {heads} heads: choose a multiple")
        self.heads = heads
        self.rope = RoPE(width // heads, tokens)
        self.qkv = nn.Linear(width, 3 * width)      # W_q, W_k and W_v stacked: one product instead of three
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))                                  # (B, tokens, 3, heads, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)                                                  # (B, heads, tokens, d) each
        x = attention(self.rope(q), self.rope(k), v)                                          # (B, heads, tokens, d)
        return self.out(x.transpose(1, 2).flatten(2))                                         # (B, tokens, width)


def feed_forward(width: int, hidden: int) -> nn.Sequential:
    """Linear -> GELU -> Linear, token by token."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


def zero_linear(width: int, outputs: int) -> nn.Linear:
    """A linear layer that starts as the zero function: the output of a network (first epsilon loss = 1) and AdaLN-Zero's modulation."""
    layer = nn.Linear(width, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class TransformerBlock(nn.Module):
    """The pre-norm block without conditioning: x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, width: int, heads: int, tokens: int, hidden: int, dropout: float = 0.0):
        super().__init__()
        self.norm1, self.attention = LayerNorm(width), MHA(width, heads, tokens)
        self.norm2, self.mlp = LayerNorm(width), feed_forward(width, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Transformer(TokenNetwork):
    """The baseline that the specification warns about: the time embedding is added to the tokens once, before plain blocks.

    Same face as `DiffusionNet`: x_t (B, tokens, channels), t (B,) or (1,) integers, label (B,) or None -> (B, tokens, channels).
    """

    def __init__(self, tokens: int = 49, channels: int = 6, width: int = 128, depth: int = 4, heads: int = 4,
                 hidden: int = 512, dropout: float = 0.0, classes: int = 0, position: str = "rope", patch: int = 1,
                 cells: int = 0):
        super().__init__(tokens, channels, width, depth, heads, hidden, dropout, classes, position, patch, cells)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, self.patches, hidden, dropout) for _ in range(depth))
        self.norm = LayerNorm(width)
        self.out_proj = zero_linear(width, channels * patch**2)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        x = self.read_tokens(x_t) + self.condition(t, label)[:, None]                         # (B, tokens, width)
        for block in self.blocks:
            x = block(x)
        return split(self.out_proj(self.norm(x)), self.patch)                                 # (B, tokens, channels)
