"""Effects and intervals of the study (claims.toml).

    y = ln(Frechet distance) = arm + seed + e        e ~ N(0, s^2)

s is pooled over all arms with several seeds. A contrast within the same runs (raw against EMA
weights) has the standard error of its own values.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
from claims_study import Contrast
from scipy import stats

EQUAL = math.log(1.1)
Results = dict[tuple[str, int], dict[str, Any]]


@dataclass(frozen=True)
class Spread:
    """s and its degrees of freedom."""

    s: float
    df: int


@dataclass(frozen=True)
class Effect:
    """ln of a ratio: estimate, standard error, degrees of freedom, and the number of seeds."""

    value: float
    error: float
    df: int
    seeds: int

    def limit(self, level: float) -> float:
        """The effect is below this with probability `level`."""
        return self.value + stats.t.ppf(level, self.df) * self.error

    def p_above(self, bound: float) -> float:
        """p of the test that the effect is above `bound`."""
        return float(stats.t.sf((self.value - bound) / self.error, self.df))

    def p_below(self, bound: float) -> float:
        return float(stats.t.cdf((self.value - bound) / self.error, self.df))

    @property
    def usable(self) -> bool:
        return self.seeds > 1 or abs(self.value) > 4 * self.error

    @property
    def equal(self) -> bool:
        """Whether the 90 % interval is inside +-10 %."""
        return self.seeds > 1 and self.limit(0.05) > -EQUAL and self.limit(0.95) < EQUAL

    @property
    def smallest_visible(self) -> float:
        """The ratio that a one-sided test at 5 % would find four times in five."""
        return math.exp((stats.t.ppf(0.95, self.df) + stats.t.ppf(0.8, self.df)) * self.error)


def spread(results: Results) -> Spread:
    """Fit arm + seed to all arms with several seeds, by least squares.

    Pooled over all latents, although those of 64 channels have another autoencoder.
    """
    counts = Counter(arm for arm, _ in results)
    runs = sorted(run for run in results if counts[run[0]] > 1)
    if len({arm for arm, _ in runs}) < 2:
        raise SystemExit("two arms with several seeds are needed: run more (claims.py run)")
    y = np.array([math.log(results[run]["distances"][""]) for run in runs])
    arms, seeds = (sorted({run[k] for run in runs}) for k in (0, 1))
    columns = [[run[0] == arm for run in runs] for arm in arms]
    columns += [[run[1] == seed for run in runs] for seed in seeds[1:]]
    design = np.array(columns, float).T
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    df = len(runs) - np.linalg.matrix_rank(design)
    return Spread(math.sqrt(left @ left / df), int(df))


def terms(side: str | list[str]) -> list[tuple[str, str]]:
    """"ARM" or "ARM/VARIANT", or a list of these -> (arm, variant) each."""
    return [(arm, variant) for arm, _, variant in
            (term.partition("/") for term in ([side] if isinstance(side, str) else side))]


def distance(result: dict[str, Any], variant: str) -> float:
    return result["distances"][variant]


def denoising_error(result: dict[str, Any], variant: str) -> float:
    return mean(result["denoising_error"])


def measured(name: str, value: str, results: Results) -> list[float]:
    """A value of an arm, by seed. Of a probe: at the input of the last block."""
    found = [result[value] for (arm, _), result in results.items() if arm == name]
    return [value[-2] if isinstance(value, list) else value for value in found]


def by_seed(contrast: Contrast, results: Results,
            measure: Callable[[dict[str, Any], str], float] = distance) -> list[float]:
    """ln of `worse` minus ln of `better`, for each seed that all arms of a contrast have."""
    sides = [(sign, term) for sign, side in ((1, contrast.worse), (-1, contrast.better))
             for term in terms(side)]
    seeds = [seed for seed in sorted({seed for _, seed in results})
             if all((arm, seed) in results for _, (arm, _) in sides)]
    return [sum(sign * math.log(measure(results[arm, seed], variant))
                for sign, (arm, variant) in sides) for seed in seeds]


def effect(contrast: Contrast, results: Results, noise: Spread) -> Effect | None:
    """The mean over the seeds that all arms of a contrast have; None if there is no such seed."""
    values, (worse, better) = by_seed(contrast, results), map(terms, (contrast.worse,
                                                                      contrast.better))
    if not values:
        return None
    count, runs = len(values), len(worse) + len(better)
    error, df = noise.s * math.sqrt(runs / count), noise.df
    if count > 1 and {arm for arm, _ in worse} == {arm for arm, _ in better}:  # within runs
        error, df = stdev(values) / math.sqrt(count), count - 1
    return Effect(mean(values), error, df, count)


def holm(p: dict[str, float]) -> dict[str, float]:
    """Holm's correction of several tests (Holm 1979)."""
    corrected, largest = {}, 0.0
    for rank, name in enumerate(sorted(p, key=p.get)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[name]))
        corrected[name] = largest
    return corrected
