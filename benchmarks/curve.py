"""The honest baseline: the unchanged reference recipe, annealed to several lengths, each judged by 10,000 samples.

    python benchmarks/curve.py FOLDER EPOCHS ...            (for example: /tmp/curve 5 10 20 25)

Runs and evaluations live in FOLDER and go on where they were stopped. Writes benchmarks/curve.json and docs/curve.png after every
length, beside the lengths that are there already and the bundled model by its report in docs/evaluation. Minutes are those of the
machine of the run.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from nanoldm.evaluation import plots as charts
from nanoldm.pipeline.folders import RunFolder, find_model, read_metrics
from nanoldm.utils import images as pictures
from nanoldm.utils.files import read_json, write_json

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "curve.json"
MEASURES = ("frechet_train", "frechet_test", "rotation_frechet_test", "coverage", "confidence")


def measured(report: dict[str, Any]) -> dict[str, list[float]]:
    """MEASURES of an evaluation as [value, half of the 95 % interval, real images]."""
    return {name: [report["measures"][name][key] for key in ("value", "interval", "real images")] for name in MEASURES}


def point(model: str | Path, report: dict[str, Any]) -> dict[str, Any]:
    """What one trained length comes to: its cost, and what it `measured`."""
    folder = find_model(model)
    records = [record for record in read_metrics(folder / "metrics.jsonl") if record["stage"] == "denoiser"]
    shown = [record for record in records if "test_loss" in record][-1]
    return {"epochs": read_json(folder / "recipe.json")["training"]["epochs"], "steps": records[-1]["step"],
            "minutes": round(records[-1]["seconds"] / 60, 1), "samples": report["judged"]["images"], "test_loss": shown["test_loss"],
            "test_loss_ema": shown["test_loss_ema"], "proxy_ema": charts.mean(report["proxy"]["EMA weights"]), **measured(report)}


def run(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "nanoldm", *map(str, arguments)], check=True)


def draw(points: list[dict[str, Any]]) -> None:
    sheet, (left, right) = charts.figure(1, 2)
    epochs = [point["epochs"] for point in points]
    for name, label in (("frechet_train", "training set"), ("frechet_test", "test set")):
        values, intervals, real = zip(*(point[name] for point in points), strict=True)
        line = left.errorbar(epochs, values, intervals, marker="o", capsize=3, label=f"Frechet distance, {label}")[0]
        left.plot(epochs, real, linestyle=":", color=line.get_color(), label=f"real images, {label}")
    for name in ("confidence", "coverage"):
        values, intervals, real = zip(*(point[name] for point in points), strict=True)
        right.errorbar(epochs, values, intervals, marker="o", capsize=3, label=name)
    for axes in (left, right):
        axes.set(xlabel="epochs of the reference recipe", xscale="log", xticks=epochs, xticklabels=epochs)
        axes.minorticks_off()
        axes.legend()
    left.set(yscale="log")
    pictures.save(charts.picture(sheet), ROOT / "docs" / "curve.png")


def main() -> None:
    folder = Path(sys.argv[1])
    bundled = point("mnist", json.loads((ROOT / "docs" / "evaluation" / "report.json").read_text()))
    points = [*(json.loads(RESULT.read_text()) if RESULT.exists() else []), bundled]      # lengths of other machines stay
    for epochs in map(int, sys.argv[2:]):
        model, judged = folder / f"epochs-{epochs}", folder / f"evaluation-{epochs}"
        run("train", "mnist", "--epochs", epochs, "--out", model)
        if not (judged / "report.json").exists():
            run("evaluate", model, "--n", 10_000, "--out", judged)
        points.append(point(RunFolder(model).path, read_json(judged / "report.json")))
        points = sorted({point["epochs"]: point for point in points}.values(), key=lambda point: point["epochs"])
        write_json(RESULT, points)
        draw(points)
        print(f"wrote {RESULT} and docs/curve.png: {', '.join(str(point['epochs']) for point in points)} epochs", flush=True)


if __name__ == "__main__":
    main()
