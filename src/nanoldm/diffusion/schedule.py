"""The noise schedule: alpha_t and sigma_t of x_t = alpha_t x0 + sigma_t eps."""

import math

import torch
from torch import Tensor, nn

from nanoldm.utils.errors import InputError, check_choice


def cosine_betas(timesteps: int, s: float = 0.008) -> Tensor:
    """The cosine schedule (Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17). -> (T,) float64

        f(t) = cos((t/T + s) / (1 + s) pi/2)^2        beta_t = 1 - f(t+1) / f(t)

    Betas are clipped to [0, 0.999]. t counts from 0, hence the shift by one: timestep 0 is noisy.
    """
    t = torch.arange(timesteps + 1, dtype=torch.float64)
    f = torch.cos((t / timesteps + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(0, 0.999)


def linear_range(timesteps: int) -> tuple[float, float]:
    """(first, last) beta of the linear schedule (Ho et al. 2020, arXiv 2006.11239, section 4).

    1e-4 and 0.02 at T = 1000, scaled by 1000/T so that the last timestep has the same SNR at every
    T. Limited to 0.999.
    """
    return min(0.1 / timesteps, 0.999), min(20 / timesteps, 0.999)


def linear_betas(timesteps: int) -> Tensor:
    """Betas evenly spaced over `linear_range`. -> (T,) float64"""
    return torch.linspace(*linear_range(timesteps), timesteps, dtype=torch.float64)


def preserve_variance(betas: Tensor) -> tuple[Tensor, Tensor]:
    """Betas (T,) -> alpha (T,), sigma (T,) (DDPM, arXiv 2006.11239, eq. 4).

        alpha_t^2 = alpha_bar_t = prod_{s<=t} (1 - beta_s)        sigma_t^2 = 1 - alpha_bar_t
    """
    alpha_bar = (1 - betas).cumprod(0)
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def rectified(timesteps: int) -> tuple[Tensor, Tensor]:
    """Rectified flow (Liu et al. 2022, arXiv 2209.03003, eq. 1). -> alpha (T,), sigma (T,)

        sigma_t = (t+1)/T        alpha_t = 1 - sigma_t

    The noisiest timestep has alpha = 0.
    """
    sigma = torch.arange(1, timesteps + 1, dtype=torch.float64) / timesteps
    return 1 - sigma, sigma


# kind -> alpha_t and sigma_t for t = 0 ... T-1, float64
TABLES = {"cosine": lambda timesteps: preserve_variance(cosine_betas(timesteps)),
          "linear": lambda timesteps: preserve_variance(linear_betas(timesteps)),
          "rectified": rectified}


class NoiseSchedule(nn.Module):
    """A table of alpha_t and sigma_t for t = -1 ... T-1.

    t = -1 is the clean level (alpha 1, sigma 0); t = 0 is the least noisy timestep.
    kind: "cosine" or "linear" (variance preserving: alpha_t^2 + sigma_t^2 = 1), or "rectified"
        (alpha_t + sigma_t = 1).
    timesteps: T.
    Raises InputError for an unknown kind, and for T < 1.
    """

    def __init__(self, kind: str = "cosine", timesteps: int = 100):
        super().__init__()
        check_choice("noise schedule", kind, TABLES)
        if timesteps < 1:
            raise InputError(f"a noise schedule needs at least 1 timestep, got {timesteps}")
        self.kind, self.timesteps = kind, timesteps
        alpha, sigma = TABLES[kind](timesteps)
        # Row t + 1 holds timestep t: row 0 is the clean level.
        alpha = torch.cat((torch.ones(1), alpha.float()))
        sigma = torch.cat((torch.zeros(1), sigma.float()))
        self.register_buffer("alpha", alpha, persistent=False)
        self.register_buffer("sigma", sigma, persistent=False)

    @property
    def zero_terminal_snr(self) -> bool:
        """Whether the noisiest timestep has no signal: alpha = 0."""
        return not self.alpha.all()

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """t: integers in -1 ... T-1 of any shape -> (alpha_t, sigma_t), each of that shape."""
        return self.alpha[t + 1], self.sigma[t + 1]


def corrupt(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The forward process q(x_t | x0): x_t = alpha_t x0 + sigma_t eps (DDPM, eq. 4).

    x0, eps: (B, ...); alpha, sigma: (B,), or expanded already -> (B, ...).
    """
    return expand(alpha, x0) * x0 + expand(sigma, x0) * eps


def expand(per_image: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ..., 1) with as many axes as `like`. Tensors of other shapes are unchanged."""
    return per_image.view(-1, *[1] * (like.dim() - 1)) if per_image.dim() == 1 else per_image
