"""Effects, intervals and verdicts of the study (claims.toml).

    y = ln(Frechet distance) = arm + seed + e        e ~ N(0, s^2)

s is pooled over all arms with several seeds. The words of a verdict:

- holds: the effect has the stated direction (one-sided t test, corrected after Holm for all facts,
  p < 0.05) and reaches the stated ratio, also at half the learning rate, and no condition below
  removes it. For a ratio that is at most r: it is below r in the same test.
- holds only if X: so in the setting of the specification, but without X the 90 % interval is
  inside +-10 %, or at least half of the effect is gone (lower 95 % limit: a quarter).
- does not hold: the 90 % interval is inside +-10 %; or the effect is reversed (p < 0.05); or the
  claim states a ratio of 1.5 or more, and the upper 95 % limit is below it. Of at most r: above r
  (p < 0.05).
- not resolved: everything else.

An effect of one seed counts only if it is larger than 4 standard errors. At half the learning rate
the effect must not be below the stated ratio by more than its one-sided 95 % error. A contrast
within the same runs (raw against EMA weights) has the standard error of its own values.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
from claims_study import Bound, Claim, Contrast, Study
from scipy import stats

HOLDS, DOES_NOT, NOT_RESOLVED = "holds", "does not hold", "not resolved"
EQUAL, LARGE = math.log(1.1), 1.5
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


def p_value(contrast: Contrast, found: Effect) -> float:
    """p of what the contrast states."""
    if contrast.at_most:
        return found.p_below(math.log(contrast.at_most))
    return found.p_above(0)


def reaches(contrast: Contrast, found: Effect) -> bool:
    """Whether the estimate has the stated size."""
    if contrast.at_most:
        return found.value <= math.log(contrast.at_most)
    return found.value >= math.log(contrast.ratio)


def possible(contrast: Contrast, found: Effect | None) -> bool:
    """Whether the stated size is inside the one-sided 95 % limit; True if there is no estimate."""
    if found is None:
        return True
    if contrast.at_most:
        return found.limit(0.05) <= math.log(contrast.at_most)
    return found.limit(0.95) >= math.log(contrast.ratio)


def contrast_verdict(contrast: Contrast, found: Effect | None, p: float | None = None) -> str:
    """holds, does not hold or not resolved. p: corrected, if it is one of several tests."""
    if found is None or not found.usable:
        return NOT_RESOLVED
    if (p_value(contrast, found) if p is None else p) < 0.05 and reaches(contrast, found):
        return HOLDS
    if contrast.at_most:
        above = found.p_above(math.log(contrast.at_most)) < 0.05
        return DOES_NOT if above else NOT_RESOLVED
    too_small = contrast.ratio >= LARGE and found.limit(0.975) < math.log(contrast.ratio)
    return DOES_NOT if found.equal or found.p_below(0) < 0.05 or too_small else NOT_RESOLVED


def removes(whole: Effect, part: Effect | None) -> bool:
    """Whether a condition removes an effect."""
    if part is None:
        return False
    difference = whole.value - part.value
    if part.seeds == 1 and abs(difference) <= 4 * math.hypot(whole.error, part.error):
        return False
    gone = 1 - part.value / whole.value
    # the delta method: whole and part share the arm `better` at most, so the error is not too small
    error = math.hypot(part.error, part.value / whole.value * whole.error) / whole.value
    return part.equal or (gone >= 0.5 and
                          gone - stats.t.ppf(0.975, whole.df) * error > 0.25)


@dataclass(frozen=True)
class Verdict:
    """fact, explanation: words. condition: X of "holds only if X". effect: of the fact."""

    fact: str
    explanation: str
    condition: str
    effect: Effect | None


def bound_verdict(bound: Bound, results: Results) -> str:
    """of an explanation that is a bound of a measured value."""
    values = measured(bound.arm, bound.value, results)
    if not values or min(values) < bound.below <= max(values):
        return NOT_RESOLVED
    return HOLDS if max(values) < bound.below else DOES_NOT


def measured(name: str, value: str, results: Results) -> list[float]:
    """A value of an arm, by seed. Of a probe: at the input of the last block."""
    found = [result[value] for (arm, _), result in results.items() if arm == name]
    return [value[-2] if isinstance(value, list) else value for value in found]


def fact_verdict(claim: Claim, found: Effect | None, p: float | None, results: Results,
                 noise: Spread) -> tuple[str, str]:
    """(word, condition)."""
    word = contrast_verdict(claim.fact, found, p)
    if word != HOLDS:
        return word, ""
    at_low_rate = effect(claim.low_rate, results, noise) if claim.low_rate else None
    if not possible(claim.fact, at_low_rate):
        return NOT_RESOLVED, ""
    if claim.same_latents and mean(by_seed(claim.fact, results, denoising_error)) < 0:
        return NOT_RESOLVED, ""
    removed = [condition.text for condition in claim.conditions
               if removes(found, effect(condition, results, noise))]
    return ("holds only if", removed[0]) if removed else (HOLDS, "")


def verdicts(study: Study, results: Results) -> dict[str, Verdict]:
    """By claim."""
    noise = spread(results)
    effects = {name: effect(claim.fact, results, noise) for name, claim in study.claims.items()}
    p = holm({name: p_value(study.claims[name].fact, found) for name, found in effects.items()
              if found})
    verdict = {}
    for name, claim in study.claims.items():
        fact, condition = fact_verdict(claim, effects[name], p.get(name), results, noise)
        why = claim.explanation
        explained = (bound_verdict(why, results) if isinstance(why, Bound) else
                     contrast_verdict(why, effect(why, results, noise)))
        verdict[name] = Verdict(fact, explained, condition, effects[name])
    return verdict
