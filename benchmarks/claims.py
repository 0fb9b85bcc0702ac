"""Every design claim of the specification, tested: the study of claims.toml.

    python benchmarks/claims.py run FOLDER              # the arms that are missing, in turn
    python benchmarks/claims.py run FOLDER --arms added-once --seeds 3
    python benchmarks/claims.py status
    python benchmarks/claims.py page                    # docs/claims.md and its pictures

`run` trains with one thread and adds a line to claims.jsonl for each arm and seed. Two of these at
once, one per core, share the work. A killed one loses the arm that it was training; the same
command continues. FOLDER keeps autoencoders.
"""

import json
import time
from pathlib import Path

import tyro
from claims_arm import ArmRun
from claims_study import HERE, RESULTS, Study, load_results, load_study
from filelock import FileLock, Timeout
from throughput import machine

from nanoldm.data import load
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import Judge
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.errors import TrainingError
from nanoldm.utils.files import write_text


def jobs(study: Study, tier: int, arms: tuple[str, ...],
         seeds: tuple[int, ...]) -> list[tuple[str, int]]:
    """(arm, seed) in the order of work: those of tier 1 first, and the first seed of all arms."""
    if unknown := set(arms) - study.arms.keys():
        raise SystemExit(f"there is no arm {', '.join(sorted(unknown))}: claims.py status lists "
                         "them")
    names = arms or tuple(name for name, arm in study.arms.items() if arm.tier <= tier)
    found = [(name, seed) for name in names for seed in seeds or study.arms[name].seeds]
    return sorted(found, key=lambda job: (study.arms[job[0]].tier, job[1]))  # stable


def run(folder: tyro.conf.Positional[Path], tier: int = 1, arms: tuple[str, ...] = (),
        seeds: tuple[int, ...] = (), results: Path = RESULTS, threads: int = 1) -> None:
    """Train and measure arms.

    tier: 1, or 2 for the others, too.
    arms, seeds: only these.
    results: where a line is added for each; arms that it has are not trained again.
    """
    study = load_study()
    work = jobs(study, tier, arms, seeds)
    prepare_torch("cpu", threads)
    folder.mkdir(parents=True, exist_ok=True)
    held_out = study.recipe("reference", 0).data.holdout
    judge = Judge(load_features("digits-v1"), *load("mnist", None, held_out))
    for name, seed in work:
        try:
            with FileLock(folder / f"{name}-{seed}.lock", timeout=0):
                with FileLock(folder / "results.lock"):
                    done = load_results(results)
                if (name, seed) in done:
                    continue
                print(f"{time.strftime('%H:%M:%S')} {name}, seed {seed}", flush=True)
                try:
                    result = ArmRun(study, name, seed, judge, folder).result()
                except TrainingError as error:
                    result = {"arm": name, "seed": seed, "diverged": str(error)}
                result |= {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
                with FileLock(folder / "results.lock"), results.open("a") as file:
                    file.write(json.dumps(result) + "\n")
        except Timeout:
            continue  # another process trains it


def status() -> None:
    """Which arms are done, with their distances."""
    study, results = load_study(), load_results()
    for name, arm in study.arms.items():
        seeds = sorted(set(arm.seeds) | {seed for other, seed in results if other == name})
        found = (results.get((name, seed)) for seed in seeds)
        values = "  ".join(f"{each['distances']['']:8.3f}" if each and "distances" in each else
                           f"{'diverged' if each else '-':>8}" for each in found)
        print(f"tier {arm.tier}  {name:26}{values}")


def page(results: Path = RESULTS, docs: Path = HERE.parent / "docs") -> None:
    """Write DOCS/claims.md and its pictures from the results."""
    from claims_page import Page, text
    from claims_pictures import draw

    found = Page(load_study(), load_results(results))
    draw(found, docs / "claims")
    write_text(docs / "claims.md", text(found))
    print(f"wrote {docs / 'claims.md'}: {len(found.results)} runs")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"run": run, "status": status, "page": page},
                                         description=__doc__)
