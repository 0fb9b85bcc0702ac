"""The moving average of the weights, which is what samples are drawn from."""

from copy import deepcopy

import torch
from torch import nn


class EMA:
    """Exponential moving average of a module's parameters, corrected for its start.

        ema_k = decay_k ema_(k-1) + (1 - decay_k) weights_k        decay_k = d (1 - d^(k-1)) / (1 - d^k)

    It is the exact average of weights_1 ... weights_k with weights proportional to d^(k-i): no trace of the random start is left,
    which the plain average with d = 0.999 would still hold to 31 % after 1,170 steps. (The correction of Adam: Kingma and Ba
    2014, arXiv 1412.6980, section 3.)
    """

    def __init__(self, module: nn.Module, decay: float):
        self.source, self.decay = module, decay
        self.module = deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def update(self, k: int) -> None:
        """Take in the weights after step k = 1, 2, ..."""
        decay = self.decay * (1 - self.decay ** (k - 1)) / (1 - self.decay**k)
        torch._foreach_lerp_(list(self.module.parameters()), list(self.source.parameters()), 1 - decay)
