"""Curves and bars, drawn by matplotlib without a screen. Figures in, pictures out."""

import io
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from PIL import Image

from nanoldm.utils import text

Points = Sequence[tuple[int, float, float]]
Records = Sequence[Mapping[str, Any]]
STYLE = {"axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
         "legend.fontsize": 8, "axes.titlesize": 10, "font.size": 9}


def figure(rows: int, columns: int, height: float = 3.2, width: float = 4.2) -> tuple[Figure, list[Axes]]:
    with matplotlib.rc_context(STYLE):
        sheet = Figure(figsize=(width * columns, height * rows), layout="constrained")
        return sheet, list(sheet.subplots(rows, columns, squeeze=False).flat)


def picture(sheet: Figure) -> Image.Image:
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")      # a name in a script that the font lacks: it shows boxes
        sheet.savefig(content, format="png", dpi=110)
    return Image.open(content).convert("RGB")


def column(records: Records, stage: str, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of the records of a stage that hold the figure `name`; a list of figures becomes its mean."""
    found = [(record["step"], record[name]) for record in records if record["stage"] == stage and name in record]
    return [step for step, _ in found], [mean(value) if isinstance(value, list) else value for _, value in found]


TRAINING = ("loss of the denoiser", "proxy: mean squared error of x0", "opening of the AdaLN gates", "learning rate", "gradient norm",
            "loss of the autoencoder")


def training(runs: Mapping[str, Records]) -> Image.Image:
    """Six panels over the steps of a training, one colour for each run."""
    sheet, axes = figure(2, 3)
    for k, (name, records) in enumerate(runs.items()):
        draw_training(axes, text.label(name), records, f"C{k % 10}")
    for panel, (ax, title) in enumerate(zip(axes, TRAINING, strict=True)):
        positive = all(any(1e-30 < value < math.inf for value in line.get_ydata()) for line in ax.lines)
        ax.set(title=title, xlabel="step", yscale="log" if panel in (0, 1, 4, 5) and positive else "linear")
        if ax.get_legend_handles_labels()[1]:
            ax.legend()
        elif not ax.lines:
            ax.text(0.5, 0.5, "not logged", transform=ax.transAxes, ha="center", color="grey")
            ax.set_yscale("linear")             # which sets ticks of its own
            ax.set(xticks=[], yticks=[])
    return picture(sheet)


def draw_training(axes: Sequence[Axes], name: str, records: Records, colour: str) -> None:
    def draw(panel: int, figure_name: str, label: str | None = None, stage: str = "denoiser", **style: Any) -> None:
        steps, values = column(records, stage, figure_name)
        if steps:
            axes[panel].plot(steps, values, color=colour, label=name + label if label is not None else None, **{"linewidth": 1.3} | style)

    draw(0, "loss", alpha=0.35, linewidth=0.8)
    draw(0, "test_loss", ": test, raw weights", marker=".", linestyle="--")
    draw(0, "test_loss_ema", ": test, EMA weights", marker=".")
    draw(1, "proxy", ": raw weights", marker=".", linestyle="--")
    draw(1, "proxy_ema", ": EMA weights", marker=".")
    draw(2, "gates", "")
    draw(3, "learning_rate", "")
    draw(4, "grad_norm", "", linewidth=0.8)
    draw(5, "loss", ": training", "autoencoder")
    draw(5, "test_loss", ": test", "autoencoder", marker="o", linestyle="")


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def bars(groups: Mapping[str, Sequence[float]], title: str, xlabel: str) -> Image.Image:
    """Groups of bars side by side, one group of bars for each name."""
    sheet, (ax,) = figure(1, 1, 2.8, 6.5)
    width = 0.8 / len(groups)
    for k, (name, values) in enumerate(groups.items()):
        ax.bar([index + (k - (len(groups) - 1) / 2) * width for index in range(len(values))], values, width, label=name)
    ax.set(title=title, xlabel=xlabel, xticks=range(len(next(iter(groups.values())))))
    sheet.legend(ncols=len(groups), loc="outside lower right")
    return picture(sheet)


def lines(x: Sequence[float], curves: Mapping[str, Sequence[float]], title: str, xlabel: str) -> Image.Image:
    sheet, (ax,) = figure(1, 1, 2.8, 6.5)
    for name, values in curves.items():
        ax.plot(x, values, marker=".", label=name)
    ax.set(title=title, xlabel=xlabel, yscale="log")
    ax.legend()
    return picture(sheet)


def against_passes(curves: Mapping[tuple[str, str], Points], reference: tuple[str, float, float], floor: float | None,
                   ylabel: str) -> Image.Image:
    """One line for each (sampler, grid), by colour and by dashes: points (network passes, value, half an interval).

    reference: name, value and half an interval of the band to reach; floor: what as many real images get.
    """
    sheet, (ax,) = figure(1, 1, 4.6, 8.0)
    samplers, grids = (list(dict.fromkeys(names)) for names in zip(*curves, strict=True))
    for (sampler, grid), points in curves.items():
        passes, values, halves = zip(*points, strict=True)
        ax.errorbar(passes, values, halves, label=f"{sampler}, {grid}", color=f"C{samplers.index(sampler) % 10}", linewidth=1.3,
                    linestyle=("-", "--", ":")[grids.index(grid) % 3], marker="os^"[grids.index(grid) % 3], markersize=4, elinewidth=0.6)
    name, value, half = reference
    ax.axhspan(value - half, value + half, color="grey", alpha=0.25, linewidth=0, label=name)
    if floor is not None:
        ax.axhline(floor, color="black", linewidth=1, linestyle="-.", label="real images")
    ticks = sorted({count for points in curves.values() for count, _, _ in points})
    ax.set(xscale="log", yscale="log", xlabel="network passes", ylabel=ylabel)
    ax.set_xticks(ticks, [str(count) for count in ticks], minor=False)
    ax.set_xticks([], minor=True)
    ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")
    sheet.legend(loc="outside right upper", frameon=False)
    return picture(sheet)
