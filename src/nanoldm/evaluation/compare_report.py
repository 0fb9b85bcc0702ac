"""The result of `compare` as a table and as a picture."""

import itertools
import textwrap
from typing import Any

from PIL import Image

from nanoldm.evaluation import plots as charts
from nanoldm.evaluation.candidates import MOST_NFE
from nanoldm.evaluation.judge import METRICS
from nanoldm.evaluation.report import judged_by, number, with_half
from nanoldm.utils.tables import WIDTH, new_table, printed

Row = dict[str, Any]


def metric_of(row: Row) -> str:
    """The metric that settings are compared by; without labels, that of the rotation network."""
    return "frechet_test" if "frechet_test" in row["metrics"] else "rotation_frechet_test"


def distance(row: Row) -> dict[str, float]:
    return row["metrics"][metric_of(row)]


def chart(report: dict[str, Any]) -> Image.Image:
    """Distance against NFE, a curve for each sampler and spacing."""
    curves: dict[tuple[str, str], list[tuple[int, float, float]]] = {}
    for row in report["rows"]:
        point = (row["nfe"], distance(row)["value"], distance(row)["interval"])
        curves.setdefault((row["sampler"], row["spacing"]), []).append(point)
    first, metric = report["baseline"], report["metric"]
    band = (f"{first['sampler']}, {first['nfe']} NFE", *distance(first).values())
    comparable = report["real_count"] == report["images"]  # values of equal N
    floor = report["real images"][metric] if comparable else None
    return charts.against_nfe(curves, band, floor, METRICS[metric].title)


def table(report: dict[str, Any]) -> str:
    """The report for the terminal: a section for each NFE, then the baseline and real images."""
    first, real, count = report["baseline"], report["real images"], report["real_count"]
    shown = (report["metric"], report["metric"].replace("frechet", "kernel"))
    titles = (METRICS[name].title.replace(", ", ",\n") for name in shown)
    columns = ("NFE", "sampler", "spacing", "steps", *titles, "ratio to\nbaseline", "")
    model = report["model"] or "an unsaved model"
    head = f"{report['images']:,} images of {model}, seeds from {report['first_seed']}"
    sheet = new_table(*columns, collapse_padding=True)
    for fewer, most in itertools.pairwise([0, *report["nfe"]]):
        section = [row for row in report["rows"] if fewer < row["nfe"] <= most]
        best = min((distance(row)["value"] for row in section), default=None)
        for row in section:
            notes = ["best"] * (distance(row)["value"] == best)
            notes += ["chosen"] * is_chosen(row, report)
            sheet.add_row(*cells(row, first, shown), ", ".join(notes))
        sheet.add_section()
    sheet.add_row(*cells(first, first, shown), "baseline")
    values = (number(real[name]) for name in shown)
    sheet.add_row("", "real images", "", "", *values, "", f"N = {count:,}")
    return f"{head}, {judged_by(report)}\n{printed(sheet, *notes_below(report))}"


def cells(row: Row, baseline: Row, shown: tuple[str, ...]) -> list[str]:
    ratio = distance(row)["value"] / distance(baseline)["value"]
    values = (with_half(row["metrics"][name]) for name in shown)
    settings = (str(row[name]) for name in ("nfe", "sampler", "spacing", "steps"))
    return [*settings, *values, f"{ratio:.2f}"]


def is_chosen(row: Row, report: dict[str, Any]) -> bool:
    return bool(report["chosen"]) and report["chosen"].items() <= row.items()


def notes_below(report: dict[str, Any]) -> list[str]:
    chosen, count = report["chosen"], report["real_count"]
    notes = ["NFE: network evaluations per image. ± is half a 95 % interval from "
             f"{report['batches']} disjoint batches. All rows have the same seeds."]
    if count != report["images"]:
        notes.append(f"real images: of {count:,} images, not comparable with {report['images']:,}")
    if chosen:
        notes.append(f"chosen: {chosen['steps']} steps of {chosen['sampler']}, spacing "
                     f"{chosen['spacing']}: {report['rule']}")
    else:
        notes.append(f"no choice: all settings cost more than {MOST_NFE} NFE")
    return [textwrap.fill(note, WIDTH) for note in notes]
