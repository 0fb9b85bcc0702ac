"""The training objective."""

from torch import Tensor, nn
from torch.nn import functional as F

from nanoldm.diffusion.denoiser import Denoiser
from nanoldm.diffusion.prediction import PREDICTIONS
from nanoldm.diffusion.schedule import corrupt, expand


class DenoisingLoss(nn.Module):
    """Mean squared error between the network's output at x_t and its target (DDPM, arXiv 2006.11239, eq. 14).

    x0, eps: (B, tokens, channels); t: (B,) integers in 0 ... T-1 -> scalar. With epsilon-prediction and a network that starts
    at zero the first value is E[eps^2] = 1.
    """

    def __init__(self, denoiser: Denoiser):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        alpha, sigma = self.denoiser.schedule(t)
        output = self.denoiser.network(corrupt(x0, eps, alpha, sigma), t)
        target = PREDICTIONS[self.denoiser.prediction].target(x0, eps, expand(alpha, x0), expand(sigma, x0))
        return F.mse_loss(output, target)
