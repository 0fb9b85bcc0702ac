"""Embeddings of the conditioning: timestep and label."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoldm.utils.errors import InputError


class SinusoidalTimeEmbedding(nn.Module):
    """Sines and cosines of t at geometric frequencies (Ho et al. 2020, arXiv 2006.11239).

        freq_i = 10000^(-i / (dim/2 - 1))        i = 0 ... dim/2 - 1
        embedding = [sin(t freq_0), sin(t freq_1), ..., cos(t freq_0), cos(t freq_1), ...]

    t: (B,) integers -> (B, dim). The form is that of Vaswani et al. 2017, section 3.5.
    """

    def __init__(self, dim: int):
        super().__init__()
        if dim % 2 or dim < 4:
            raise InputError(f"the time embedding needs an even width of at least 4, got {dim}")
        exponent = torch.arange(dim // 2, dtype=torch.float64, device="cpu") / (dim // 2 - 1)
        freq = torch.exp(-math.log(10000) * exponent).float()
        self.register_buffer("freq", freq, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angle = t[:, None] * self.freq                                # (B, dim/2)
        return torch.cat((angle.sin(), angle.cos()), dim=-1)          # (B, dim)


class TimeEmbedder(nn.Sequential):
    """Sinusoidal embedding, then an MLP width -> 4 width -> width. t: (B,) -> (B, width)."""

    def __init__(self, width: int):
        super().__init__(SinusoidalTimeEmbedding(width), nn.Linear(width, 4 * width), nn.SiLU(),
                         nn.Linear(4 * width, width))


def learned_vectors(count: int, width: int) -> nn.Parameter:
    """(count, width) from N(0, 0.02^2)."""
    vectors = torch.empty(count, width)
    # normal_ on the meta device, where sizes are compared, would import the compiler: 1.5 s.
    return nn.Parameter(vectors if vectors.is_meta else vectors.normal_(std=0.02))


class LabelEmbedding(nn.Module):
    """A learned vector per label and one for "no label" (Ho and Salimans 2022, arXiv 2207.12598).

    label: (B,) integers in -1 ... labels - 1, -1 = no label -> (B, width). None (no image of the
    batch has a label) -> (1, width).
    """

    def __init__(self, labels: int, width: int):
        super().__init__()
        self.weight = learned_vectors(labels + 1, width)              # row 0: no label

    def forward(self, label: Tensor | None) -> Tensor:
        return self.weight[:1] if label is None else F.embedding(label + 1, self.weight)
