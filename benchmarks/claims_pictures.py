"""The pictures of docs/claims.md."""

import base64
import io
import math
from pathlib import Path
from statistics import mean

import numpy as np
from claims_page import Page
from PIL import Image

from nanoldm.diffusion import LOG_SNRS
from nanoldm.evaluation import plots
from nanoldm.utils import images as pictures


def decoded(content: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def bars(page: Page, name: str) -> Image.Image:
    """The distances that a claim compares, and digits of seeds 0 to 7 with EMA weights."""
    shown = [(arm, variant) for arm, variant in page.variants(name)
             if variant in ("", "raw") and page.runs(arm)]
    sheet, (left, right) = plots.figure(1, 2, 0.62 * len(shown) + 0.6, 4.6)
    for row, (arm, variant) in enumerate(shown):
        runs = page.runs(arm)
        values = [result["distances"][variant] for result in runs.values()]
        left.barh(row, math.exp(mean(map(math.log, values))),
                  color="C0" if arm == "reference" else "0.6", alpha=0.6)
        left.plot(values, [row] * len(values), "k.", markersize=4)
        if not variant:
            right.imshow(decoded(runs[min(runs)]["digits"]), cmap="gray", aspect="auto",
                         extent=(0, 8, row + 0.48, row - 0.48))
    titles = [page.study.arms[arm].title + ", raw weights" * bool(variant)
              for arm, variant in shown]
    left.set(yticks=range(len(shown)), yticklabels=titles, ylim=(len(shown) - 0.5, -0.5),
             xlabel="Frechet distance to training images")
    right.set(xlim=(0, 8), ylim=(len(shown) - 0.5, -0.5), xticks=[], yticks=[],
              xlabel="samples 0 to 7, training seed 0")
    return plots.picture(sheet)


def probes(page: Page) -> Image.Image:
    """How well the time is read after each block."""
    sheet, (ax,) = plots.figure(1, 1, 2.8, 6.5)
    for k, arm in enumerate(("reference", "added-once", "no-time")):
        for seed, result in page.runs(arm).items():
            blocks = range(1, len(result["probe"]))
            ax.plot(blocks, result["probe"][1:], ".-", color=f"C{k}", linewidth=1,
                    label=page.study.arms[arm].title if seed == 0 else None)
    ax.set(ylim=(0.8, 1.01), xlabel="after block", xticks=blocks, ylabel="R² of log-SNR, linear")
    sheet.legend(loc="outside right upper", frameon=False)
    return plots.picture(sheet)


def averages(page: Page) -> Image.Image:
    """Raw over EMA weights during the training, with a rate that falls and with a constant one."""
    sheet, (ax,) = plots.figure(1, 1, 2.8, 6.5)
    for k, arm in enumerate(("reference", "constant-rate")):
        for seed, result in page.runs(arm).items():
            tracks = {int(step): track for step, track in result["tracks"].items()
                      if step.isdigit()}
            last = {"raw": result["distances"]["raw"], "ema": result["distances"][""]}
            tracks |= {result["steps"]: last}
            ax.plot(tracks.keys(), [track["raw"] / track["ema"] for track in tracks.values()],
                    ".-", color=f"C{k}", linewidth=1,
                    label=page.study.arms[arm].title if seed == 0 else None)
    ax.axhline(1, color="grey", linewidth=0.8)
    ax.set(xlabel="step", ylabel="distance, raw / EMA")
    sheet.legend(loc="outside right upper", frameon=False)
    return plots.picture(sheet)


def diagnostic(page: Page) -> Image.Image:
    """Held-out digits, noised to t and denoised, by 6 and by 64 channels."""
    parts = []
    for arm in ("reference", "64-channels"):
        for t, result in page.runs(arm)[0]["diagnostic"].items():
            strip = np.vstack([decoded(result["noised"]), decoded(result["denoised"])])
            image = Image.fromarray(strip)
            caption = f"{page.study.arms[arm].title}, t = {t}"
            parts.append((caption, image.resize((2 * image.width, 2 * image.height))))
    half = len(parts) // 2
    columns = [np.asarray(pictures.captioned(side)) for side in (parts[:half], parts[half:])]
    gap = np.full_like(columns[0][:, :8], 255)
    return Image.fromarray(np.hstack([columns[0], gap, columns[1]]))


def errors(page: Page, *arms: str) -> Image.Image:
    """The denoising error at each noise level over that of the reference."""
    sheet, (ax,) = plots.figure(1, 1, 2.8, 6.5)
    base = page.runs("reference")
    for arm in arms:
        ratios = [np.divide(result["denoising_error"], base[seed]["denoising_error"])
                  for seed, result in page.runs(arm).items() if seed in base]
        ax.plot(LOG_SNRS, np.mean(ratios, axis=0), ".-", label=page.study.arms[arm].title,
                linewidth=1)
    ax.axhline(1, color="grey", linewidth=0.8)
    ax.set(xlabel="log-SNR (left: noise)", ylabel="denoising error / reference")
    sheet.legend(loc="outside right upper", frameon=False)
    return plots.picture(sheet)


def draw(page: Page, folder: Path) -> None:
    """Write all pictures."""
    drawn = {name: bars(page, name) for name in page.study.claims}
    drawn |= {"diagnostic": diagnostic(page), "probes": probes(page), "averages": averages(page),
              "times": errors(page, "added-once", "no-time"),
              "positions": errors(page, "axial", "no-position")}
    folder.mkdir(exist_ok=True)
    for name, picture in drawn.items():
        pictures.save(picture, folder / f"{name}.png")
