"""A denoiser answers one question: given x_t, what were x0 and eps? Wrappers keep that face."""

from typing import NamedTuple

from torch import Tensor, nn

from nanoldm.diffusion.prediction import PREDICTIONS
from nanoldm.diffusion.schedule import NoiseSchedule, expand
from nanoldm.utils.errors import InputError


class Estimate(NamedTuple):
    """x_t = alpha_t x0 + sigma_t eps, both of x_t's shape."""

    x0: Tensor
    eps: Tensor


class Denoiser(nn.Module):
    """network + schedule + kind of prediction. x_t: (B, tokens, channels), t: (B,) integers in 0 ... T-1, label: (B,) or None -> Estimate.

    prediction: what the network's output means, a name of `PREDICTIONS`. Raises InputError for one that does not exist or cannot work.
    t may also be (1,), for a batch that shares its timestep: the network then embeds it once. A network without classes takes no label.
    """

    def __init__(self, network: nn.Module, schedule: NoiseSchedule, prediction: str = "epsilon"):
        super().__init__()
        if prediction not in PREDICTIONS:
            raise InputError(f"unknown prediction {prediction!r}: choose one of {', '.join(PREDICTIONS)}")
        if prediction == "epsilon" and not schedule.alpha.all():
            raise InputError("epsilon says nothing about x0 where alpha is 0, as at the noisiest timestep of the rectified schedule: "
                             "choose x0, v or flow, or the cosine or linear schedule")
        self.network, self.schedule, self.prediction = network, schedule, prediction

    @property
    def classes(self) -> int:
        """How many labels the network knows: 0 for one without."""
        return getattr(self.network, "classes", 0)

    @property
    def cells(self) -> int:
        """How many cells of the latent space the network is told instead of labels: 0 for one without."""
        return getattr(self.network, "cells", 0)

    def output(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """What the network says, before it is read as an estimate."""
        return self.network(x_t, t) if label is None else self.network(x_t, t, label)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Estimate:
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        return Estimate(*PREDICTIONS[self.prediction].estimate(self.output(x_t, t, label), x_t, alpha, sigma))


class Clamped(nn.Module):
    """Limit a denoiser's x0 to [-limit, limit] and re-derive eps from it, so that the pair still satisfies x_t = alpha x0 + sigma eps.

    At the noisiest timestep of the cosine table x0 = (x_t - sigma eps) / alpha multiplies an error of eps by about 2000:
    without the limit a single bad prediction there can throw a sample far outside the data. limit: the largest
    |normalised latent| of the training set. For sampling only; the loss never sees it.
    """

    def __init__(self, denoiser: nn.Module, limit: float):
        super().__init__()
        if not limit > 0:
            raise InputError(f"the limit of x0 must be positive, got {limit}")
        self.denoiser, self.limit = denoiser, limit
        self.schedule = denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        x0 = self.denoiser(x_t, t).x0.clamp(-self.limit, self.limit)
        return Estimate(x0, (x_t - alpha * x0) / sigma)
