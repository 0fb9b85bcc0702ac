"""A denoiser estimates x0 and eps from x_t; its wrappers (guidance, clamp) have its interface."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nanoldm.diffusion.prediction import PREDICTIONS
from nanoldm.diffusion.schedule import NoiseSchedule, expand
from nanoldm.utils.errors import InputError, check_choice


class Estimate(NamedTuple):
    """x0 and eps with x_t = alpha_t x0 + sigma_t eps, both of the shape of x_t."""

    x0: Tensor
    eps: Tensor

    @classmethod
    def from_x0(cls, x0: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> "Estimate":
        """Derive eps = (x_t - alpha x0) / sigma from x0."""
        return cls(x0, (x_t - alpha * x0) / sigma)


class Denoiser(nn.Module):
    """network + schedule + prediction target: estimates x0 and eps.

    x_t: (B, tokens, channels); t: (B,) integers in 0 ... T-1, or (1,) for one timestep of the whole
    batch; label: (B,) or None -> Estimate.
    prediction: what the network predicts, a name of `PREDICTIONS`.
    precision: an attribute, "fp32", "tf32" or "bf16". bf16 multiplies matrices in bfloat16
        (autocast, with 3 significant digits); weights, outputs and everything outside the network
        stay float32. tf32 is a setting of the whole process (`utils.device.use_tf32`).
    Raises InputError for an unknown prediction, and for epsilon on a schedule that reaches alpha 0.
    """

    def __init__(self, network: nn.Module, schedule: NoiseSchedule, prediction: str = "epsilon"):
        super().__init__()
        check_choice("prediction", prediction, PREDICTIONS)
        if prediction == "epsilon" and schedule.zero_terminal_snr:
            raise InputError("epsilon does not determine x0 where alpha is 0, the noisiest "
                             "timestep of this schedule: choose x0, v or flow, or the cosine or "
                             "linear schedule")
        self.network, self.schedule, self.prediction = network, schedule, prediction
        self.precision = "fp32"

    @property
    def labels(self) -> int:
        """How many labels the network can be conditioned on; 0: unconditional."""
        return getattr(self.network, "labels", 0)

    def output(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        """Raw network output (B, tokens, channels)."""
        labels = () if label is None else (label,)
        bf16 = self.precision == "bf16"
        with torch.autocast(x_t.device.type, torch.bfloat16, enabled=bf16):
            output = self.network(x_t, t, *labels)
        return output.to(x_t.dtype)

    def forward(self, x_t: Tensor, t: Tensor, label: Tensor | None = None) -> Estimate:
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        output = self.output(x_t, t, label)
        return Estimate(*PREDICTIONS[self.prediction].estimate(output, x_t, alpha, sigma))


class Clamped(nn.Module):
    """Clamp the x0 of a denoiser to [-limit, limit] and derive eps from it.

    At the noisiest timestep of the cosine schedule, x0 = (x_t - sigma eps) / alpha multiplies an
    error of eps by about 2000; the clamp keeps such a sample near the data. For sampling only: the
    loss does not use it. limit: the largest |normalised latent| of the training set.
    Raises InputError for a limit that is not positive.
    """

    def __init__(self, denoiser: nn.Module, limit: float):
        super().__init__()
        if not limit > 0:
            raise InputError(f"the limit of x0 must be positive, got {limit}")
        self.denoiser, self.limit, self.schedule = denoiser, limit, denoiser.schedule

    def forward(self, x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        x0 = self.denoiser(x_t, t).x0.clamp(-self.limit, self.limit)
        return Estimate.from_x0(x0, x_t, alpha, sigma)
