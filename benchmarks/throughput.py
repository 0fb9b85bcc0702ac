"""python benchmarks/throughput.py --out bench.json: how fast this machine trains and samples,
beside what it could do and beside other implementations.

Contenders live in processes of their own (contenders.py), each set up as its users would find it,
and take turns: a machine that is busy for a moment slows down all of them.
"""

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import tyro
from contenders import CONTENDERS
from rich.table import Table
from tqdm.auto import tqdm

from nanoldm import __version__
from nanoldm.utils.device import check_compiler
from nanoldm.utils.errors import InputError, TrainingError
from nanoldm.utils.files import write_json
from nanoldm.utils.limits import check_memory, short, within
from nanoldm.utils.paths import check_target
from nanoldm.utils.tables import printed

TASKS = {"train": "training", "sample": "sampling"}
RIVALS = ("diffusers", "smalldiffusion")
COLD_STARTS = 3
MOST_ROUNDS, MOST_BATCH = 10_000, 1_000_000
CONTENDER = Path(__file__).with_name("contenders.py")
STEP_BYTES = 8e6        # of memory for each image of a training step, about


class Process:
    """A contender that answers questions (names of methods of contenders.Worker). A context manager
    that ends it.

    Python's option -P: a torch.py in the current folder is not torch.
    """

    def __init__(self, name: str, batch_size: int, threads: int | None, device: str):
        self.name = name
        settings = json.dumps({"name": name, "batch_size": batch_size, "threads": threads,
                               "device": device})
        self.process = subprocess.Popen([sys.executable, "-P", str(CONTENDER), settings], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)

    def ask(self, question: str) -> dict[str, Any]:
        """Raises TrainingError if the contender failed."""
        try:
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
        except (OSError, ValueError):
            answer = {"error": "its process died"}
        if "error" in answer:
            raise TrainingError(f"{self.name} failed in {question!r}: {answer['error']}")
        return answer

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def bench(out: str | Path = "bench.json", *, rounds: int = 5, batch_size: int = 256,
          threads: int | None = None, device: str = "cpu") -> dict[str, Any]:
    """Measure everything, write it to the file `out`, print a table, and return what was written.

    rounds: turns of each contender; every figure is the median over them. batch_size: of a training
        step. Raises InputError.
    """
    out = check_target(Path(out), ".json")
    if rounds < 1 or batch_size < 1:
        raise InputError(f"--rounds {short(rounds)} --batch {short(batch_size)}: both must be at "
                         "least 1")
    within("--rounds", rounds, 1, MOST_ROUNDS)
    within("--batch", batch_size, 1, MOST_BATCH)
    check_memory(STEP_BYTES * batch_size, f"a training step of {batch_size:,} images",
                 "give a smaller --batch")
    missing = absent(device)
    for reason in missing.values():
        print(f"note: {reason}")
    settings = dict(batch_size=batch_size, threads=threads, device=device)
    report = {"nanoldm": __version__, "torch": torch.__version__, "machine": machine(), **settings,
              "rounds": rounds,
              "contenders": {name: {} for name in CONTENDERS if name not in missing}}
    with Process("nanoldm", **settings) as ours:
        report |= ours.ask("products")
    for task in TASKS:
        compete(task, report["contenders"], rounds, settings)
    report["cold_start"] = cold_start(threads, device)
    write_json(out, report)
    show(report)
    print(f"wrote {out}")
    return report


def absent(device: str) -> dict[str, str]:
    """The contenders that cannot run here, and why."""
    missing = {name: f"{name} is not installed: pip install {name} to compare with it"
               for name in RIVALS if not find_spec(name)}
    try:
        check_compiler(device)
    except InputError as error:
        missing["nanoldm --compile"] = str(error)
    return missing


