"""The training objective of the denoiser."""

from torch import Tensor, nn

from nanoldm.diffusion.denoiser import Denoiser
from nanoldm.diffusion.prediction import PREDICTIONS
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
            weight = ((alpha / sigma) ** 2).clamp(max=GAMMA)
            error = error * weight * prediction.gain(alpha, sigma) ** 2
        return error.mean()
