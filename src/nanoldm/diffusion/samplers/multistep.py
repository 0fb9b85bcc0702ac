"""Samplers that remember what the network said before: higher order from one network pass a step."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from nanoldm.diffusion.denoiser import Estimate
from nanoldm.diffusion.samplers.transition import moves
from nanoldm.diffusion.schedule import NoiseSchedule
from nanoldm.utils.errors import InputError

# Adams-Bashforth: weights of the newest slope, the one before ..., for as many slopes as are known
WEIGHTS = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def dpm_solver_2m(denoise: Callable[[Tensor, Tensor], Estimate], x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
                  noise: Callable[[], Tensor]) -> Iterator[tuple[Tensor, Estimate]]:
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095, algorithm 2): x0 extrapolated linearly in lambda = log(alpha / sigma).

        x_s = sigma_s / sigma_t x_t + alpha_s (1 - e^-h) D        h = lambda_s - lambda_t
        D = x0 + (x0 - x0_before) h / (2 h_before)

    The first step has nothing to extrapolate from, and the last, to the clean level, has h = infinity: there D = x0.
    """
    x, before, h_before = x_T, None, None
    for move in moves(schedule, timesteps, x_T.device):
        estimate = denoise(x, move.t)
        h = (move.alpha_s / move.sigma_s).log() - (move.alpha_t / move.sigma_t).log()
        decay = move.sigma_s * move.alpha_t / (move.sigma_t * move.alpha_s)                   # e^-h, also where h is infinite
        D = estimate.x0
        if before is not None and not move.last:
            D = D + (D - before) * (h / (2 * h_before))
        x = move.sigma_s / move.sigma_t * x + move.alpha_s * (1 - decay) * D
        before, h_before = estimate.x0, h
        yield x, estimate


def adams_bashforth(denoise: Callable[[Tensor, Tensor], Estimate], x_T: Tensor, schedule: NoiseSchedule, timesteps: Sequence[int],
                    noise: Callable[[], Tensor], order: int = 4) -> Iterator[tuple[Tensor, Estimate]]:
    """A DDIM step with eps replaced by a combination of the last `order` (1 to 4) of them, WEIGHTS.

    iPNDM: Zhang and Chen 2022, arXiv 2204.13902, algorithm 1 (with eps in place of its slopes). The weights are those of equal
    steps; order 1 is DDIM.
    """
    if not 1 <= order <= len(WEIGHTS):
        raise InputError(f"Adams-Bashforth of order {order}: choose 1 to {len(WEIGHTS)}")
    x, known = x_T, deque(maxlen=order)
    for move in moves(schedule, timesteps, x_T.device):
        estimate = denoise(x, move.t)
        known.appendleft(estimate.eps)
        eps = sum(weight * slope for weight, slope in zip(WEIGHTS[len(known) - 1], known, strict=True))
        # The first step takes x0 as it is: alpha_t may be 0 there.
        x0 = estimate.x0 if len(known) == 1 else (x - move.sigma_t * eps) / move.alpha_t
        x = move.alpha_s * x0 + move.sigma_s * eps
        yield x, estimate
