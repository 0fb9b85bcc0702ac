"""The training objectives: of a denoiser, and of a student that needs few passes."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoldm.diffusion.denoiser import Denoiser
from nanoldm.diffusion.prediction import PREDICTIONS
from nanoldm.diffusion.samplers.ddim import ddim
from nanoldm.diffusion.schedule import corrupt, expand
from nanoldm.utils.errors import InputError, check_choice

WEIGHTINGS = ("uniform", "min-snr")
GAMMA = 5.0  # of min-snr, as its authors recommend


class DenoisingLoss(nn.Module):
    """Weighted MSE between network output and target (DDPM, arXiv 2006.11239, eq. 14).

    x0, eps: (B, tokens, channels); t: (B,) integers in 0 ... T-1; label: (B,) or None -> scalar.
    With epsilon-prediction and a zero-initialised output the first value is E[eps^2] = 1.

    weighting: "uniform", or "min-snr", which weights the squared error of x0 by min(SNR, 5),
        SNR = alpha^2 / sigma^2 (Hang et al. 2023, arXiv 2303.09556, eq. 6).
    Raises InputError for an unknown weighting, and for one that gives a timestep the weight 0.
    """

    def __init__(self, denoiser: Denoiser, weighting: str = "uniform"):
        super().__init__()
        check_choice("loss weighting", weighting, WEIGHTINGS)
        if weighting == "min-snr" and denoiser.schedule.zero_terminal_snr:
            raise InputError(f"min-snr gives the noisiest timestep of the {denoiser.schedule.kind} "
                             "schedule the weight 0, because its SNR is 0: choose uniform")
        self.denoiser, self.weighting = denoiser, weighting

    def forward(self, x0: Tensor, t: Tensor, eps: Tensor, label: Tensor | None = None) -> Tensor:
        prediction = PREDICTIONS[self.denoiser.prediction]
        alpha, sigma = (expand(level, x0) for level in self.denoiser.schedule(t))
        output = self.denoiser.output(corrupt(x0, eps, alpha, sigma), t, label)
        target = prediction.target(x0, eps, alpha, sigma)             # (B, tokens, channels)
        error = (output - target).square()
        if self.weighting == "min-snr":
            # An estimate of x0 is linear in the output: an error of 1 changes it by `gain`.
            one, zero = torch.ones_like(sigma), torch.zeros_like(sigma)
            gain, _ = prediction.estimate(one, zero, alpha, sigma)
            error = error * ((alpha / sigma) ** 2).clamp(max=GAMMA) * gain**2
        return error.mean()


class DistillationLoss(nn.Module):
    """MSE between where a student and its teacher end, from the same noise.

        mean (ddim(student, x_T) - x0)^2

    (Luhman and Luhman 2021, arXiv 2101.02388, eq. 5, for one pass; here the gradient goes through
    all passes.) x_T: noise (B, tokens, channels); x0: the latents that the teacher's sampler made
    of it; label: (B,) or None -> scalar.

    timesteps: of the student's passes, descending.
    """

    def __init__(self, denoiser: Denoiser, timesteps: Sequence[int]):
        super().__init__()
        self.denoiser, self.timesteps = denoiser, timesteps

    def forward(self, x_T: Tensor, x0: Tensor, label: Tensor | None = None) -> Tensor:
        run = ddim(lambda x, t: self.denoiser(x, t, label), x_T, self.denoiser.schedule,
                   self.timesteps, noise=None)  # ddim draws no noise
        *_, (end, _) = run
        return F.mse_loss(end, x0)
