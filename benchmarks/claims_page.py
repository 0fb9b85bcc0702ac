"""Writes docs/claims.md and its pictures from the results of the study."""

import base64
import io
import math
from pathlib import Path
from statistics import mean
from typing import Any

import jinja2
import numpy as np
from claims_statistics import (
    Effect,
    Results,
    Spread,
    Verdict,
    bound_values,
    effect,
    spread,
    terms,
    verdicts,
)
from claims_study import HERE, Bound, Claim, Contrast, Study
from PIL import Image

from nanoldm.diffusion import LOG_SNRS
from nanoldm.evaluation import plots
from nanoldm.utils import images as pictures
from nanoldm.utils.files import write_text

TEMPLATE = HERE / "claims.md.jinja"
NOT_RUN = "(not run)"


class Page:
    """What the template asks for; every number of the page comes from here."""

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

    def ratio(self, worse: str | list[str], better: str | list[str]) -> str:
        """Such as: 1.52 times [1.40, 1.66]."""
        return written(effect(Contrast(worse=worse, better=better), self.results, self.noise))

    def fact(self, name: str) -> str:
        return written(self.verdicts[name].effect).replace(" times", "")

    def words(self, name: str) -> tuple[str, str]:
        """The verdicts of the fact and of the explanation."""
        verdict = self.verdicts[name]
        fact = f"{verdict.fact} {verdict.condition}".strip()
        return f"**{fact}**", f"**{verdict.explanation}**"

    def value(self, arm: str, name: str, digits: int = 2) -> str:
        """The mean of a measured number over the seeds."""
        found = [result[name] for result in self.runs(arm).values() if name in result]
        return f"{mean(found):.{digits}f}" if found else NOT_RUN

    def bound(self, name: str) -> str:
        """The values of an explanation that is a bound, of each seed."""
        why = self.study.claims[name].explanation
        found = bound_values(why, self.results) if isinstance(why, Bound) else []
        return ", ".join(f"{value:.2f}" for value in found) or NOT_RUN

    def runs(self, arm: str) -> dict[int, dict[str, Any]]:
        return {seed: result for (name, seed), result in sorted(self.results.items())
                if name == arm}

    def rows(self, name: str) -> list[str]:
        """A line of the table for each arm of a claim."""
        return [self.row(arm) for arm in arms_of(self.study.claims[name])]

    def row(self, arm: str) -> str:
        runs, title = self.runs(arm), self.study.arms[arm].title
        if not runs:
            return f"| {title} | not run | | | | | |"
        distances = ", ".join(f"{result['distances']['']:.2f}" for result in runs.values())
        clipped = 100 * mean(result["clipped"] for result in runs.values())
        parameters = next(iter(runs.values()))["parameters"]
        return " | ".join([f"| {title}", distances, self.value(arm, "rotation_frechet_train"),
                           self.value(arm, "confidence", 3), self.value(arm, "reconstruction"),
                           f"{clipped:.0f} %", f"{parameters:,} |"])

    def commands(self, name: str) -> list[str]:
        """How a reader repeats the arms of a claim that are not the reference."""
        return [self.study.command(arm) for arm in arms_of(self.study.claims[name])
                if arm != "reference"]

    def psnr(self, arm: str, noise: str) -> str:
        """Of latents with noise, decoded."""
        found = [result["psnr"][noise] for result in self.runs(arm).values()]
        return f"{mean(found):.1f} dB" if found else NOT_RUN

    def diagnostic(self, arm: str, t: int) -> str:
        found = [result["diagnostic"][str(t)]["distance"] for result in self.runs(arm).values()
                 if "diagnostic" in result]
        return f"{mean(found):.2f}" if found else NOT_RUN

    @property
    def smallest(self) -> str:
        """The smallest ratio of two arms with three seeds that the study sees."""
        found = Effect(0.0, self.noise.s * math.sqrt(2 / 3), self.noise.df, 3)
        return f"{found.smallest_visible:.2f}"


def written(found: Effect | None) -> str:
    if found is None:
        return NOT_RUN
    low, high = (math.exp(found.limit(level)) for level in (0.025, 0.975))
    return f"{math.exp(found.value):.2f} times [{low:.2f}, {high:.2f}]"


def arms_of(claim: Claim) -> list[str]:
    """All arms that a claim compares, each once, the reference first."""
    contrasts = [claim.fact, claim.explanation, claim.low_rate, *claim.conditions, *claim.also]
    sides = [side for each in contrasts if isinstance(each, Contrast)
             for side in (each.better, each.worse)]
    names = [arm for side in sides for arm, _ in terms(side)]
    names += [each.arm for each in contrasts if isinstance(each, Bound)]
    return list(dict.fromkeys(["reference", *names]))


