"""The text of docs/claims.md: every number is from the results of the study."""

import math
from collections.abc import Callable
from statistics import mean
from typing import Any

import jinja2
import numpy as np
from claims_statistics import Effect, Results, Spread, effect, measured, spread, terms
from claims_study import HERE, Bound, Contrast, Study
from claims_verdicts import Verdict, verdicts

from nanoldm.diffusion import LOG_SNRS

TEMPLATE = HERE / "claims.md.jinja"
NOT_RUN = "(not run)"
# Arms that a section of the page has, although no contrast of its claim has them.
MORE = {"1": ("lifted-v", "64-channels-x0", "64-channels-wide", "reference-long",
              "64-channels-long"),
        "2": ("no-time",), "5": ("latents-tenth",), "7": ("rate-high", "random-start-rate-high")}


class Page:
    """What the template and the pictures ask for."""

    def __init__(self, study: Study, results: Results):
        self.study = study
        self.results = {run: found for run, found in results.items() if "diverged" not in found}
        self.diverged = self.titles(results.keys() - self.results.keys())
        self.missing = self.titles({(name, seed) for name, arm in study.arms.items()
                                    for seed in arm.seeds} - results.keys())
        self.noise: Spread = spread(self.results)
        self.verdicts: dict[str, Verdict] = verdicts(study, self.results)

    def titles(self, runs: set[tuple[str, int]]) -> list[str]:
        return [f"{self.study.arms[arm].title} (seed {seed})" for arm, seed in sorted(runs)]

    def runs(self, arm: str) -> dict[int, dict[str, Any]]:
        """{seed: result}."""
        return {seed: result for (name, seed), result in sorted(self.results.items())
                if name == arm}

    def variants(self, name: str) -> list[tuple[str, str]]:
        """(arm, variant) of all that a claim compares, each once, the reference first."""
        claim = self.study.claims[name]
        contrasts = [claim.fact, claim.explanation, claim.low_rate, *claim.conditions, *claim.also]
        sides = [side for each in contrasts if isinstance(each, Contrast)
                 for side in (each.better, each.worse)]
        found = [("reference", ""), *(term for side in sides for term in terms(side))]
        found += [(each.arm, "") for each in contrasts if isinstance(each, Bound)]
        return list(dict.fromkeys([*found, *((arm, "") for arm in MORE.get(name, ()))]))

    def arms(self, name: str) -> list[str]:
        return list(dict.fromkeys(arm for arm, _ in self.variants(name)))

    # Verdicts and ratios

    def words(self, name: str) -> tuple[str, str]:
        """The verdicts of the fact and of the explanation."""
        verdict = self.verdicts[name]
        fact = f"{verdict.fact} {verdict.condition}".strip()
        return f"**{fact}**", f"**{verdict.explanation}**"

    def fact(self, name: str) -> str:
        return written(self.verdicts[name].effect).replace(" times", "")

    def ratio(self, worse: str | list[str], better: str | list[str]) -> str:
        """Such as: 1.52 times [1.40, 1.66]."""
        return written(effect(Contrast(worse=worse, better=better), self.results, self.noise))

    @property
    def smallest(self) -> str:
        """The smallest ratio of two arms with three seeds that the study sees."""
        found = Effect(0.0, self.noise.s * math.sqrt(2 / 3), self.noise.df, 3)
        return f"{found.smallest_visible:.2f}"

    # Measured values

    def average(self, arm: str, measure: Callable[[dict[str, Any]], float], form: str) -> str:
        """The mean of a measured value over the seeds."""
        found = [measure(result) for result in self.runs(arm).values()]
        return form % mean(found) if found else NOT_RUN

    def value(self, arm: str, name: str, digits: int = 2) -> str:
        return self.average(arm, lambda result: result[name], f"%.{digits}f")

    def psnr(self, arm: str, noise: str) -> str:
        """Of latents with noise, decoded."""
        return self.average(arm, lambda result: result["psnr"][noise], "%.1f dB")

    def diagnostic(self, arm: str, t: int) -> str:
        return self.average(arm, lambda result: result["diagnostic"][str(t)]["distance"], "%.2f")

    def track(self, arm: str, name: str) -> str:
        """The distance with another average of the weights."""
        return self.average(arm, lambda result: result["tracks"][name], "%.2f")

    def noisiest(self, arm: str) -> str:
        """The denoising error at the noisiest level over that of the reference."""
        base, level = self.runs("reference"), int(np.argmin(LOG_SNRS))
        found = [result["denoising_error"][level] / base[seed]["denoising_error"][level]
                 for seed, result in self.runs(arm).items() if seed in base]
        return f"{mean(found):.2f}" if found else NOT_RUN

    def by_seed(self, arm: str, value: str) -> str:
        """A value that the statistics use, of each seed."""
        return ", ".join(f"{each:.2f}" for each in measured(arm, value, self.results)) or NOT_RUN

    # Tables and commands

    def row(self, arm: str) -> str:
        """A line of the table of a claim."""
        runs, title = self.runs(arm), self.study.arms[arm].title
        if not runs:
            return f"| {title} | not run | | | | | |"
        distances = ", ".join(f"{result['distances']['']:.2f}" for result in runs.values())
        clipped = self.average(arm, lambda result: 100 * result["clipped"], "%.0f %%")
        parameters = next(iter(runs.values()))["parameters"]
        return " | ".join([f"| {title}", distances, self.value(arm, "rotation_frechet_train"),
                           self.value(arm, "confidence", 3), self.value(arm, "reconstruction"),
                           clipped, f"{parameters:,} |"])

    def commands(self, name: str) -> list[str]:
        """How a reader repeats the arms of a claim that are not the reference."""
        return [self.study.command(arm) for arm in self.arms(name) if arm != "reference"]


def written(found: Effect | None) -> str:
    if found is None:
        return NOT_RUN
    low, high = (math.exp(found.limit(level)) for level in (0.025, 0.975))
    return f"{math.exp(found.value):.2f} times [{low:.2f}, {high:.2f}]"


def text(page: Page) -> str:
    """docs/claims.md."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False,
                                     undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(page=page, study=page.study, r=page.ratio)
