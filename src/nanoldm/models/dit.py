"""The diffusion transformer: every block is steered by the noise level through AdaLN-Zero (Peebles and Xie 2023, arXiv 2212.09748)."""

import torch
from torch import Tensor, nn

from nanoldm.models.embedding import TokenNetwork, split
from nanoldm.models.transformer import MHA, Dropout, LayerNorm, feed_forward, zero_linear


class Modulation(nn.Sequential):
    """Conditioning c (B, width) -> `parts` vectors of shape (B, 1, width), all zero at initialisation (the "Zero" of AdaLN-Zero)."""

    def __init__(self, width: int, parts: int):
        super().__init__(nn.SiLU(), zero_linear(width, parts * width))
        self.parts = parts

    def forward(self, c: Tensor) -> tuple[Tensor, ...]:
        return super().forward(c)[:, None].chunk(self.parts, dim=-1)


class DiTBlock(nn.Module):
    """Attention and feed-forward, each modulated before and gated after by the conditioning vector c.

        x = x + alpha_1 attention(norm(x) (1 + gamma_1) + beta_1)
        x = x + alpha_2      mlp(norm(x) (1 + gamma_2) + beta_2)

    gamma, beta, alpha are linear in SiLU(c) and start at 0, so a new block is the identity.
    """

    def __init__(self, width: int = 128, heads: int = 4, tokens: int = 49, hidden: int = 512, dropout: float = 0.0):
        super().__init__()
        self.modulation = Modulation(width, 6)
        self.norm = LayerNorm(width, affine=False)
        self.attention, self.mlp = MHA(width, heads, tokens), feed_forward(width, hidden)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        gamma_1, beta_1, alpha_1, gamma_2, beta_2, alpha_2 = self.modulation(c)               # (B, 1, width) each
        h = self.attention(self.norm(x) * (1 + gamma_1) + beta_1)                             # (B, tokens, width)
        x = x + alpha_1 * self.dropout(h)
        h = self.mlp(self.norm(x) * (1 + gamma_2) + beta_2)                                   # (B, tokens, width)
        return x + alpha_2 * self.dropout(h)


class DiffusionNet(TokenNetwork):
    """The denoising network. x_t: (B, tokens, channels) noisy latents, t: (B,) or (1,) integer timesteps, label: (B,) classes, -1 for
    none (only if it knows `classes`) -> (B, tokens, channels).

    What the output means (epsilon, ...) is decided outside: see `nanoldm.diffusion.prediction`.
    The defaults are the reference: 1,353,734 parameters.
    """

    def __init__(self, tokens: int = 49, channels: int = 6, width: int = 128, depth: int = 4, heads: int = 4,
                 hidden: int = 512, dropout: float = 0.0, classes: int = 0, position: str = "rope", patch: int = 1,
                 cells: int = 0):
        super().__init__(tokens, channels, width, depth, heads, hidden, dropout, classes, position, patch, cells)
        self.blocks = nn.ModuleList(DiTBlock(width, heads, self.patches, hidden, dropout) for _ in range(depth))
        self.final_norm, self.final_modulation = LayerNorm(width, affine=False), Modulation(width, 2)
        self.out_proj = zero_linear(width, channels * patch**2)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        c = self.condition(t, label)                                                          # (B, width)
        x = self.read_tokens(x_t)                                                             # (B, tokens, width)
        for block in self.blocks:
            x = block(x, c)
        scale, shift = self.final_modulation(c)                                               # (B, 1, width) each
        x = self.out_proj(self.final_norm(x) * (1 + scale) + shift)                           # (B, patches, patch^2 channels)
        return split(x, self.patch)                                                           # (B, tokens, channels)

    @torch.no_grad()
    def gates(self, timesteps: int) -> list[float]:
        """How far the gates are open: attention and feed-forward of each block, mean |alpha| over t = 0 ... timesteps - 1. 0 at first."""
        c = self.condition(torch.arange(timesteps, device=self.out_proj.weight.device))
        return [round(alpha.abs().mean().item(), 5) for block in self.blocks for alpha in block.modulation(c)[2::3]]
