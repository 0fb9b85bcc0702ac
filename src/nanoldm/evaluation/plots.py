"""Curves and bars as pictures, by matplotlib without a screen. Legends are outside the curves."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from statistics import fmean as mean
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator
from PIL import Image

from nanoldm.utils import text

Points = Sequence[tuple[int, float, float]]
Records = Sequence[Mapping[str, Any]]
STYLE = {"axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False,
         "legend.frameon": False, "legend.fontsize": 8, "axes.titlesize": 10, "font.size": 9}


def figure(rows: int, columns: int, height: float = 3.2,
           width: float = 4.2) -> tuple[Figure, list[Axes]]:
    with matplotlib.rc_context(STYLE):
        sheet = Figure(figsize=(width * columns, height * rows), layout="constrained")
        return sheet, list(sheet.subplots(rows, columns, squeeze=False).flat)


def picture(sheet: Figure) -> Image.Image:
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # characters that the font lacks become boxes
        sheet.savefig(content, format="png", dpi=110)
    return Image.open(content).convert("RGB")


def column(records: Records, stage: str, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of a metric of a stage; a list of values becomes its mean."""
    found = [(record["step"], record[name]) for record in records if record["stage"] == stage
             and name in record]
    values = [mean(value) if isinstance(value, list) else value for _, value in found]
    return [step for step, _ in found], values


PLAIN, TRAIN = {"linewidth": 1}, {"linewidth": 0.8, "alpha": 0.4}
RAW = {"linewidth": 1.3, "linestyle": "--", "marker": "."}
AVERAGED = {"linewidth": 1.3, "linestyle": "-", "marker": "."}
STYLES = {"training": TRAIN, "test, raw weights": RAW, "test, EMA weights": AVERAGED}
LOSSES = {"loss": TRAIN, "test_loss": RAW, "test_loss_ema": AVERAGED}
ERRORS = {"denoising_error": RAW, "denoising_error_ema": AVERAGED}
# Panels of a training: title, axis, stage, and the style of each metric
PANELS = (("loss of the denoiser", "log", "denoiser", LOSSES),
          ("denoising error (MSE of x0)", "log", "denoiser", ERRORS),
          ("mean |gate| of AdaLN", "linear", "denoiser", {"gates": PLAIN}),
          ("learning rate", "linear", "denoiser", {"learning_rate": PLAIN}),
          ("gradient norm", "log", "denoiser", {"grad_norm": PLAIN}),
          ("loss of the autoencoder", "log", "autoencoder", {"loss": TRAIN, "test_loss": RAW}))


def training(runs: Mapping[str, Records]) -> Image.Image:
    """Six panels over the steps of a training, a colour for each run."""
    sheet, axes = figure(2, 3)
    for ax, (title, scale, stage, styles) in zip(axes, PANELS, strict=True):
        for k, records in enumerate(runs.values()):
            for name, style in styles.items():
                steps, values = column(records, stage, name)
                if steps:
                    ax.plot(steps, values, color=f"C{k % 10}", **style)
        positive = all(any(1e-30 < y < math.inf for y in line.get_ydata()) for line in ax.lines)
        ax.set(title=title, xlabel="step", yscale=scale if ax.lines and positive else "linear")
        if not ax.lines:
            ax.text(0.5, 0.5, "not logged", transform=ax.transAxes, ha="center", color="grey")
            ax.set(xticks=[], yticks=[])
    entries = {text.label(name): {"color": f"C{k % 10}"} for k, name in enumerate(runs)}
    entries |= {name: {"color": "grey", **style} for name, style in STYLES.items()}
    handles = [Line2D([], [], label=name, **style) for name, style in entries.items()]
    sheet.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return picture(sheet)


def bars(groups: Mapping[str, Sequence[float]], title: str, xlabel: str) -> Image.Image:
    """Groups of bars, a colour for each name."""
    sheet, (ax,) = figure(1, 1, 2.8, 6.5)
    width = 0.8 / len(groups)
    for k, (name, values) in enumerate(groups.items()):
        shift = (k - (len(groups) - 1) / 2) * width
        ax.bar([index + shift for index in range(len(values))], values, width, label=name)
    ticks = range(len(next(iter(groups.values()))))
    ax.set(title=title, xlabel=xlabel, xticks=ticks)
    sheet.legend(ncols=len(groups), loc="outside lower right", frameon=False)
    return picture(sheet)


def lines(x: Sequence[float], curves: Mapping[str, Sequence[float]], title: str,
          xlabel: str) -> Image.Image:
    sheet, (ax,) = figure(1, 1, 2.8, 6.5)
    for name, values in curves.items():
        ax.plot(x, values, marker=".", label=name)
    ax.set(title=title, xlabel=xlabel, yscale="log")
    sheet.legend(ncols=len(curves), loc="outside lower right", frameon=False)
    return picture(sheet)


def against_nfe(curves: Mapping[tuple[str, str], Points], reference: tuple[str, float, float],
                floor: float | None, ylabel: str) -> Image.Image:
    """A line for each (sampler, spacing), with points (NFE, value, half an interval).

    reference: name, value and half an interval of the band to reach. floor: value of real images.
    """
    sheet, (ax,) = figure(1, 1, 4.6, 8.0)
    samplers, spacings = (list(dict.fromkeys(names)) for names in zip(*curves, strict=True))
    for (sampler, spacing), points in curves.items():
        nfe, values, halves = zip(*points, strict=True)
        kind = spacings.index(spacing) % 3
        style = {"linestyle": ("-", "--", ":")[kind], "marker": "os^"[kind]}
        colour = f"C{samplers.index(sampler) % 10}"
        style |= {"color": colour, "linewidth": 1.3, "markersize": 4, "elinewidth": 0.6}
        ax.errorbar(nfe, values, halves, label=f"{sampler}, {spacing}", **style)
    name, value, half = reference
    band = {"color": "grey", "alpha": 0.25, "linewidth": 0}
    ax.axhspan(value - half, value + half, label=name, **band)
    if floor is not None:
        ax.axhline(floor, color="black", linewidth=1, linestyle="-.", label="real images")
    ticks = sorted({count for points in curves.values() for count, _, _ in points})
    xlabel = "network evaluations per image (NFE)"
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.set_xticks(ticks, [str(count) for count in ticks], minor=False)
    ax.set_xticks([], minor=True)
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")
    sheet.legend(loc="outside right upper", frameon=False)
    return picture(sheet)
