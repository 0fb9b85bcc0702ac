"""How a report of `evaluate` is shown: a table in the terminal, pictures, and one HTML file that holds everything."""

import base64
import io
import sys
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image
from rich.box import ASCII
from rich.console import Console
from rich.table import Column, Table
from torch import Tensor

from nanoldm.evaluation import plots as charts
from nanoldm.evaluation.judge import MEASURES, Judge, Observed
from nanoldm.utils import images as pictures
from nanoldm.utils.files import write_text
from nanoldm.utils.images import to_float

TEMPLATE = Path(__file__).parents[1] / "bundled" / "report.html.jinja"
EQUAL = "samples, as many as real images"       # where the training set is too small for as many real images as samples
COLUMNS = (EQUAL, "real images", "test set", "reconstructions", "noise")       # the floors, beside the samples
SHOWN, PAIRS = 100, 16


def number(value: float | None) -> str:
    """Three or four digits that count: 0.001234 -> 0.00123, 461.96 -> 462."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def rows(report: dict[str, Any]) -> list[list[str]]:
    """The lines of the main table as text: title, samples with interval, floors, what is good."""
    columns = [column for column in COLUMNS if any(column in figures for figures in report["measures"].values())]
    counts = report.get("counts", {})
    head = ["measure", *(f"{name}\n({counts[name]:,})" if name in counts else name for name in ("samples", *columns)), "good is"]
    return [head] + [[MEASURES[name].title, f"{number(figures['value'])} ± {number(figures['interval'])}",
                      *(number(figures.get(column)) for column in columns), MEASURES[name].good]
                     for name, figures in report["measures"].items()]


def notes(report: dict[str, Any]) -> list[tuple[str, str]]:
    """What is not in the main table: (name, value)."""
    found = []
    if "reconstruction" in report:
        errors = report["reconstruction"]
        found.append(("autoencoder, error per pixel",
                      f"{errors['mean_squared_error']:.5f} squared, {errors['cross_entropy']:.4f} cross-entropy"))
    if "proxy" in report:
        found += [(f"proxy, {name}", f"{charts.mean(values):.4f} (mean squared error of x0 over {len(values)} levels)")
                  for name, values in report["proxy"].items() if name != "log_snr"]
    if names := report.get("class_names"):
        found.append(("classes", ", ".join(f"{number}: {name}" for number, name in enumerate(names))))
    for name, value in report.get("class_conditional", {}).items():
        found.append((name, " ".join(number(part) for part in value) if isinstance(value, list) else f"{value:.4f}"))
    return found


def table(report: dict[str, Any]) -> str:
    """The report for the terminal."""
    head, *lines = rows(report)
    grid = Table(*(Column(name, no_wrap=True) for name in head[:2]), *head[2:], title=title(report), title_justify="left",
                 caption_justify="left", caption=explanation(report))
    for line in lines:
        grid.add_row(*line)
    return printed(grid, *(f"{name}: {value}" for name, value in notes(report)))


def printed(grid: Table, *lines: str) -> str:
    """A table and lines below it as text, at least 130 columns wide. Names in it are shown as they are, whatever markup they hold."""
    console = Console(width=max(Console().width, 130), file=io.StringIO(), highlight=False, markup=False, emoji=False)
    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        grid.box = ASCII
    console.print(grid)
    for line in lines:
        console.print(line, soft_wrap=True)
    return console.file.getvalue()


def title(report: dict[str, Any]) -> str:
    judged = report["judged"]
    what = f"{judged['images']:,} images of {judged['file'] or judged['model']}"
    how = f", seeds from {judged['first_seed']}, {judged['steps']} steps of {judged['sampler']}" if "steps" in judged else ""
    return f"{what}{how}, judged against {report['data']['name']} by {report['features']['name']}"


def explanation(report: dict[str, Any]) -> str:
    return (f"(N): how many images; compare figures of equal N alone. ± is half a 95 % interval from {report['batches']} disjoint batches "
            "of samples. real images: training images against the others and the test set (what as many perfect samples get); test set: "
            "judged as samples; reconstructions: decode(encode(test)), the best that this autoencoder allows.")


def write_html(out: Path, report: dict[str, Any], images: Tensor, judge: Judge, observed: Observed,
               records: list[dict[str, Any]]) -> None:
    """Write the pictures and report.html, which embeds them. records: of the model's training, where there are any."""
    sheets = {"samples": (f"The first {min(SHOWN, len(images))} images", pictures.grid(to_float(images[:SHOWN]), 20)),
              "closest": ("The samples nearest to one training image, measured by the distance to the second nearest: above the sample, "
                          "below it the training image", closest_pairs(images, judge, observed))}
    if "histogram" in report:
        sheets["classes"] = ("Classes, as the classifier sees them", charts.bars(report["histogram"], "share of images", "class"))
    if "proxy" in report:
        curves = {name: values for name, values in report["proxy"].items() if name != "log_snr"}
        sheets["proxy"] = ("Objective-free proxy on held-out latents",
                           charts.lines(report["proxy"]["log_snr"], curves, "mean squared error of the clamped x0", "log-SNR"))
    if records:
        sheets["training"] = ("Training", charts.training({Path(report["judged"]["model"]).name: records}))
    for name, (_, sheet) in sheets.items():
        pictures.save(sheet, out / f"{name}.png")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    write_text(out / "report.html", environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=title(report), rows=rows(report), notes=notes(report), explanation=explanation(report), features=report["features"],
        sheets=[(caption, embed(out / f"{name}.png")) for name, (caption, _) in sheets.items()], version=report["nanoldm"],
        judged=report["judged"]))


def closest_pairs(images: Tensor, judge: Judge, observed: Observed) -> Image.Image:
    first, second = observed.distances.unbind(1)
    order = (first / second.clamp(min=1e-6)).argsort()[:PAIRS]
    own, theirs = images[order], judge.train_set.images[observed.neighbours[order, 0].long()]
    pairs = {"samples": own, "training images": theirs}
    return pictures.captioned((name, pictures.grid(to_float(part), PAIRS)) for name, part in pairs.items())


def embed(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
