"""The statistics of the study of the design claims: effects, intervals and verdicts."""

import math

import claims_statistics as statistics
import claims_verdicts
import numpy as np
import pytest
from claims_study import Contrast, load_study


def simulated(effects: dict[str, float], s: float, seed: int, seeds: int = 3) -> dict:
    """Results whose ln distance is effect + a value of the seed + N(0, s^2)."""
    rng = np.random.default_rng(seed)
    shift = rng.normal(0, 0.3, seeds)
    return {(arm, k): {"distances": {"": math.exp(value + shift[k] + rng.normal(0, s))}}
            for arm, value in effects.items() for k in range(seeds)}


ARMS = {f"arm-{k}": 0.3 * k for k in range(6)}
CONTRAST = Contrast(worse="arm-1", better="arm-0", ratio=1.1)


def test_the_spread_is_that_of_the_noise_without_arms_and_seeds():
    found = [statistics.spread(simulated(ARMS, 0.05, seed)) for seed in range(200)]
    assert found[0].df == 6 * 3 - 6 - 2
    assert np.mean([each.s**2 for each in found]) == pytest.approx(0.05**2, rel=0.1)


def test_95_of_100_intervals_contain_the_effect():
    inside = 0
    for seed in range(400):
        results = simulated(ARMS, 0.05, seed)
        effect = statistics.effect(CONTRAST, results, statistics.spread(results))
        inside += effect.limit(0.025) < 0.3 < effect.limit(0.975)
    assert 0.92 < inside / 400 < 0.98


def test_a_contrast_of_several_terms_adds_them():
    contrast = Contrast(worse=["arm-3", "arm-0"], better=["arm-1", "arm-2"], ratio=1.1)
    results = simulated(ARMS, 1e-9, 0)
    effect = statistics.effect(contrast, results, statistics.Spread(0.1, 10))
    assert effect.value == pytest.approx(0.9 + 0 - 0.3 - 0.6, abs=1e-6)
    assert effect.error == pytest.approx(0.1 * math.sqrt(4 / 3))
    assert statistics.effect(Contrast(worse="x", better="arm-1"), results,
                             statistics.Spread(0.1, 10)) is None


def test_holm_of_a_worked_example():
    corrected = statistics.holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert corrected == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})


def effect(value: float, error: float = 0.03, seeds: int = 3) -> statistics.Effect:
    return statistics.Effect(value, error, 12, seeds)


@pytest.mark.parametrize(("contrast", "found", "word"), [
    (CONTRAST, effect(0.3), "holds"),
    (CONTRAST, effect(0.08), "not resolved"),                  # above 0, below 10 %
    (CONTRAST, effect(0.0), "does not hold"),                  # equal
    (CONTRAST, effect(-0.3), "does not hold"),                 # reversed
    (CONTRAST, effect(0.1, 0.2), "not resolved"),
    (CONTRAST, effect(0.3, 0.1, seeds=1), "not resolved"),     # below 4 standard errors
    (CONTRAST, effect(0.5, 0.1, seeds=1), "holds"),
    (CONTRAST, None, "not resolved"),
    (Contrast(worse="a", better="b", ratio=1.5), effect(0.2), "does not hold"),
    (Contrast(worse="a", better="b", ratio=1.2), effect(0.1), "not resolved"),
    (Contrast(worse="a", better="b", at_most=1.1), effect(0.0), "holds"),
    (Contrast(worse="a", better="b", at_most=1.1), effect(0.3), "does not hold"),
    (Contrast(worse="a", better="b", at_most=1.1), effect(0.09), "not resolved"),
])
def test_the_words_of_a_verdict(contrast, found, word):
    assert claims_verdicts.contrast_verdict(contrast, found) == word


def test_a_condition_removes_an_effect_if_it_is_small_without_it():
    whole = effect(1.0)
    assert claims_verdicts.removes(whole, effect(0.0))
    assert claims_verdicts.removes(whole, effect(0.3))                     # 70 % are gone
    assert not claims_verdicts.removes(whole, effect(0.8))
    assert not claims_verdicts.removes(whole, effect(0.3, 0.3, seeds=2))   # perhaps
    assert not claims_verdicts.removes(whole, None)
    assert claims_verdicts.removes(whole, effect(0.0, seeds=1))
    assert not claims_verdicts.removes(effect(0.1), effect(0.0, seeds=1))


def test_a_contrast_within_runs_has_the_error_of_its_own_values():
    results = simulated(ARMS, 0.05, 0)
    for (_, seed), result in results.items():
        result["distances"]["raw"] = result["distances"][""] * math.exp(0.4 + 0.01 * (seed - 1))
    contrast = Contrast(worse="arm-0/raw", better="arm-0", ratio=1.1)
    effect = statistics.effect(contrast, results, statistics.spread(results))
    assert (effect.value, effect.df) == (pytest.approx(0.4), 2)
    assert effect.error == pytest.approx(0.01 / math.sqrt(3))


def test_a_clear_study_gets_clear_words():
    """Distances made so that claim 1 holds only if the noise schedule is not adapted."""
    study = load_study()
    effects = dict.fromkeys(study.arms, 0.0) | {"64-channels": 1.5, "64-channels-rate-low": 1.5,
                                                "64-channels-v": 1.5}
    results = simulated(effects, 0.02, 3)
    rng = np.random.default_rng(0)
    for result in results.values():
        for variant in ("raw", "ddpm", "raw-ddpm", "short", "raw-short"):
            result["distances"][variant] = result["distances"][""] * math.exp(rng.normal(0, 0.01))
        result |= {"denoising_error": [1.0], "probe": [0.9, 0.8], "first_loss": 1.001}
    found = claims_verdicts.verdicts(study, results)
    assert (found["1"].fact, found["1"].explanation) == ("holds only if", "does not hold")
    assert found["1"].condition == study.claims["1"].conditions[0].text
    assert [found[name].fact for name in "2345"] == ["does not hold"] * 4
    assert found["6"].fact == found["7"].fact == found["7"].explanation == "holds"
    assert found["2"].explanation == "does not hold"                  # the time is read: R^2 0.8
