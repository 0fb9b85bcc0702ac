"""What all denoising networks share: their configuration, token embedding and conditioning."""

import math
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from nanoldm.models.embedding import LabelEmbedding, TimeEmbedder, learned_vectors
from nanoldm.utils.errors import InputError, check_choice

POSITIONS = ("rope", "rope+learned")


@dataclass(frozen=True)
class NetworkConfig:
    """Arguments of a denoising network. The defaults are the reference.

    tokens, channels: shape of the latents (B, tokens, channels).
    width, depth, heads, hidden: of the transformer; hidden is the width of the feed-forward layer.
    dropout: probability, in [0, 1).
    labels: how many labels the network can be conditioned on (0: unconditional).
    position: "rope" encodes the distance between tokens. "rope+learned" also adds a learned vector
        to each token, so that the network knows its absolute position.
    patch: the blocks process squares of patch x patch tokens (Peebles and Xie 2023, section 3.2).
    Raises InputError if the tokens cannot be cut into patches.
    """

    tokens: int = 49
    channels: int = 6
    width: int = 128
    depth: int = 4
    heads: int = 4
    hidden: int = 512
    dropout: float = 0.0
    labels: int = 0
    position: str = "rope"
    patch: int = 1

    def __post_init__(self):
        side = math.isqrt(self.tokens)
        if self.patch > 1 and (side**2 != self.tokens or side % self.patch):
            raise InputError(f"{self.tokens} tokens cannot be cut into {self.patch}x{self.patch} "
                             "patches: choose a patch that divides the side of the tokens, or 1")
        check_choice("position embedding", self.position, POSITIONS)

    @property
    def patches(self) -> int:
        """Number of patches, which is the sequence length of the blocks."""
        return self.tokens // self.patch**2


def patchify(x: Tensor, patch: int) -> Tensor:
    """Squares of patch x patch tokens to one token each.

    (B, side^2, channels) -> (B, (side/patch)^2, patch^2 channels)
    """
    if patch == 1:
        return x
    rows = math.isqrt(x.shape[1]) // patch
    x = x.unflatten(1, (rows, patch, rows, patch)).transpose(2, 3)    # (B, rows, rows, p, p, C)
    return x.flatten(3).flatten(1, 2)


def unpatchify(x: Tensor, patch: int) -> Tensor:
    """Inverse of `patchify`: (B, patches, patch^2 channels) -> (B, patch^2 patches, channels)."""
    if patch == 1:
        return x
    rows = math.isqrt(x.shape[1])
    x = x.unflatten(2, (patch, patch, -1)).unflatten(1, (rows, rows))  # (B, rows, rows, p, p, C)
    return x.transpose(2, 3).flatten(1, 4)


def zero_linear(width: int, outputs: int) -> nn.Linear:
    """A linear layer that starts as the zero function."""
    layer = nn.Linear(width, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class DenoisingNetwork(nn.Module):
    """Base of the denoising networks: x_t, t and label to token embeddings and conditioning.

    options: fields of `NetworkConfig`. A subclass adds `blocks`, each with `attention` and `mlp`.
    """

    blocks: nn.ModuleList

    def __init__(self, **options):
        super().__init__()
        shape = NetworkConfig(**options)
        self.config, self.shape, self.patch = asdict(shape), shape, shape.patch
        self.in_proj = nn.Linear(shape.channels * shape.patch**2, shape.width)
        self.time = TimeEmbedder(shape.width)
        self.label = LabelEmbedding(shape.labels, shape.width) if shape.labels else None
        learned = shape.position == "rope+learned"
        self.position = learned_vectors(shape.patches, shape.width) if learned else None

    @property
    def labels(self) -> int:
        """How many labels the network can be conditioned on; 0: unconditional."""
        return self.shape.labels

    def embed_tokens(self, x_t: Tensor) -> Tensor:
        """Noisy latents (B, tokens, channels) -> (B, patches, width)."""
        x = self.in_proj(patchify(x_t, self.patch))
        return x if self.position is None else x + self.position

    def conditioning(self, t: Tensor, label: Tensor | None = None) -> Tensor:
        """The conditioning vector c (B, width).

        t: (B,) or (1,) integers. label: (B,), (1,) or None.
        Raises InputError for a label that an unconditional network cannot use.
        """
        if self.label is None and label is not None:
            raise InputError("this network was trained without labels: leave out the labels")
        return self.time(t) if self.label is None else self.time(t) + self.label(label)

    def matrices(self) -> list[nn.Parameter]:
        """Weight matrices of attention and feed-forward, which Muon orthogonalises."""
        parts = (part for block in self.blocks for part in (block.attention, block.mlp))
        layers = (layer for part in parts for layer in part.modules())
        return [layer.weight for layer in layers if isinstance(layer, nn.Linear)]
