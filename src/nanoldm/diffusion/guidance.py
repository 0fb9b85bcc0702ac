"""Classifier-free guidance: a denoiser that wraps a denoiser."""

import torch
from torch import Tensor, nn

from nanoldm.diffusion.denoiser import Denoiser, Estimate


class Guided(nn.Module):
    """A denoiser with fixed labels and classifier-free guidance.

        x0 = x0(no label) + scale (x0(label) - x0(no label)), and eps likewise

    (Ho and Salimans 2022, arXiv 2207.12598, eq. 6, where the scale is 1 + w.)
    t: (1,), one timestep for the whole batch, as samplers call it.
    label: (B,) integers, -1 for no label.
    scale: 1 is the conditional denoiser, one network evaluation. Other scales cost two evaluations.
    interval: (lowest, highest) timestep with guidance (Kynkaanniemi et al. 2024, arXiv 2404.07724);
        None: all timesteps.
    """

    def __init__(self, denoiser: Denoiser, label: Tensor, scale: float = 1.0,
                 interval: tuple[int, int] | None = None):
        super().__init__()
        self.denoiser, self.label, self.scale = denoiser, label, scale
        self.schedule = denoiser.schedule
        self.lowest, self.highest = interval or (0, denoiser.schedule.timesteps - 1)

    def forward(self, x_t: Tensor, t: Tensor) -> Estimate:
        if self.scale == 1 or not self.lowest <= t <= self.highest:
            return self.denoiser(x_t, t, self.label)
        # One call with twice the batch: first with the labels, then without.
        labels = torch.cat((self.label, torch.full_like(self.label, -1)))
        both = self.denoiser(torch.cat((x_t, x_t)), t, labels)
        x0, x0_without = both.x0.chunk(2)
        eps, eps_without = both.eps.chunk(2)
        return Estimate(x0_without.lerp(x0, self.scale), eps_without.lerp(eps, self.scale))
