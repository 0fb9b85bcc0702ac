"""The exponential moving average (EMA) of the weights, which samples are generated with."""

from copy import deepcopy

import torch
from torch import nn


class EMA:
    """Moving average of the parameters of a module.

        ema_k = decay_k ema_(k-1) + (1 - decay_k) weights_k

    decay: d of an exponential average, corrected for its start (as in Adam: Kingma and Ba 2014,
        arXiv 1412.6980, section 3). It contains no trace of the random initial weights:

            decay_k = d (1 - d^(k-1)) / (1 - d^k)

    power: g of a power function, whose window grows with the run (Karras et al. 2023, arXiv
        2312.02696, eq. 1). g = 6.94 averages over a tenth of the run:

            decay_k = (1 - 1/k)^(g + 1)

    Exactly one of the two is given. Buffers, such as statistics of BatchNorm, are copied.
    """

    def __init__(self, module: nn.Module, decay: float | None = None, power: float | None = None):
        self.source, self.decay, self.power = module, decay, power
        self.module = deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def update(self, k: int) -> None:
        """Add the weights after step k = 1, 2, ... to the average."""
        if self.power:
            decay = (1 - 1 / k) ** (self.power + 1)
        else:
            decay = self.decay * (1 - self.decay ** (k - 1)) / (1 - self.decay**k)
        if parameters := list(self.module.parameters()):
            torch._foreach_lerp_(parameters, list(self.source.parameters()), 1 - decay)
        for own, new in zip(self.module.buffers(), self.source.buffers(), strict=True):
            own.copy_(new)
