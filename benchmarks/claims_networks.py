"""Networks and autoencoders of arms that no recipe can describe (claims.toml).

    PYTHONPATH=benchmarks nanoldm train mnist --network.kind claims_networks:Axial
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoldm.models import ConvAE, DiffusionNet, Transformer, TransformerBlock
from nanoldm.models.transformer import RoPE

NOISE = 0.2  # of the latents' standard deviation, in the training of "noise"
KL_WEIGHT = 0.01  # of the divergence in the training of "kl": posterior sd 0.3 of the latents


class NoTime(Transformer):
    """A Transformer that does not know t."""

    def conditioning(self, t: Tensor, label: Tensor | None = None) -> Tensor:
        return 0 * super().conditioning(t, label)


class GatedBlock(TransformerBlock):
    """A TransformerBlock with learned gates, as of AdaLN-Zero, that do not depend on t."""

    def __init__(self, width: int, *rest):
        super().__init__(width, *rest)
        self.gates = nn.Parameter(torch.zeros(2, width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.attention(self.norm1(x))
        gates = self.gates.to(h.dtype)                                # in bf16 as AdaLN's
        x = x + gates[0] * self.dropout(h)
        return x + gates[1] * self.dropout(self.mlp(self.norm2(x)))


class AddedOnceGated(Transformer):
    """A Transformer whose blocks start as the identity."""

    def __init__(self, **options):
        super().__init__(**options)
        s = self.shape
        self.blocks = nn.ModuleList(GatedBlock(s.width, s.heads, s.patches, s.hidden, s.dropout)
                                    for _ in range(s.depth))


class RandomStart(DiffusionNet):
    """AdaLN whose modulation, gates and output start as torch initialises a linear layer."""

    def __init__(self, **options):
        super().__init__(**options)
        for part in (*(block.modulation for block in self.blocks), self.final_modulation):
            part[-1].reset_parameters()
        self.out_proj.reset_parameters()


def set_angles(network: DiffusionNet, theta: Tensor) -> None:
    """Let every RoPE of a network rotate by theta (tokens, dim / 2), which is on the CPU as theirs.

    A network that is built to count its parameters has no other device.
    """
    rotation = torch.stack((theta.cos(), theta.sin()), -1).float()
    for part in network.modules():
        if isinstance(part, RoPE):
            part.rotation.copy_(rotation)


class Axial(DiffusionNet):
    """RoPE of which half the pairs rotate with the row of a token, and half with its column."""

    def __init__(self, **options):
        super().__init__(**options)
        s = self.shape
        side, pairs = math.isqrt(s.patches), s.width // s.heads // 2
        pair, token = (torch.arange(n, device="cpu") for n in (pairs // 2, s.patches))
        frequency = 10000 ** (-pair.double() / (pairs // 2))
        row, column = token // side, token % side
        set_angles(self, torch.cat([place[:, None] * frequency for place in (row, column)], dim=1))


class NoPosition(DiffusionNet):
    """No RoPE: the network cannot tell one token from another."""

    def __init__(self, **options):
        super().__init__(**options)
        pairs = self.shape.width // self.shape.heads // 2
        set_angles(self, torch.zeros(self.shape.patches, pairs, device="cpu"))


class Lifted(ConvAE):
    """A trained autoencoder whose normalised tokens are rotated into more channels.

        tokens = ((z - mean) / std) Q^T        Q: (more, channels), Q^T Q = I

    The energy stays; the other channels of a token are 0, and pure noise in x_t.
    """

    def __init__(self, trained: ConvAE, channels: int, seed: int = 0):
        super().__init__(**trained.config)
        self.load_state_dict(trained.state_dict())
        noise = torch.randn(channels, trained.latent_channels,
                            generator=torch.Generator().manual_seed(seed))
        self.latent_channels = channels
        self.register_buffer("lift", torch.linalg.qr(noise).Q)

    def normalise(self, tokens: Tensor) -> Tensor:
        return super().normalise(tokens) @ self.lift.T

    def decode(self, tokens: Tensor) -> Tensor:
        return super().decode(tokens @ self.lift)


class NoisyReconstructionLoss(nn.Module):
    """Reconstruct from latents with noise of NOISE times their standard deviation per channel."""

    def __init__(self, autoencoder: ConvAE):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, image: Tensor) -> Tensor:
        z = self.autoencoder.encode(image)
        z = z + NOISE * z.detach().std((0, 1)) * torch.randn_like(z)
        return F.binary_cross_entropy_with_logits(self.autoencoder.decode(z), image)


class KLReconstructionLoss(nn.Module):
    """A variational autoencoder (Kingma and Welling 2013, arXiv 1312.6114), per pixel.

        BCE + KL_WEIGHT KL(N(mu, sd^2) || N(0, 1)) / pixels

    A second last convolution of the encoder estimates log sd. Afterwards latents are mu.
    """

    def __init__(self, autoencoder: ConvAE):
        super().__init__()
        self.autoencoder = autoencoder
        last = autoencoder.encoder[-1]
        self.log_sd = nn.Conv2d(last.in_channels, last.out_channels, last.kernel_size, last.stride,
                                last.padding)

    def forward(self, image: Tensor) -> Tensor:
        hidden = self.autoencoder.encoder[:-1](image)
        mu, log_sd = self.autoencoder.encoder[-1](hidden), self.log_sd(hidden)
        z = mu + log_sd.exp() * torch.randn_like(mu)                  # (B, channels, grid, grid)
        logits = self.autoencoder.decode(z.flatten(2).transpose(1, 2))
        divergence = ((mu**2 + (2 * log_sd).exp() - 1) / 2 - log_sd).sum((1, 2, 3)).mean()
        error = F.binary_cross_entropy_with_logits(logits, image)
        return error + KL_WEIGHT * divergence / image[0].numel()


AUTOENCODERS = {"noise": NoisyReconstructionLoss, "kl": KLReconstructionLoss}