def bars(page: Page, name: str) -> Image.Image:
    """The distances of the arms of a claim, each with its digits of seeds 0 to 7."""
    names = [arm for arm in arms_of(page.study.claims[name]) if page.runs(arm)]
    sheet, (left, right) = plots.figure(1, 2, 0.62 * len(names) + 0.6, 4.6)
    for row, arm in enumerate(names):
        values = [result["distances"][""] for result in page.runs(arm).values()]
        left.barh(row, math.exp(mean(map(math.log, values))), color=f"C{row % 10}", alpha=0.6)
        left.plot(values, [row] * len(values), "k.", markersize=4)
        strip = decoded(page.runs(arm)[min(page.runs(arm))]["digits"])
        right.imshow(strip, extent=(0, 8, row + 0.48, row - 0.48), cmap="gray", aspect="auto")
    left.set(yticks=range(len(names)), yticklabels=[page.study.arms[arm].title for arm in names],
             xlabel="Frechet distance to training images", ylim=(len(names) - 0.5, -0.5))
    right.set(xlim=(0, 8), ylim=(len(names) - 0.5, -0.5), xticks=[], yticks=[],
              xlabel="seeds 0 to 7 of the first run")
    return plots.picture(sheet)


def decoded(content: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def probes(page: Page) -> Image.Image:
    """How well the time is read after each block."""
    sheet, (ax,) = plots.figure(1, 1, 2.8, 6.5)
    for k, arm in enumerate(("reference", "added-once", "no-time")):
        for seed, result in page.runs(arm).items():
            label = page.study.arms[arm].title if seed == 0 else None
            ax.plot(result["probe"], ".-", color=f"C{k}", label=label, linewidth=1)
    ax.set(ylim=(0, 1.02), xlabel="after block (0: before the first)", xticks=range(5),
           ylabel="R² of log-SNR, linear")
    sheet.legend(loc="outside right upper", frameon=False)
    return plots.picture(sheet)


def averages(page: Page) -> Image.Image:
    """Raw and EMA weights during the training, with a rate that falls and with a constant one."""
    sheet, (ax,) = plots.figure(1, 1, 2.8, 6.5)
    for arm, style in (("reference", "-"), ("constant-rate", "--")):
        for seed, result in page.runs(arm).items():
            steps = [int(step) for step in result["tracks"] if step.isdigit()]
            for weights, variant, colour in (("raw", "raw", "C3"), ("ema", "", "C0")):
                values = [result["tracks"][str(step)][weights] for step in steps]
                label = f"{page.study.arms[arm].title}, {weights.replace('ema', 'EMA')}"
                ax.plot([*steps, result["steps"]], [*values, result["distances"][variant]], ".",
                        linestyle=style, color=colour, label=None if seed else label, linewidth=1)
    ax.set(yscale="log", xlabel="step", ylabel="Frechet distance")
    sheet.legend(loc="outside right upper", frameon=False)
    return plots.picture(sheet)


def diagnostic(page: Page) -> Image.Image:
    """Held-out digits, noised to t and denoised, by 6 and by 64 channels."""
    parts = []
    for arm in ("reference", "64-channels"):
        found = page.runs(arm)[0]["diagnostic"]
        for t, result in found.items():
            strip = np.vstack([decoded(result["noised"]), decoded(result["denoised"])])
            image = Image.fromarray(strip)
            caption = f"{page.study.arms[arm].title}, t = {t}"
            parts.append((caption, image.resize((2 * image.width, 2 * image.height))))
    half = len(parts) // 2
    columns = [pictures.captioned(parts[:half]), pictures.captioned(parts[half:])]
    return pictures.captioned([("", column) for column in columns], across=True)


def errors(page: Page) -> Image.Image:
    """The denoising error at each noise level, relative to the reference."""
    sheet, (ax,) = plots.figure(1, 1, 2.8, 6.5)
    base = page.runs("reference")
    for arm in ("axial", "no-position", "added-once", "no-time"):
        runs = page.runs(arm)
        shared = sorted(runs.keys() & base.keys())
        if shared:
            ratio = np.mean([np.divide(runs[k]["denoising_error"], base[k]["denoising_error"])
                             for k in shared], axis=0)
            ax.plot(LOG_SNRS, ratio, ".-", label=page.study.arms[arm].title, linewidth=1)
    ax.axhline(1, color="grey", linewidth=0.8)
    ax.set(xlabel="log-SNR (left: noise)", ylabel="denoising error / reference")
    sheet.legend(loc="outside right upper", frameon=False)
    return plots.picture(sheet)


EXTRA = {"probes": (probes, "no-time"), "averages": (averages, "constant-rate"),
         "diagnostic": (diagnostic, "64-channels"), "errors": (errors, "axial")}


def write_page(study: Study, results: Results, docs: Path) -> None:
    """Write docs/claims.md, and pictures in docs/claims."""
    page = Page(study, results)
    (docs / "claims").mkdir(exist_ok=True)
    for name in study.claims:
        pictures.save(bars(page, name), docs / "claims" / f"{name}.png")
    for name, (draw, arm) in EXTRA.items():
        if page.runs(arm):
            pictures.save(draw(page), docs / "claims" / f"{name}.png")
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, autoescape=False,
                                     undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(page=page, study=study, r=page.ratio)
    write_text(docs / "claims.md", text)
    print(f"wrote {docs / 'claims.md'}: {len(results)} runs")
