"""The convolutional autoencoder: images to a short sequence of latent tokens and back."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoldm.utils.errors import InputError


def token_side(image_size: int, levels: int) -> int:
    """Side of the square of tokens that an image becomes: halved `levels` times, rounding up."""
    return -(-image_size // 2**levels)


class ConvAE(nn.Module):
    """A plain (not variational) autoencoder: image (B, C, S, S) in [0, 1] <-> tokens (B, tokens, latent_channels).

    Each of `levels` convolutions halves the side, rounding up (28 -> 14 -> 7 -> 4: 16 tokens with 3 levels, (S/4)^2 with 2), and but for
    the last they have hidden_channels, 2 hidden_channels, ... channels. Raises InputError for a side that is no multiple of 4 (as all data
    sets here are cut), and for more levels than halve anything.

    It owns the per-channel statistics of its latents, so tokens that leave `encode` and enter `decode` are normalised:

        tokens = (z - latent_mean) / latent_std

    Until `set_statistics` is called the mean is 0 and the deviation 1. The defaults are the reference: 28x28 grey images,
    49 tokens of 6 numbers.
    """

    def __init__(self, image_size: int = 28, image_channels: int = 1, hidden_channels: int = 32, latent_channels: int = 6,
                 levels: int = 2):
        super().__init__()
        if image_size < 4 or image_size % 4:
            raise InputError(f"image size {image_size} is not a multiple of 4: choose {max(4, round(image_size / 4) * 4)}")
        if 2**(levels - 1) >= image_size:
            raise InputError(f"{levels} levels are too many for images of {image_size}x{image_size}: {math.ceil(math.log2(image_size))} "
                             "make one token of them")
        self.config = dict(image_size=image_size, image_channels=image_channels, hidden_channels=hidden_channels,
                           latent_channels=latent_channels, levels=levels)
        sides = [token_side(image_size, level) for level in range(levels + 1)]
        self.grid, self.latent_channels = sides[-1], latent_channels
        channels = [image_channels, *(hidden_channels * 2**k for k in range(levels - 1)), latent_channels]
        layers = [(a, b, dict(kernel_size=4 - side % 2, stride=2, padding=1))     # halves an even side, and an odd one rounding up
                  for a, b, side in zip(channels[:-1], channels[1:], sides[:-1], strict=True)]
        down = [layer for a, b, shape in layers for layer in (nn.Conv2d(a, b, **shape), nn.ReLU())]
        up = [layer for a, b, shape in reversed(layers) for layer in (nn.ConvTranspose2d(b, a, **shape), nn.ReLU())]
        self.encoder, self.decoder = nn.Sequential(*down[:-1]), nn.Sequential(*up[:-1])       # no ReLU at the end
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    @property
    def tokens(self) -> int:
        """How many tokens an image becomes."""
        return self.grid**2

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, S, S) in [0, 1] -> normalised tokens (B, tokens, latent_channels), row by row."""
        z = self.encoder(images)                                                              # (B, latent_channels, grid, grid)
        return (z.flatten(2).transpose(1, 2) - self.latent_mean) / self.latent_std            # (B, tokens, latent_channels)

    def sees(self, pixels: Tensor) -> Tensor:
        """Which tokens depend on any of `pixels` (B, 1, S, S), bool -> (B, tokens, 1), bool."""
        seen = pixels.float()
        for layer in self.encoder[::2]:                                                       # the convolutions
            seen = F.max_pool2d(F.pad(seen, [1] * 4), layer.kernel_size, layer.stride)
        return seen.flatten(1)[..., None] > 0

    def decode(self, tokens: Tensor) -> Tensor:
        """Normalised tokens (B, tokens, latent_channels) -> logits of the pixels (B, C, S, S)."""
        z = (tokens * self.latent_std + self.latent_mean).transpose(1, 2)                     # (B, latent_channels, tokens)
        return self.decoder(z.unflatten(2, (self.grid, self.grid)))

    def forward(self, images: Tensor) -> Tensor:
        """Images in [0, 1] -> logits of their reconstruction."""
        return self.decode(self.encode(images))

    @torch.no_grad()
    def set_statistics(self, tokens: Tensor) -> None:
        """Make `tokens` (N, tokens, latent_channels), as `encode` gave them, have mean 0 and deviation 1 per channel from now on."""
        tokens = tokens.cpu().double()                                                        # Apple's GPUs have no float64
        mean, std = tokens.mean((0, 1)).to(self.latent_mean), tokens.std((0, 1)).to(self.latent_std)
        # In terms of what is already set, so that calling it twice changes nothing.
        self.latent_mean.add_(self.latent_std * mean)
        self.latent_std.mul_(std).clamp_(min=1e-6)                                            # a dead channel must not divide by 0


class ReconstructionLoss(nn.Module):
    """Mean binary cross-entropy per pixel between an image and its reconstruction. image: (B, C, S, S) in [0, 1] -> scalar."""

    def __init__(self, autoencoder: ConvAE):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, image: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.autoencoder(image), image)
