"""The two halves of an autoencoder as modules, to export them one by one."""

from torch import Tensor, nn

from nanoldm.models import ConvAE


class Encoder(nn.Module):
    """Images (B, C, S, S) in [0, 1] -> normalised latents (B, tokens, channels)."""

    def __init__(self, autoencoder: ConvAE):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, images: Tensor) -> Tensor:
        return self.autoencoder.encode(images)


class Decoder(nn.Module):
    """Normalised latents (B, tokens, channels) -> images (B, C, S, S) in [0, 1]."""

    def __init__(self, autoencoder: ConvAE):
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents).sigmoid()
