"""Prediction targets, and the conversion of a network output to an estimate of (x0, eps).

A target is a linear combination of x0 and eps. To add one, write its two functions.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Prediction(NamedTuple):
    """The functions of a prediction target. alpha and sigma must broadcast against x_t.

    target(x0, eps, alpha, sigma): the regression target.
    estimate(output, x_t, alpha, sigma): network output -> (x0, eps).
    """

    target: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    estimate: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def epsilon_target(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The noise itself (DDPM, arXiv 2006.11239, eq. 14)."""
    return eps


def epsilon_estimate(output: Tensor, x_t: Tensor, alpha: Tensor,
                     sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Solve x_t = alpha x0 + sigma eps for x0 (DDPM, eq. 15)."""
    return (x_t - sigma * output) / alpha, output


def x0_target(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The clean latents."""
    return x0


def x0_estimate(output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Solve x_t = alpha x0 + sigma eps for eps."""
    return output, (x_t - alpha * output) / sigma


def v_target(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """v = alpha eps - sigma x0 (Salimans and Ho 2022, arXiv 2202.00512, section 4)."""
    return alpha * eps - sigma * x0


def v_estimate(output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Solve v = alpha eps - sigma x0 and x_t = alpha x0 + sigma eps for x0 and eps.

        x0  = (alpha x_t - sigma v) / (alpha^2 + sigma^2)
        eps = (sigma x_t + alpha v) / (alpha^2 + sigma^2)

    The divisor is 1 on a variance-preserving schedule.
    """
    square = alpha**2 + sigma**2
    return (alpha * x_t - sigma * output) / square, (sigma * x_t + alpha * output) / square


def flow_target(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """u = eps - x0, the velocity from data to noise (Liu et al. 2022, arXiv 2209.03003, eq. 1)."""
    return eps - x0


def flow_estimate(output: Tensor, x_t: Tensor, alpha: Tensor,
                  sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Solve u = eps - x0 and x_t = alpha x0 + sigma eps for x0 and eps.

        x0  = (x_t - sigma u) / (alpha + sigma)
        eps = (x_t + alpha u) / (alpha + sigma)

    The divisor is 1 on the rectified schedule.
    """
    total = alpha + sigma
    return (x_t - sigma * output) / total, (x_t + alpha * output) / total


PREDICTIONS = {
    "epsilon": Prediction(epsilon_target, epsilon_estimate),
    "x0": Prediction(x0_target, x0_estimate),
    "v": Prediction(v_target, v_estimate),
    "flow": Prediction(flow_target, flow_estimate),
}
