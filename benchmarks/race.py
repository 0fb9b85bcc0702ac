"""The race: how near to real digits a recipe comes in so many minutes of wall time, from raw images to finished model.

    python benchmarks/race.py FOLDER --minutes 10 30 --recipes mnist mnist-fast --seeds 0

Every runner is `nanoldm train RECIPE --budget MINUTESm --seed SEED`: start, autoencoder, encoding and pictures count, and the learning rate
is annealed to these very minutes. Then 10,000 samples, 16 steps of dpm++2m on the shifted grid for all, are judged against the test set.
Run it on an idle machine, one at a time. Runs live in FOLDER; a finished one is not run again. Writes benchmarks/race.json after each,
beside what is there already, and draws in docs/race.png the recipes that ran for several lengths of time on one machine.
"""

import json
import time
from pathlib import Path
from statistics import mean
from typing import Any

import tyro
from curve import ROOT, measured, run
from nanoldm.bench import machine

from nanoldm.evaluation import plots as charts
from nanoldm.pipeline.folders import RunFolder, read_metrics
from nanoldm.utils import images as pictures
from nanoldm.utils.files import read_json, write_json

RESULT = ROOT / "benchmarks" / "race.json"
SAMPLING = ("--n", 10_000, "--steps", 16, "--sampler", "dpm++2m", "--grid", "shifted")


def race(folder: Path, recipe: str, minutes: int, seed: int) -> dict[str, Any]:
    """One runner: what it was asked, what it took, and what it `measured`."""
    model, judged = folder / f"{recipe}-{minutes}m-{seed}", folder / f"{recipe}-{minutes}m-{seed}-judged"
    clock = model.with_suffix(".seconds")
    if model.exists() and not clock.exists():
        raise SystemExit(f"{model} was stopped on its way, so nobody knows its time: remove it, and this starts it again")
    began = time.monotonic()
    run("train", recipe, "--budget", f"{minutes}m", "--seed", seed, "--out", model)      # does nothing for a finished run
    if not clock.exists():
        clock.write_text(f"{time.monotonic() - began:.1f}")
    if not (judged / "report.json").exists():
        run("evaluate", model, *SAMPLING, "--out", judged)
    report = read_json(judged / "report.json")
    steps = {record["stage"]: record["step"] for record in read_metrics(RunFolder(model).metrics)}
    return {"recipe": recipe, "minutes": minutes, "seed": seed, "machine": machine(), "seconds": float(clock.read_text()), "steps": steps,
            **measured(report), "reconstructions": report["measures"]["frechet_test"]["reconstructions"]}


def draw(rows: list[dict[str, Any]]) -> None:
    sheet, (left, right) = charts.figure(1, 2)
    for name, where in dict.fromkeys((row["recipe"], row["machine"]) for row in rows):
        own = [row for row in rows if (row["recipe"], row["machine"]) == (name, where)]
        minutes = sorted({row["minutes"] for row in own})
        if len(minutes) == 1:
            continue                                # a point is no race
        for axes, measure in ((left, "frechet_test"), (right, "confidence")):
            means = [mean(row[measure][0] for row in own if row["minutes"] == m) for m in minutes]
            line, = axes.plot(minutes, means, label=f"{name}, {where.rsplit(', ', 1)[0]}")
            axes.scatter([row["minutes"] for row in own], [row[measure][0] for row in own], color=line.get_color())
    for axes, measure, title in ((left, "frechet_test", "Frechet distance, test set"), (right, "confidence", "classifier confidence")):
        axes.axhline(rows[0][measure][2], linestyle=":", color="grey", label="real images")
        axes.set(xlabel="minutes of wall time on two cores", ylabel=title)
    left.set(yscale="log")
    right.legend(fontsize="small")
    pictures.save(charts.picture(sheet), ROOT / "docs" / "race.png")


def main(folder: Path, minutes: tuple[int, ...] = (10, 30), recipes: tuple[str, ...] = ("mnist", "mnist-fast"),
         seeds: tuple[int, ...] = (0,)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for length in minutes:
            for recipe in recipes:
                row = race(folder, recipe, length, seed)
                rows = json.loads(RESULT.read_text()) if RESULT.exists() else []
                rows = {(row["recipe"], row["machine"], row["minutes"], row["seed"]): row for row in [*rows, row]}
                rows = [rows[key] for key in sorted(rows)]
                write_json(RESULT, rows)
                draw(rows)
                print(f"wrote {RESULT} and docs/race.png: {len(rows)} runs", flush=True)


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.PositionalRequiredArgs,))
