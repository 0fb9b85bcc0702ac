"""Data that are known exactly."""

from torch import Tensor, nn

from nanoldm.diffusion import Estimate, NoiseSchedule
from nanoldm.diffusion.schedule import expand


class Gaussian(nn.Module):
    """The best denoiser of data from N(mean, std^2): x0 = E[x0 | x_t], which is linear in x_t."""

    def __init__(self, schedule: NoiseSchedule, mean: float = 0.0, std: float = 1.0):
        super().__init__()
        self.schedule, self.mean, self.std = schedule, mean, std

    def forward(self, x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        off = (x_t - alpha * self.mean) / (alpha**2 * self.std**2 + sigma**2)
        return Estimate(self.mean + alpha * self.std**2 * off, sigma * off)
