"""Labels bound to a denoiser, and classifier-free guidance: a denoiser around a denoiser."""

import torch
from torch import Tensor, nn

from nanoldm.diffusion.denoiser import Denoiser, Estimate
from nanoldm.diffusion.schedule import expand


class Guided(nn.Module):
    """A denoiser that knows the labels of its batch, and exaggerates what they change (Ho and Salimans 2022, arXiv 2207.12598, eq. 6):

        x0 = x0(no label) + scale (x0(label) - x0(no label)), and eps likewise

    x_t: (B, tokens, channels), t: (B,) or (1,) -> Estimate, for which x_t = alpha x0 + sigma eps still holds.
    label: (B,) integers, -1 for none. scale 1 is the plain conditional denoiser and costs one network pass; any other scale costs two.
    interval: (lowest, highest) timestep with guidance, since too early it costs variety (Kynkaanniemi et al. 2024, arXiv 2404.07724);
    outside it, one pass.
    """

    def __init__(self, denoiser: Denoiser, label: Tensor, scale: float = 1.0, interval: tuple[int, int] | None = None):
        super().__init__()
        self.denoiser, self.label, self.scale = denoiser, label, scale
        self.schedule = denoiser.schedule
        self.lowest, self.highest = interval or (0, denoiser.schedule.timesteps - 1)

    def forward(self, x_t: Tensor, t: Tensor) -> Estimate:
        guided = (t >= self.lowest) & (t <= self.highest)
        if self.scale == 1 or not guided.any():
            return self.denoiser(x_t, t, self.label)
        # Both answers from one call: twice the batch.
        t_twice = t if len(t) == 1 else t.repeat(2)
        both = self.denoiser(x_t.repeat(2, *[1] * (x_t.dim() - 1)), t_twice, torch.cat((self.label, torch.full_like(self.label, -1))))
        scale = expand(torch.where(guided, self.scale, 1.0).to(x_t), x_t)
        labelled, unlabelled = zip(*(part.chunk(2) for part in both), strict=True)
        return Estimate(*(torch.lerp(without, given, scale) for without, given in zip(unlabelled, labelled, strict=True)))