def machine() -> str:
    """What the figures belong to. With family and model, since virtual machines call processors of
    several generations by one name.
    """
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    lines = text.split("\n\n")[0].splitlines()
    first = {name.strip(): value.strip()
             for name, _, value in (line.partition(":") for line in lines)}
    name = first.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in first and "model" in first:
        name += f" (family {first['cpu family']}, model {first['model']})"
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def compete(task: str, contenders: dict[str, dict[str, Any]], rounds: int,
            settings: dict[str, Any]) -> None:
    """Let all contenders do `task` in turns, in new processes; add their images per second and
    memory to what is known of them.
    """
    with ExitStack() as stack:
        processes = {name: stack.enter_context(Process(name, **settings)) for name in contenders}
        # and compiling
        for name, process in tqdm(processes.items(), desc=f"{TASKS[task]}: warming up",
                                  unit="contender"):
            process.ask(task)
            contenders[name] |= process.ask("facts") | {f"{task}_images_per_second": []}
        for _ in tqdm(range(rounds), desc=TASKS[task], unit="round"):
            for name, process in processes.items():
                answer, rates = process.ask(task), contenders[name][f"{task}_images_per_second"]
                rates.append(answer["images"] / answer["seconds"])
        for name, process in processes.items():
            contenders[name][f"{task}_peak_mb"] = process.ask("memory")["peak_mb"]


def speed(contenders: dict[str, dict[str, Any]], name: str, task: str) -> tuple[float, float]:
    """Median images per second of a contender, and how many times as fast that is as nanoldm in the
    same round (median).
    """
    own, ours = (contenders[who][f"{task}_images_per_second"] for who in (name, "nanoldm"))
    return statistics.median(own), statistics.median(a / b for a, b in zip(own, ours, strict=True))


def cold_start(threads: int | None, device: str) -> dict[str, float]:
    """Seconds from nothing to one image on disk, and to `import torch` alone, in turns: the median
    of three.
    """
    options = ["--device", device, *(["--threads", str(threads)] if threads else [])]
    times: dict[str, list[float]] = {"sample": [], "import_torch": []}
    with tempfile.TemporaryDirectory() as folder:
        commands = {"sample": ["-m", "nanoldm", "sample", "--n", "1", "--out", "one.png", *options],
                    "import_torch": ["-c", "import torch"]}
        for _ in tqdm(range(COLD_STARTS), desc="cold starts", unit="start"):
            for name, command in commands.items():
                began = time.perf_counter()
                done = subprocess.run([sys.executable, "-P", *command], cwd=folder,
                                      capture_output=True, text=True)
                if done.returncode:
                    raise TrainingError(
                        "the cold start failed: "
                        f"{(done.stderr.strip().splitlines() or ['no message'])[-1][:300]}"
                    )
                times[name].append(time.perf_counter() - began)
    return {name: round(statistics.median(values), 2) for name, values in times.items()}


def show(report: dict[str, Any]) -> None:
    """The report for the terminal."""
    contenders, gflop, large = report[
        "contenders"
    ], report["step_gflop"], report["sgemm_gflops"]["large"]
    print(f"{report['machine']}; torch {report['torch']} on {report['device']}\nmatrix products: "
          f"{large:.0f} GFLOP/s large, {report['sgemm_gflops']['layers']:.0f} at the shapes of the "
          f"layers; a training step of {report['batch_size']} images has {gflop:.1f} GFLOP of them")
    grid = Table("", "parameters", "training step", "of large products", "training, images/s",
                 "sampling, images/s", "memory, training", caption_justify="left",
                 caption="In brackets: how many times as fast as nanoldm. Sampling: 100 reverse "
                 f"steps (timed over 20). Medians of {report['rounds']} rounds in which all take "
                 "turns.")
    for name, facts in contenders.items():
        training, ratio = speed(contenders, name, "train")
        sampling = speed(contenders, name, "sample")
        seconds = report["batch_size"] / training
        share = f"{gflop / seconds / large:.0%}" if name.startswith("nanoldm") else "–"
        grid.add_row(name, f"{facts['parameters']:,}", f"{seconds:.3f} s", share,
                     f"{training:.0f} ({ratio:.2f})", "{:.1f} ({:.2f})".format(*sampling),
                     f"{facts['train_peak_mb']:,.0f} MB")
    print(printed(grid))
    start = report["cold_start"]
    print(f"cold start: {start['sample']:.1f} s from `nanoldm sample --n 1` to a picture; "
          f"importing torch: {start['import_torch']:.1f} s")


if __name__ == "__main__":
    try:
        tyro.cli(bench)
    except (InputError, TrainingError) as error:
        sys.exit(f"throughput: {error}")
