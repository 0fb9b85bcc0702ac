"""What a network is told beside the noisy tokens: noise level, class, and where each token lies."""

import math

import torch
from torch import Tensor, nn

from nanoldm.utils.errors import InputError


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


class LabelEmbedding(nn.Embedding):
    """A learned vector for each class, and one for "no label" (Ho and Salimans 2022, arXiv 2207.12598, section 3.2).

    label: (B,) integers in -1 ... classes - 1, -1 = no label, -> (B, width); None, for a batch without labels, -> (1, width).
    """

    def __init__(self, classes: int, width: int):
        super().__init__(classes + 1, width)                                                  # row 0: no label
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, label: Tensor | None) -> Tensor:
        return self.weight[:1] if label is None else super().forward(label + 1)


POSITIONS = ("rope", "rope+learned")


def merge(x: Tensor, patch: int) -> Tensor:
    """Squares of patch x patch tokens, each as one: (B, side^2, channels) -> (B, (side/patch)^2, patch^2 channels)."""
    if patch == 1:
        return x
    rows = math.isqrt(x.shape[1]) // patch
    return x.unflatten(1, (rows, patch, rows, patch)).transpose(2, 3).flatten(3).flatten(1, 2)


def split(x: Tensor, patch: int) -> Tensor:
    """The inverse of `merge`: (B, patches, patch^2 channels) -> (B, patch^2 patches, channels)."""
    if patch == 1:
        return x
    rows = math.isqrt(x.shape[1])
    return x.unflatten(2, (patch, patch, -1)).unflatten(1, (rows, rows)).transpose(2, 3).flatten(1, 4)


class TokenNetwork(nn.Module):
    """What all denoising networks have in common: their settings, and how they read x_t, t and the label.

    classes: how many labels the network knows (0: none, and then it takes none). cells: instead, the number of cells of the latent space
    (`training.latent_cells`), which it is told as if they were labels. position: "rope" knows only how far apart two tokens
    are; "rope+learned" also adds a learned vector to each token, so that the network knows where in the image it is. patch: the blocks
    see squares of patch x patch tokens, each as one (DiT's patch size: Peebles and Xie 2023, arXiv 2212.09748, section 3.2). Raises
    InputError where the tokens are no square of such squares.
    """

    def __init__(self, tokens: int, channels: int, width: int, depth: int, heads: int, hidden: int, dropout: float, classes: int,
                 position: str, patch: int, cells: int):
        super().__init__()
        side = math.isqrt(tokens)
        if patch > 1 and (side**2 != tokens or side % patch):
            raise InputError(f"{tokens} tokens are no square of {patch}x{patch} patches: choose a patch that divides its side, or 1")
        if classes and cells:
            raise InputError(f"a network is told either labels ({classes} classes) or cells ({cells}): leave one of them out")
        if position not in POSITIONS:
            raise InputError(f"unknown position embedding {position!r}: choose one of {', '.join(POSITIONS)}")
        self.config = dict(tokens=tokens, channels=channels, width=width, depth=depth, heads=heads, hidden=hidden, dropout=dropout,
                           classes=classes, position=position, patch=patch, cells=cells)
        self.classes, self.cells, self.patch = classes, cells, patch
        self.patches = tokens // patch**2
        self.in_proj = nn.Linear(channels * patch**2, width)
        self.time = TimeEmbedder(width)
        self.label = LabelEmbedding(classes or cells, width) if classes or cells else None
        self.position = nn.Parameter(0.02 * torch.randn(self.patches, width)) if position == "rope+learned" else None

    def read_tokens(self, x_t: Tensor) -> Tensor:
        """x_t: (B, tokens, channels) -> (B, patches, width)."""
        x = self.in_proj(merge(x_t, self.patch))
        return x if self.position is None else x + self.position

    def condition(self, t: Tensor, label: Tensor | None = None) -> Tensor:
        """The conditioning vector c (B, width) of t: (B,) or (1,) and label: (B,), (1,) or None. Raises InputError for labels of a
        network that knows none."""
        if self.label is None and label is not None:
            raise InputError("this network was trained without labels and takes none: leave them out")
        return self.time(t) if self.label is None else self.time(t) + self.label(label)
