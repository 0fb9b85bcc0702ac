"""The moving average of the weights, which is what samples are drawn from."""

from copy import deepcopy

import torch
from torch import nn


class EMA:
    """Moving average of a module's parameters: ema_k = decay_k ema_(k-1) + (1 - decay_k) weights_k

    Buffers (the running statistics of BatchNorm) are no weights: they are copied as they are.

    With `decay` d an exponential one, corrected for its start: decay_k = d (1 - d^(k-1)) / (1 - d^k)

    It is the exact average of weights_1 ... weights_k with weights proportional to d^(k-i): no trace of the random start is left,
    which the plain average with d = 0.999 would still hold to 31 % after 1,170 steps. (The correction of Adam: Kingma and Ba
    2014, arXiv 1412.6980, section 3.)

    With `power` g a power function, whose window grows with the run: decay_k = (1 - 1/k)^(g + 1); weights_i count in proportion to i^g. g =
    6.94 averages over a tenth of the run (Karras et al. 2023, arXiv 2312.02696, eq. 1). Exactly one of the two is given.
    """

    def __init__(self, module: nn.Module, decay: float | None = None, power: float | None = None):
        self.source, self.decay, self.power = module, decay, power
        self.module = deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def update(self, k: int) -> None:
        """Take in the weights after step k = 1, 2, ..."""
        decay = (1 - 1 / k) ** (self.power + 1) if self.power else self.decay * (1 - self.decay ** (k - 1)) / (1 - self.decay**k)
        if parameters := list(self.module.parameters()):
            torch._foreach_lerp_(parameters, list(self.source.parameters()), 1 - decay)
        for own, new in zip(self.module.buffers(), self.source.buffers(), strict=True):
            own.copy_(new)
