"""The words of a verdict of the study (claims.toml), from its effects (claims_statistics.py):

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
the effect must not be below the stated ratio by more than its one-sided 95 % error.
"""

import math
from dataclasses import dataclass
from statistics import mean

from claims_statistics import (
    Effect,
    Results,
    Spread,
    by_seed,
    denoising_error,
    effect,
    holm,
    measured,
    spread,
)
from claims_study import Bound, Claim, Contrast, Study
from scipy import stats

HOLDS, DOES_NOT, NOT_RESOLVED = "holds", "does not hold", "not resolved"
LARGE = 1.5


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
