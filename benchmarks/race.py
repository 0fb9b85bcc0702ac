"""The race: how near to real digits a recipe comes in some minutes, from raw images to the model.

    python benchmarks/race.py FOLDER --minutes 10 30 --recipes mnist mnist-fast --seeds 0

Every run is `nanoldm train RECIPE --budget MINUTESm --seed SEED`: start, autoencoder, encoding and
pictures count, and the learning rate is annealed to these minutes. Then 10,000 samples (16 steps of
dpm++2m, spacing shifted) are compared with the test set. Run it on an idle machine. Runs are kept
in FOLDER; a finished one is not run again. Adds each result to benchmarks/race.json, and plots
recipes with several lengths of time on one machine in docs/race.png. Without FOLDER it only plots.
"""

import itertools
import json
import time
from pathlib import Path
from statistics import mean
from typing import Any

import tyro
from curve import ROOT, measured, run
from throughput import machine

from nanoldm.evaluation import plots as charts
from nanoldm.pipeline.folders import RunFolder, read_metrics
from nanoldm.utils import images as pictures
from nanoldm.utils.files import read_json, write_json

RESULT = ROOT / "benchmarks" / "race.json"
SAMPLING = ("--n", 10_000, "--steps", 16, "--sampler", "dpm++2m", "--spacing", "shifted")


def race(folder: Path, recipe: str, minutes: int, seed: int) -> dict[str, Any]:
    """One run: its settings, its time, and what `measured` returns."""
    model, judged = (folder / f"{recipe}-{minutes}m-{seed}",
                     folder / f"{recipe}-{minutes}m-{seed}-judged")
    clock = model.with_suffix(".seconds")
    if model.exists() and not clock.exists():
        raise SystemExit(f"{model} was interrupted, and its time is unknown: remove it to start "
                         "again")
    began = time.monotonic()
    run(
        "train", recipe, "--budget", f"{minutes}m", "--seed", seed, "--out", model
    )  # does nothing for a finished run
    if not clock.exists():
        clock.write_text(f"{time.monotonic() - began:.1f}")
    if not (judged / "report.json").exists():
        run("evaluate", model, *SAMPLING, "--out", judged)
    report = read_json(judged / "report.json")
    steps = {record["stage"]: record["step"] for record in read_metrics(RunFolder(model).metrics)}
    return {"recipe": recipe, "minutes": minutes, "seed": seed, "machine": machine(),
            "seconds": float(clock.read_text()), "steps": steps, **measured(report),
            "reconstructions": report["metrics"]["frechet_test"]["reconstructions"]}


def plot(rows: list[dict[str, Any]]) -> None:
    sheet, axes = charts.figure(1, 2, height=4)
    titles = {"frechet_test": "Frechet distance, test", "confidence": "classifier confidence"}
    for name, where in dict.fromkeys((row["recipe"], row["machine"]) for row in rows):
        own = [row for row in rows if (row["recipe"], row["machine"]) == (name, where)]
        minutes = sorted({row["minutes"] for row in own})
        if len(minutes) == 1:
            continue  # a point is no curve
        for ax, metric in zip(axes, titles, strict=True):
            means = [mean(row[metric][0] for row in own if row["minutes"] == m) for m in minutes]
            label = f"{name}, {where.rsplit(', ', 1)[0]}" if ax is axes[0] else None
            (line,) = ax.plot(minutes, means, label=label)
            points = [row[metric][0] for row in own]
            ax.scatter([row["minutes"] for row in own], points, color=line.get_color())
    for ax, (metric, title) in zip(axes, titles.items(), strict=True):
        label = "real images" if ax is axes[0] else None
        ax.axhline(rows[0][metric][2], linestyle=":", color="grey", label=label)
        ax.set(xlabel="minutes of wall time on two cores", ylabel=title)
    axes[0].set(yscale="log")
    sheet.legend(loc="outside lower center", ncols=2, frameon=False)
    pictures.save(charts.picture(sheet), ROOT / "docs" / "race.png")


def main(folder: tyro.conf.Positional[Path | None] = None, minutes: tuple[int, ...] = (10, 30),
         recipes: tuple[str, ...] = ("mnist", "mnist-fast"), seeds: tuple[int, ...] = (0,)) -> None:
    runs = itertools.product(seeds, minutes, recipes) if folder else []
    for seed, length, recipe in runs:
        folder.mkdir(parents=True, exist_ok=True)
        row = race(folder, recipe, length, seed)
        rows = [*json.loads(RESULT.read_text()), row]
        keyed = {(row["recipe"], row["machine"], row["minutes"], row["seed"]): row for row in rows}
        write_json(RESULT, [keyed[key] for key in sorted(keyed)])
        print(f"wrote {RESULT}: {len(keyed)} runs", flush=True)
    plot(json.loads(RESULT.read_text()))


if __name__ == "__main__":
    tyro.cli(main)
