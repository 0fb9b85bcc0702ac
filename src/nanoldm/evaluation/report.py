"""The result of `evaluate` as a table, as pictures, and as one HTML file that contains all."""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image
from torch import Tensor

from nanoldm.evaluation import plots as charts
from nanoldm.evaluation.judge import METRICS, Judge, Observed
from nanoldm.utils import images as pictures
from nanoldm.utils.files import write_text
from nanoldm.utils.images import to_float
from nanoldm.utils.tables import new_table, printed

TEMPLATE = Path(__file__).parents[1] / "bundled" / "report.html.jinja"
EQUAL = "samples, as many as real images"  # if the training set has fewer images than the samples
# Columns of the report, and their titles
COLUMNS = {EQUAL: "samples", "real images": "real", "test set": "test",
           "reconstructions": "decoded", "noise": "noise"}
NOTES = {"(N)": "number of images; compare only values of equal N",
         "good": "the value of a good model (real: as real images)",
         "real": "training images, against the others and the test set: what perfect samples get",
         "test": "the test set as samples",
         "decoded": "reconstructions of the test set: the best that this autoencoder allows",
         "rotation": "by the network that was trained without labels"}
SHOWN, PAIRS = 100, 16


def number(value: float | None) -> str:
    """Three or four significant digits: 0.001234 -> 0.00123, 461.96 -> 462."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def with_half(found: dict[str, float]) -> str:
    return f"{number(found['value'])} ± {number(found['interval'])}"


def rows(report: dict[str, Any]) -> list[list[str]]:
    """The main table as text: metric, samples with interval, other columns, good value."""
    counts = report["counts"]
    columns = [column for column in COLUMNS if column in counts]
    titles = [f"samples\n({report['judged']['images']:,})"]
    titles += [f"{COLUMNS[column]}\n({counts[column]:,})" for column in columns]
    head = ["metric", *titles, "good"]
    return [head] + [[METRICS[name].title, with_half(found),
                      *(number(found.get(column)) for column in columns), METRICS[name].good]
                     for name, found in report["metrics"].items()]


def explanation(report: dict[str, Any]) -> list[str]:
    """What the columns of the main table mean."""
    notes = dict(NOTES)
    if "reconstructions" not in report["counts"]:
        del notes["decoded"]
    half = f"half a 95 % interval from {report['batches']} disjoint batches of samples"
    return [f"{name}: {note}" for name, note in ({"±": half} | notes).items()]


def details(report: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of what the main table does not contain."""
    found = []
    if errors := report.get("reconstruction"):
        squared, entropy = errors["mean_squared_error"], errors["cross_entropy"]
        text = f"squared {squared:.5f}, cross-entropy {entropy:.4f}"
        found.append(("autoencoder, error per pixel", text))
    for name, values in denoising_errors(report).items():
        text = f"{charts.mean(values):.4f}, mean over {len(values)} noise levels"
        found.append((f"denoising error, {name}", text))
    if names := report.get("class_names"):
        text = ", ".join(f"{number}: {name}" for number, name in enumerate(names))
        found.append(("classes", text))
    for name, value in report.get("class_conditional", {}).items():
        values = value if isinstance(value, list) else [value]
        found.append((name, " ".join(map(number, values))))
    return found


def denoising_errors(report: dict[str, Any]) -> dict[str, list[float]]:
    """{weights: error at each log-SNR}"""
    errors = report.get("denoising_error", {})
    return {name: values for name, values in errors.items() if name != "log_snr"}


def table(report: dict[str, Any]) -> str:
    """The report for the terminal."""
    head, *lines = rows(report)
    grid = new_table(*head, collapse_padding=True)
    for column in grid.columns[:2]:
        column.no_wrap = True
    for line in lines:
        grid.add_row(*line)
    notes = [f"{name}: {value}" for name, value in details(report)]
    return f"{title(report)}\n{printed(grid, *explanation(report), '', *notes)}"


def judged_by(report: dict[str, Any]) -> str:
    return f"judged against {report['data']['name']} by {report['features']['name']}"


def title(report: dict[str, Any]) -> str:
    judged = report["judged"]
    source = judged["file"] or judged["model"] or "an unsaved model"
    what = f"{judged['images']:,} images of {source}"
    if "steps" in judged:
        what += f", seeds from {judged['first_seed']}"
        what += f", {judged['steps']} steps of {judged['sampler']}"
    return f"{what}, {judged_by(report)}"


def write_html(out: Path, report: dict[str, Any], images: Tensor, judge: Judge, observed: Observed,
               records: list[dict[str, Any]]) -> None:
    """Write the pictures and report.html, which embeds them. records: of the model's training."""
    closest = ("The samples that are nearest to one training image, relative to the second "
               "nearest. Above: samples. Below: training images.")
    shown = images[:SHOWN]
    sheets = {"samples": (f"The first {len(shown)} images", pictures.grid(to_float(shown), 20)),
              "closest": (closest, closest_pairs(images, judge, observed)),
              **curves(report, records)}
    for name, (_, sheet) in sheets.items():
        pictures.save(sheet, out / f"{name}.png")
    options = dict(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment = Environment(undefined=StrictUndefined, **options)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=title(report), rows=rows(report), details=details(report),
        explanation=explanation(report), features=report["features"],
        sheets=[(caption, embed(out / f"{name}.png")) for name, (caption, _) in sheets.items()],
        version=report["nanoldm"], judged=report["judged"]
    )
    write_text(out / "report.html", page)


def curves(report: dict[str, Any],
           records: list[dict[str, Any]]) -> dict[str, tuple[str, Image.Image]]:
    """{file name: (caption, picture)}"""
    found = {}
    if "histogram" in report:
        picture = charts.bars(report["histogram"], "share of images", "class")
        found["classes"] = ("Share of each class, by the classifier", picture)
    if errors := denoising_errors(report):
        levels, title = report["denoising_error"]["log_snr"], "mean squared error of x0"
        picture = charts.lines(levels, errors, title, "log-SNR (less noise to the right)")
        found["denoising_error"] = ("Denoising error on test images", picture)
    if records:
        picture = charts.training({Path(report["judged"]["model"]).name: records})
        found["training"] = ("Training", picture)
    return found


def closest_pairs(images: Tensor, judge: Judge, observed: Observed) -> Image.Image:
    first, second = observed.distances.unbind(1)
    order = (first / second.clamp(min=1e-6)).argsort()[:PAIRS]
    theirs = judge.train_set.images[observed.neighbours[order, 0].long()]
    pairs = {"samples": images[order], "training images": theirs}
    return pictures.captioned((name, pictures.grid(to_float(part), PAIRS))
                              for name, part in pairs.items())


def embed(file: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
