"""How a network hears which noise level it is looking at."""

import math

import torch
from torch import Tensor, nn

from nanoldm.errors import InputError


class SinusoidalTimeEmbedding(nn.Module):
    """A timestep as sines and cosines of geometrically spaced frequencies (Ho et al. 2020, after Vaswani et al. 2017, section 3.5).

        freq_i = 10000^(-i / (dim/2 - 1))        i = 0 ... dim/2 - 1
        embedding = [sin(t freq_0), ..., sin(t freq_dim/2-1), cos(t freq_0), ..., cos(t freq_dim/2-1)]

    t: (B,) integers -> (B, dim).
    """

    def __init__(self, dim: int):
        super().__init__()
        if dim % 2 or dim < 4:
            raise InputError(f"the time embedding needs an even width of at least 4, got {dim}")
        exponent = torch.arange(dim // 2, dtype=torch.float64) / (dim // 2 - 1)
        self.register_buffer("freq", torch.exp(-math.log(10000) * exponent).float(), persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        angle = t[:, None] * self.freq                                                        # (B, dim/2)
        return torch.cat((angle.sin(), angle.cos()), dim=-1)                                  # (B, dim)


class TimeEmbedder(nn.Sequential):
    """Timestep -> conditioning vector c: the sinusoids, then a learned MLP width -> 4 width -> width. t: (B,) -> (B, width)."""

    def __init__(self, width: int):
        super().__init__(SinusoidalTimeEmbedding(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
