"""The diffusion transformer, conditioned through AdaLN-Zero (Peebles and Xie 2023, 2212.09748)."""

import torch
from torch import Tensor, nn

from nanoldm.models.network import DenoisingNetwork, unpatchify, zero_linear
from nanoldm.models.transformer import MHA, Dropout, LayerNorm, feed_forward


class Modulation(nn.Sequential):
    """Conditioning c (B, width) -> `parts` vectors (B, 1, width), all zero at initialisation."""

    def __init__(self, width: int, parts: int):
        super().__init__(nn.SiLU(), zero_linear(width, parts * width))
        self.parts = parts

    def forward(self, c: Tensor) -> tuple[Tensor, ...]:
        return super().forward(c)[:, None].chunk(self.parts, dim=-1)


class DiTBlock(nn.Module):
    """Attention and feed-forward, modulated and gated by the conditioning vector c.

        x = x + alpha_1 attention(norm(x) (1 + gamma_1) + beta_1)
        x = x + alpha_2      mlp(norm(x) (1 + gamma_2) + beta_2)

    gamma, beta and alpha are linear in SiLU(c) and start at 0: a new block is the identity.
    x: (B, tokens, width), c: (B, width) -> (B, tokens, width).
    """

    def __init__(self, width: int = 128, heads: int = 4, tokens: int = 49, hidden: int = 512,
                 dropout: float = 0.0):
        super().__init__()
        self.modulation = Modulation(width, 6)
        self.norm = LayerNorm(width, affine=False)
        self.attention, self.mlp = MHA(width, heads, tokens), feed_forward(width, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        gamma_1, beta_1, alpha_1, gamma_2, beta_2, alpha_2 = self.modulation(c)   # (B, 1, width)
        h = self.attention(self.norm(x) * (1 + gamma_1) + beta_1)     # (B, tokens, width)
        x = x + alpha_1 * self.dropout(h)
        h = self.mlp(self.norm(x) * (1 + gamma_2) + beta_2)           # (B, tokens, width)
        return x + alpha_2 * self.dropout(h)


class DiffusionNet(DenoisingNetwork):
    """The denoising network: a stack of DiTBlocks and a final AdaLN.

    x_t: (B, tokens, channels) noisy latents; t: (B,) or (1,) integer timesteps; label: (B,)
    integers, -1 for no label, or None -> (B, tokens, channels).
    What the output predicts (epsilon, v, ...) is decided by `nanoldm.diffusion.prediction`.
    options: fields of `NetworkConfig`. The reference has 1,353,734 parameters.
    """

    def __init__(self, **options):
        super().__init__(**options)
        s = self.shape
        self.blocks = nn.ModuleList(DiTBlock(s.width, s.heads, s.patches, s.hidden, s.dropout)
                                    for _ in range(s.depth))
        self.final_norm = LayerNorm(s.width, affine=False)
        self.final_modulation = Modulation(s.width, 2)
        self.out_proj = zero_linear(s.width, s.channels * s.patch**2)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        c = self.conditioning(t, label)                               # (B, width)
        x = self.embed_tokens(x_t)                                    # (B, patches, width)
        for block in self.blocks:
            x = block(x, c)
        scale, shift = self.final_modulation(c)                       # (B, 1, width) each
        x = self.final_norm(x) * (1 + scale) + shift                  # (B, patches, width)
        return unpatchify(self.out_proj(x), self.patch)               # (B, tokens, channels)

    @torch.no_grad()
    def gates(self, timesteps: int) -> list[float]:
        """Mean |alpha| over t = 0 ... timesteps - 1, for attention and feed-forward of each block.

        All are 0 at initialisation.
        """
        c = self.conditioning(torch.arange(timesteps, device=self.out_proj.weight.device))
        gates = []
        for block in self.blocks:
            _, _, alpha_1, _, _, alpha_2 = block.modulation(c)
            gates += [alpha_1, alpha_2]
        return [round(alpha.abs().mean().item(), 5) for alpha in gates]
