"""What a network is trained to predict, and how its output becomes an estimate of (x0, eps).

Every kind of prediction is two functions, so that nothing else needs to know which one is in use.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """target(x0, eps, alpha, sigma) is the regression target; estimate(output, x_t, alpha, sigma) -> (x0, eps).

    alpha and sigma must broadcast against x_t.
    """

    target: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    estimate: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def epsilon_target(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The noise itself (DDPM, arXiv 2006.11239, eq. 14)."""
    return eps


def epsilon_estimate(output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Solve x_t = alpha x0 + sigma eps for x0 (DDPM, eq. 15)."""
    return (x_t - sigma * output) / alpha, output


PREDICTIONS = {"epsilon": Prediction(epsilon_target, epsilon_estimate)}
