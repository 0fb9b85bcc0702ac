"""LayerNorm, Dropout, RoPE, MHA from first principles; the plain Transformer as a baseline."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoldm.models.compiled import Linear, compiled_qkv, split_heads
from nanoldm.models.network import DenoisingNetwork, unpatchify, zero_linear
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import bernoulli


class LayerNorm(nn.Module):
    """Normalise the last axis, then scale and shift (Ba et al. 2016, arXiv 1607.06450, eq. 4).

        y = gamma (x - mean(x)) / sqrt(var(x) + eps) + beta        var: the biased variance

    affine: False leaves out gamma and beta, because AdaLN supplies them.
    """

    def __init__(self, width: int, affine: bool = True, eps: float = 1e-5):
        super().__init__()
        self.width, self.eps = width, eps
        self.gamma = nn.Parameter(torch.ones(width)) if affine else None
        self.beta = nn.Parameter(torch.zeros(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        # The fused kernel of the formula above: one pass over x. tests/models/test_norm.py ties the
        # two together.
        return F.layer_norm(x, (self.width,), self.gamma, self.beta, self.eps)


class Dropout(nn.Module):
    """Zero each element with probability p, scale the rest by 1 / (1 - p) (Srivastava et al. 2014).

    The identity in eval mode.
    """

    def __init__(self, p: float = 0.0):
        super().__init__()
        if not 0 <= p < 1:
            raise InputError(f"dropout must be in [0, 1), got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return x * bernoulli(x, 1 - self.p) / (1 - self.p)


class RoPE(nn.Module):
    """Rotary position embedding: rotate each pair of channels by an angle that grows with position.

        theta_i = position / base^(2i/dim)
        y_2i   = x_2i cos theta_i - x_2i+1 sin theta_i
        y_2i+1 = x_2i sin theta_i + x_2i+1 cos theta_i

    The product of a rotated query and a rotated key depends only on the distance between their
    positions (Su et al. 2021, arXiv 2104.09864, eq. 34).
    """

    def __init__(self, dim: int, tokens: int, base: float = 10000.0):
        super().__init__()
        if dim % 2:
            raise InputError(f"RoPE rotates pairs: choose an even width of a head, got {dim}")
        options = dict(dtype=torch.float64, device="cpu")
        frequency = base ** (-torch.arange(0, dim, 2, **options) / dim)
        position = torch.arange(tokens, **options)[:, None]
        theta = position * frequency                                  # (tokens, dim/2)
        rotation = torch.stack((theta.cos(), theta.sin()), -1).float()
        self.register_buffer("rotation", rotation, persistent=False)  # (tokens, dim/2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., tokens, dim), token k at position k -> the same shape, rotated."""
        # A rotation of a pair is a complex product with e^(i theta). This single kernel makes the
        # training step 1.1 times as fast as four real products (benchmarks/forms.py).
        # Complex numbers have no bfloat16: autocast on a GPU gives it, that on a CPU does not.
        pairs, rotation = (torch.view_as_complex(part) for part in
                           (x.float().unflatten(-1, (-1, 2)), self.rotation[: x.shape[-2]]))
        return torch.view_as_real(pairs * rotation).flatten(-2)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V without a mask (Vaswani et al. 2017, arXiv 1706.03762, eq. 1).

    q, k, v: (..., tokens, d) -> the same shape.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)  # one fused kernel
    # On a CPU with oneDNN the fused kernel is three times slower (docs/performance.md).
    weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1)   # (..., tokens, tokens)
    return weights @ v


class MHA(nn.Module):
    """Multi-head self-attention with RoPE on queries and keys. (B, tokens, width) -> same shape."""

    def __init__(self, width: int, heads: int, tokens: int):
        super().__init__()
        if heads < 1 or width % heads:
            raise InputError(f"width {width} is not a multiple of {heads} heads: choose a multiple")
        self.heads = heads
        self.rope = RoPE(width // heads, tokens)
        self.qkv = Linear(width, 3 * width)                           # W_q, W_k and W_v stacked
        self.out = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            q, k, v = compiled_qkv(x, self.qkv, self.heads, self.rope.rotation)
        else:
            q, k, v = split_heads(self.qkv(x), self.heads)            # (B, heads, tokens, d) each
            q, k = self.rope(q), self.rope(k)
        x = attention(q, k, v)                                        # (B, heads, tokens, d)
        return self.out(x.transpose(1, 2).flatten(2))                 # (B, tokens, width)


def feed_forward(width: int, hidden: int) -> nn.Sequential:
    """Linear -> GELU -> Linear, applied to each token."""
    return nn.Sequential(Linear(width, hidden), nn.GELU(), Linear(hidden, width))


class TransformerBlock(nn.Module):
    """The pre-norm block without conditioning.

        x = x + attention(norm1(x))
        x = x + mlp(norm2(x))
    """

    def __init__(self, width: int, heads: int, tokens: int, hidden: int, dropout: float = 0.0):
        super().__init__()
        self.norm1, self.attention = LayerNorm(width), MHA(width, heads, tokens)
        self.norm2, self.mlp = LayerNorm(width), feed_forward(width, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Transformer(DenoisingNetwork):
    """The baseline of the specification: the time embedding is added to the tokens once.

    Same arguments, inputs and output as `DiffusionNet`.
    """

    def __init__(self, **options):
        super().__init__(**options)
        s = self.shape
        self.blocks = nn.ModuleList(TransformerBlock(s.width, s.heads, s.patches, s.hidden,
                                                     s.dropout) for _ in range(s.depth))
        self.norm = LayerNorm(s.width)
        self.out_proj = zero_linear(s.width, s.channels * s.patch**2)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        c = self.conditioning(t, label)                               # (B, width)
        x = self.embed_tokens(x_t) + c[:, None]                       # (B, patches, width)
        for block in self.blocks:
            x = block(x)
        return unpatchify(self.out_proj(self.norm(x)), self.patch)    # (B, tokens, channels)
