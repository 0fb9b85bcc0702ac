"""A sampler as rows of numbers, found by running it on unit vectors.

Every sampler is linear in what it is given: points x, estimates x0 and eps, noise z. `rows_of` runs
the sampler itself with a denoiser that answers unit vectors, and reads from the results

    next point = sum_j (a_j x_j + b_j x0_j + c_j eps_j) + sum_m d_m z_m

j = 0 is the latest network evaluation, j = 1 the one before, ... So the page needs no formula of a
sampler, and one that is new here works there.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nanoldm.diffusion import Estimate
from nanoldm.diffusion.inversion import invert
from nanoldm.diffusion.prediction import PREDICTIONS
from nanoldm.diffusion.samplers import evaluations
from nanoldm.diffusion.schedule import NoiseSchedule
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError

HISTORY = 4  # evaluations that a sampler may remember
TOLERANCE = 1e-6


class Row(NamedTuple):
    """What follows a network evaluation at timestep t.

    shown: 0 if the next point is not an x that the sampler yields; else which estimate it yields
        with it: 1 for the latest, 2 for the one before, ...
    x, x0, eps: factors of the latest points and estimates. noise: factors of the new draws.
    """

    t: int
    shown: int
    x: list[float]
    x0: list[float]
    eps: list[float]
    noise: list[float]


class Probe:
    """Stands for a denoiser, for noise, and for what a sampler makes of them.

    Every tensor is a row of coefficients: one axis for each point, estimate and draw.
    own_axes: whether points get axes of their own, so that the solution is unique.
    """

    def __init__(self, axes: int, own_axes: bool = True):
        self.axes, self.used, self.own_axes = axes, 0, own_axes
        self.starts: list[int] = []  # the first axis of each evaluation
        self.targets: list[Tensor] = []  # the points as the sampler made them
        self.points: list[Tensor] = []
        self.estimates: list[Estimate] = []
        self.timesteps: list[int] = []
        self.draws: list[list[Tensor]] = [[]]  # after each evaluation; first: before all

    def unit(self) -> Tensor:
        """A new axis."""
        found = torch.zeros(1, self.axes, dtype=torch.float64)
        found[0, self.used] = 1
        self.used += 1
        return found

    def denoise(self, x: Tensor, t: Tensor) -> Estimate:
        self.targets.append(x.clone())
        self.starts.append(self.used)
        if self.own_axes:  # in place: the sampler's x has the new axis from now on
            x += self.unit()
        self.points.append(x.clone())
        self.estimates.append(Estimate(self.unit(), self.unit()))
        self.timesteps.append(int(t))
        self.draws.append([])
        return self.estimates[-1]

    def noise(self) -> Tensor:
        self.draws[-1].append(self.unit())
        return self.draws[-1][-1]


def rows_of(settings: Sampling, schedule: NoiseSchedule) -> list[Row]:
    """The rows of resolved settings. Raises InputError for a sampler that is not linear."""
    run, nfe = settings.function(), len(evaluations(settings.name, settings.timesteps))
    probe, results = Probe(1 + 5 * nfe), {}  # an evaluation: a point, x0, eps, at most 2 draws
    for x, estimate in run(probe.denoise, probe.unit(), schedule, settings.timesteps, probe.noise):
        back = next(k for k, own in enumerate(reversed(probe.estimates), 1) if own is estimate)
        results[len(probe.points)] = back, x.clone()
    return list(solve(probe, results, settings.name))


def inversion_rows(schedule: NoiseSchedule, timesteps: Sequence[int], iterations: int) -> list[Row]:
    """The rows of DDIM inversion, from clean latents to x_T. The first, t = -1, has no evaluation.
    """
    probe = Probe(1 + 2 * iterations * len(timesteps), own_axes=False)
    start, found = probe.unit(), torch.zeros(1)
    probe.targets, probe.points = [start], [start]
    probe.estimates, probe.timesteps = [Estimate(0 * start, 0 * start)], [-1]
    probe.draws.append([])
    for x in invert(probe.denoise, start, schedule, timesteps, iterations):
        found = x
    return list(solve(probe, {len(probe.points): (1, found)}, "inversion"))


def solve(probe: Probe, results: dict[int, tuple[int, Tensor]], name: str) -> Iterator[Row]:
    """The factors of each next point: the solution of a small linear system.

    results: {evaluations so far: (shown, the x that was yielded)}.
    """
    targets = [*probe.targets, results[len(probe.points)][1]]
    for done, target in enumerate(targets[1:], 1):
        recent = range(done - 1, max(done - 1 - HISTORY, -1), -1)
        columns = [*(probe.points[k] for k in recent),
                   *(part for index in (0, 1) for part in
                     (probe.estimates[k][index] for k in recent)), *probe.draws[done]]
        matrix = torch.cat(columns).T
        # The axes of the recent evaluations determine the factors; all axes check them.
        recent_axes = slice(probe.starts[recent[-1]] if probe.own_axes else 0, None)
        part = matrix[recent_axes], target.T[recent_axes]
        used = part[0].abs().sum(1) + part[1][:, 0].abs() > 0
        factors = torch.linalg.lstsq(part[0][used], part[1][used], driver="gelsd").solution
        if (matrix @ factors - target.T).abs().max() > TOLERANCE * target.abs().max():
            raise InputError(f"the page cannot have the sampler {name}: its steps are not linear "
                             f"in the last {HISTORY} estimates")
        found, n = [round_off(factor) for factor in factors[:, 0].tolist()], len(recent)
        shown, _ = results.get(done, (0, None))
        yield Row(probe.timesteps[done - 1], shown, trimmed(found[:n]),
                  trimmed(found[n:2 * n]), trimmed(found[2 * n:3 * n]), found[3 * n:])


def round_off(factor: float) -> float:
    """Without the noise of the solution; nine digits hold a float32."""
    return 0.0 if abs(factor) < 1e-9 else float(f"{factor:.9g}")


def trimmed(factors: list[float]) -> list[float]:
    """Without the zeros at the end."""
    while factors and factors[-1] == 0:
        factors = factors[:-1]
    return factors


def levels_of(schedule: NoiseSchedule, prediction: str) -> list[list[float]]:
    """[alpha, sigma, p, q] of timesteps 0 ... T-1, with x0 = p x_t + q output."""
    alpha, sigma = schedule(torch.arange(schedule.timesteps))
    one, zero, estimate = torch.ones(1), torch.zeros(1), PREDICTIONS[prediction].estimate
    p, q = estimate(zero, one, alpha, sigma)[0], estimate(one, zero, alpha, sigma)[0]
    return torch.stack(torch.broadcast_tensors(alpha, sigma, p, q), 1).tolist()
