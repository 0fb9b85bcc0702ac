"""The baseline: the unchanged reference recipe, annealed to several lengths.

    python benchmarks/curve.py FOLDER EPOCHS ...            (for example: /tmp/curve 5 10 20 25)

Each length is measured with 10,000 samples. Runs and evaluations are kept in FOLDER and continue
where they were stopped. Adds each length to benchmarks/curve.json, and plots all in docs/curve.png.
Without arguments it only plots. Minutes are those of the machine of the run.
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
METRICS = ("frechet_train", "frechet_test", "rotation_frechet_test", "coverage", "confidence")


def measured(report: dict[str, Any]) -> dict[str, list[float]]:
    """METRICS of an evaluation as [value, half of the 95 % interval, real images]."""
    return {name: [report["metrics"][name][key] for key in ("value", "interval", "real images")]
            for name in METRICS}


def point(model: str | Path, report: dict[str, Any]) -> dict[str, Any]:
    """Cost and metrics of one length."""
    folder = find_model(model)
    records = [r for r in read_metrics(folder / "metrics.jsonl") if r["stage"] == "denoiser"]
    tested = [record for record in records if "test_loss" in record][-1]
    errors = report["denoising_error"]["EMA weights"]
    return {"epochs": read_json(folder / "recipe.json")["training"]["epochs"],
            "steps": records[-1]["step"], "minutes": round(records[-1]["seconds"] / 60, 1),
            "samples": report["judged"]["images"], "test_loss": tested["test_loss"],
            "test_loss_ema": tested["test_loss_ema"], "denoising_error_ema": charts.mean(errors),
            **measured(report)}


def run(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "nanoldm", *map(str, arguments)], check=True)


def plot(points: list[dict[str, Any]]) -> None:
    sheet, (left, right) = charts.figure(1, 2, height=4)
    epochs = [point["epochs"] for point in points]
    names = {"frechet_train": "Frechet distance, training",
             "frechet_test": "Frechet distance, test"}
    for name, label in names.items():
        values, intervals, real = zip(*(point[name] for point in points), strict=True)
        line = left.errorbar(epochs, values, intervals, marker="o", capsize=3, label=label)[0]
        style = {"linestyle": ":", "color": line.get_color()}
        left.plot(epochs, real, label=f"{label}, real images", **style)
    for name, colour in (("confidence", "C2"), ("coverage", "C3")):
        values, intervals, _ = zip(*(point[name] for point in points), strict=True)
        style = {"marker": "o", "capsize": 3, "color": colour}
        right.errorbar(epochs, values, intervals, label=f"{name} (right)", **style)
    for axes in (left, right):
        axes.set(xlabel="epochs of the reference recipe", xscale="log")
        axes.set(xticks=epochs, xticklabels=epochs)
        axes.minorticks_off()
    left.set(yscale="log")
    sheet.legend(loc="outside lower center", ncols=2, frameon=False)
    pictures.save(charts.picture(sheet), ROOT / "docs" / "curve.png")


def main(arguments: list[str]) -> None:
    for epochs in map(int, arguments[1:]):
        folder = Path(arguments[0])
        model, judged = folder / f"epochs-{epochs}", folder / f"evaluation-{epochs}"
        run("train", "mnist", "--epochs", epochs, "--out", model)
        if not (judged / "report.json").exists():
            run("evaluate", model, "--n", 10_000, "--out", judged)
        found = point(RunFolder(model).path, read_json(judged / "report.json"))
        points = {each["epochs"]: each for each in (*json.loads(RESULT.read_text()), found)}
        write_json(RESULT, [points[key] for key in sorted(points)])
        print(f"wrote {RESULT}: {', '.join(map(str, sorted(points)))} epochs", flush=True)
    plot(json.loads(RESULT.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
