"""The training objective."""

from torch import Tensor, nn

from nanoldm.diffusion.denoiser import Denoiser
from nanoldm.diffusion.prediction import PREDICTIONS
from nanoldm.diffusion.schedule import corrupt, expand
from nanoldm.utils.errors import InputError

WEIGHTINGS = ("uniform", "min-snr")
GAMMA = 5.0     # of min-snr, as its authors recommend


class DenoisingLoss(nn.Module):
    """Weighted mean squared error between the network's output at x_t and its target (DDPM, arXiv 2006.11239, eq. 14).

    x0, eps: (B, tokens, channels); t: (B,) integers in 0 ... T-1; label: (B,), only for a network with classes -> scalar. With
    epsilon-prediction and a network that starts at zero the first value is E[eps^2] = 1.

    weighting: "uniform" weighs all timesteps alike; "min-snr" is min(SNR, 5) on the squared error of x0, whatever the network
    predicts (Hang et al. 2023, arXiv 2303.09556, eq. 6; SNR = alpha^2 / sigma^2), for epsilon min(SNR, 5) / SNR.
    Raises InputError for a weighting that does not exist or would leave a timestep untrained.
    """

    def __init__(self, denoiser: Denoiser, weighting: str = "uniform"):
        super().__init__()
        if weighting not in WEIGHTINGS:
            raise InputError(f"unknown loss weighting {weighting!r}: choose one of {', '.join(WEIGHTINGS)}")
        if weighting == "min-snr" and not denoiser.schedule.alpha.all():
            raise InputError(f"min-snr gives the noisiest timestep of the {denoiser.schedule.kind} schedule the weight 0, since it holds "
                             "no signal: choose uniform")
        self.denoiser, self.weighting = denoiser, weighting

    def forward(self, x0: Tensor, t: Tensor, eps: Tensor, label: Tensor | None = None) -> Tensor:
        prediction, schedule = PREDICTIONS[self.denoiser.prediction], self.denoiser.schedule
        alpha, sigma = (expand(level, x0) for level in schedule(t))
        output = self.denoiser.output(corrupt(x0, eps, alpha, sigma), t, label)
        error = (output - prediction.target(x0, eps, alpha, sigma)).square()                  # (B, tokens, channels)
        if self.weighting == "min-snr":
            error = error * ((alpha / sigma) ** 2).clamp(max=GAMMA) * prediction.gain(alpha, sigma) ** 2
        return error.mean()
