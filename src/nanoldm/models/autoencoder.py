"""The convolutional autoencoder: images to a short sequence of latent tokens and back."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoldm.utils.errors import InputError


def token_side(image_size: int, levels: int) -> int:
    """Side of the square of tokens that an image becomes: halved `levels` times, rounded up."""
    return math.ceil(image_size / 2**levels)


class ConvAE(nn.Module):
    """A plain (not variational) autoencoder: images (B, C, S, S) <-> tokens (B, tokens, channels).

    Each of `levels` convolutions halves the side and rounds up (28 -> 14 -> 7 -> 4). The hidden
    layers have hidden_channels, 2 hidden_channels, ... channels. The defaults are the reference:
    28x28 grey images, 49 tokens of 6 channels.

    The autoencoder owns the statistics of its latents. `encode` returns normalised tokens and
    `decode` expects them:

        tokens = (z - latent_mean) / latent_std        per channel

    latent_mean is 0 and latent_std is 1 until `set_statistics` is called.
    Raises InputError for a side that is not a multiple of 4, and for too many levels.
    """

    def __init__(self, image_size: int = 28, image_channels: int = 1, hidden_channels: int = 32,
                 latent_channels: int = 6, levels: int = 2):
        super().__init__()
        if image_size < 4 or image_size % 4:
            raise InputError(f"image size {image_size} is not a multiple of 4: "
                             f"choose {max(4, round(image_size / 4) * 4)}")
        if 2 ** (levels - 1) >= image_size:
            raise InputError(f"{levels} levels are too many for images of "
                             f"{image_size}x{image_size}: "
                             f"choose at most {math.ceil(math.log2(image_size))}")
        self.config = dict(image_size=image_size, image_channels=image_channels,
                           hidden_channels=hidden_channels, latent_channels=latent_channels,
                           levels=levels)
        sides = [token_side(image_size, level) for level in range(levels + 1)]
        self.grid, self.latent_channels = sides[-1], latent_channels
        hidden = [hidden_channels * 2**k for k in range(levels - 1)]
        channels = [image_channels, *hidden, latent_channels]
        # A kernel of 4 halves an even side, a kernel of 3 halves an odd side and rounds up.
        shapes = [dict(kernel_size=4 - side % 2, stride=2, padding=1) for side in sides[:-1]]
        layers = list(zip(channels[:-1], channels[1:], shapes, strict=True))
        down, up = [], []
        for a, b, shape in layers:
            down += [nn.Conv2d(a, b, **shape), nn.ReLU()]
        for a, b, shape in reversed(layers):
            up += [nn.ConvTranspose2d(b, a, **shape), nn.ReLU()]
        # Latents and logits have no ReLU: each half ends with its last convolution.
        self.encoder, self.decoder = nn.Sequential(*down[:-1]), nn.Sequential(*up[:-1])
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    @property
    def tokens(self) -> int:
        """Number of tokens of an image."""
        return self.grid**2

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(tokens, channels) of an image."""
        return self.tokens, self.latent_channels

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, S, S) in [0, 1] -> normalised tokens (B, tokens, channels), row by row."""
        return self.normalise(self.encode_raw(images))

    def encode_raw(self, images: Tensor) -> Tensor:
        """Images (B, C, S, S) in [0, 1] -> tokens (B, tokens, channels) before normalisation."""
        z = self.encoder(images)                                      # (B, channels, grid, grid)
        return z.flatten(2).transpose(1, 2)                           # (B, tokens, channels)

    def normalise(self, tokens: Tensor) -> Tensor:
        """Raw tokens (B, tokens, channels) -> normalised tokens, same shape."""
        return (tokens - self.latent_mean) / self.latent_std

    def decode(self, tokens: Tensor) -> Tensor:
        """Normalised tokens (B, tokens, channels) -> logits of the pixels (B, C, S, S)."""
        z = tokens * self.latent_std + self.latent_mean               # (B, tokens, channels)
        return self.decoder(z.transpose(1, 2).unflatten(2, (self.grid, self.grid)))

    def forward(self, images: Tensor) -> Tensor:
        """Images in [0, 1] -> logits of their reconstruction."""
        return self.decode(self.encode(images))

    @torch.no_grad()
    def set_statistics(self, tokens: Tensor) -> None:
        """Set latent_mean and latent_std from raw tokens (N, tokens, channels)."""
        tokens = tokens.cpu().double()                                # Apple GPUs have no float64
        self.latent_mean.copy_(tokens.mean((0, 1)))
        # A constant channel must not divide by 0.
        self.latent_std.copy_(tokens.std((0, 1))).clamp_(min=1e-6)

    def tokens_covering(self, pixels: Tensor) -> Tensor:
        """Tokens that depend on any of `pixels`: bool (B, 1, S, S) -> bool (B, tokens, 1)."""
        covered = pixels.float()
        for layer in self.encoder[::2]:                               # the convolutions
            covered = F.max_pool2d(F.pad(covered, [1] * 4), layer.kernel_size, layer.stride)
        return covered.flatten(1)[..., None] > 0


class ReconstructionLoss(nn.Module):
    """Binary cross-entropy per pixel of a reconstruction. image: (B, C, S, S) -> scalar."""

    def __init__(self, autoencoder: ConvAE):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, image: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.autoencoder(image), image)
