"""Losses, networks and samplers of the students that benchmarks/students.py compares."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.diffusion.samplers.ddim import ddim
from nanoldm.diffusion.samplers.transition import transitions
from nanoldm.diffusion.schedule import corrupt, expand
from nanoldm.models import DiffusionNet
from nanoldm.models.embedding import TimeEmbedder

SHORT = 4  # timesteps of a pass of the flow map that the teacher takes
WHOLE_WAY = 0.2  # share of its passes from the noisiest timestep to the image


class ConsistencyLoss(nn.Module):
    """MSE between x0 at t and x0 at r < t, without gradient; r = -1 is the clean image."""

    def __init__(self, denoiser: Denoiser):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x0: Tensor, t: Tensor, eps: Tensor, label: Tensor, r: Tensor) -> Tensor:
        schedule = self.denoiser.schedule
        with torch.no_grad():
            known = self.denoiser(corrupt(x0, eps, *schedule(r)), r.clamp(min=0), label).x0
            target = torch.where(expand(r < 0, x0), x0, known)
        return F.mse_loss(self.denoiser(corrupt(x0, eps, *schedule(t)), t, label).x0, target)


def renoised(denoise, x_T: Tensor, schedule: NoiseSchedule, timesteps, noise):
    """Sampling of consistency models (Song et al. 2023, arXiv 2303.01469, algorithm 1)."""
    x = x_T
    for step in transitions(schedule, timesteps):
        estimate = denoise(x, step.t)
        x = estimate.x0 if step.last else step.alpha_s * estimate.x0 + step.sigma_s * noise()
        yield x, estimate


class TwoTimes(DiffusionNet):
    """A DiffusionNet that also knows `end`, the timestep where its pass ends: (B,) or (1,)."""

    end: Tensor

    def __init__(self, **options):
        super().__init__(**options)
        self.end_time = TimeEmbedder(self.shape.width)
        nn.init.zeros_(self.end_time[-1].weight)
        nn.init.zeros_(self.end_time[-1].bias)

    def conditioning(self, t: Tensor, label: Tensor | None = None) -> Tensor:
        return super().conditioning(t, label) + self.end_time(self.end)


class FlowMapLoss(nn.Module):
    """MSE between the end of a pass from t to r and that of two passes of half its length."""

    def __init__(self, denoiser: Denoiser, teacher: Denoiser):
        super().__init__()
        self.denoiser = denoiser
        self.teacher = [teacher]  # in a list: not a part of what is trained

    def jump(self, denoiser: Denoiser, x: Tensor, t: Tensor, r: Tensor, label: Tensor) -> Tensor:
        """x_t to x_r, as ddim goes."""
        denoiser.network.end = r
        alpha, sigma = (expand(level, x) for level in denoiser.schedule(r))
        estimate = denoiser(x, t.clamp(min=0), label)
        return torch.where(expand(t > r, x), alpha * estimate.x0 + sigma * estimate.eps, x)

    def forward(self, x0: Tensor, t: Tensor, eps: Tensor, label: Tensor) -> Tensor:
        t = t.masked_fill(torch.rand(len(t)) < WHOLE_WAY, self.denoiser.schedule.timesteps - 1)
        r = (torch.rand(len(t)) * (t + 1)).long() - 1
        r = r.masked_fill(torch.rand(len(t)) < WHOLE_WAY, -1)
        x_t, middle = corrupt(x0, eps, *self.denoiser.schedule(t)), (t + r) // 2
        with torch.no_grad():
            half = self.jump(self.denoiser, x_t, t, middle, label)
            halves = self.jump(self.denoiser, half, middle, r, label)
            short = self.jump(self.teacher[0], x_t, t, r, label)
            target = torch.where(expand(t - r <= SHORT, x0), short, halves)
        return F.mse_loss(self.jump(self.denoiser, x_t, t, r, label), target)


def mapped(denoise, x_T: Tensor, schedule: NoiseSchedule, timesteps, noise, network: TwoTimes):
    """ddim whose network knows where each pass ends."""
    ends = iter([*timesteps[1:], -1])

    def known_end(x: Tensor, t: Tensor):
        network.end = torch.tensor([next(ends)])
        return denoise(x, t)

    return ddim(known_end, x_T, schedule, timesteps, noise)
