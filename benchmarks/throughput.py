"""python benchmarks/throughput.py --out bench.json: how fast this machine trains and samples,
beside what it could do and beside other implementations, in fp32 and bf16, eager and compiled.

Contenders live in processes of their own (contenders.py), each set up as its users would find it,
and take turns: a machine that is busy for a moment slows down all of them.
"""

import itertools
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
OURS = "nanoldm, fp32"
COLD_STARTS = 3
MOST_ROUNDS, MOST_BATCH = 10_000, 1_000_000
CONTENDER = Path(__file__).with_name("contenders.py")
STEP_BYTES = 3e7        # of memory for each image of a training step, about: four processes


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
    contenders = available(device)
    settings = dict(batch_size=batch_size, threads=threads, device=device)
    report = {"nanoldm": __version__, "torch": torch.__version__, "machine": machine(), **settings,
              "rounds": rounds, "contenders": {name: {} for name in contenders}}
    with Process(OURS, **settings) as ours:
        report |= ours.ask("products")
    forms = [CONTENDERS[name][1:] for name in contenders]
    for task, form in itertools.product(TASKS, dict.fromkeys(forms)):  # few processes at a time
        compete(task, {name: report["contenders"][name] for name in contenders
                       if CONTENDERS[name][1:] == form}, rounds, settings)
    report["cold_start"] = cold_start(threads, device)
    write_json(out, report)
    show(report)
    print(f"wrote {out}")
    return report


def available(device: str) -> list[str]:
    """The contenders that can run here. Prints why others cannot."""
    missing = [name for name in RIVALS if not find_spec(name)]
    for name in missing:
        print(f"note: {name} is not installed: pip install {name} to compare with it")
    compiler = True
    try:
        check_compiler(device)
    except InputError as error:
        compiler = False
        print(f"note: {error}")
    return [name for name, (library, _, compiled) in CONTENDERS.items()
            if library not in missing and compiled <= compiler]


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
    """Let contenders and nanoldm in fp32, eager, do `task` in turns, in new processes. Add to what
    is known of them: their images per second, how many times as fast that is as nanoldm in fp32,
    eager, and memory.
    """
    rates, ratios = f"{task}_images_per_second", f"{task}_times_nanoldm"
    with ExitStack() as stack:
        processes = {name: stack.enter_context(Process(name, **settings))
                     for name in {OURS: None} | contenders}
        for process in tqdm(processes.values(), desc=f"{TASKS[task]}: warming up, compiling",
                            unit="contender"):
            process.ask(task)
        for name, facts in contenders.items():
            facts |= processes[name].ask("facts") | {rates: [], ratios: []}
        for _ in tqdm(range(rounds), desc=TASKS[task], unit="round"):
            answers = {name: process.ask(task) for name, process in processes.items()}
            speeds = {name: answer["images"] / answer["seconds"]
                      for name, answer in answers.items()}
            for name, facts in contenders.items():
                facts[rates].append(speeds[name])
                facts[ratios].append(speeds[name] / speeds[OURS])
        for name, facts in contenders.items():
            facts[f"{task}_peak_mb"] = processes[name].ask("memory")["peak_mb"]


def speed(contenders: dict[str, dict[str, Any]], name: str, other: str,
          task: str) -> tuple[float, float]:
    """Median images per second of a contender, and how many times as fast that is as another one
    in the same round (median).
    """
    own, theirs = (contenders[who][f"{task}_images_per_second"] for who in (name, other))
    return statistics.median(own), statistics.median(a / b
                                                     for a, b in zip(own, theirs, strict=True))


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
    contenders, gflop = report["contenders"], report["step_gflop"]
    print(f"{report['machine']}; torch {report['torch']} on {report['device']}\na training step of "
          f"{report['batch_size']} images has {gflop:.1f} GFLOP of matrix products:")
    for precision, speeds in report["gflops"].items():
        floor = gflop / speeds["large"]
        print(f"  {precision}: {speeds['large']:.0f} GFLOP/s large, {speeds['layers']:.0f} at the "
              f"shapes of the layers; at the speed of the large ones {floor:.3f} s")
    grid = Table("", "training step", "of large products", "training, images/s",
                 "sampling, images/s", "memory, training", caption_justify="left",
                 caption="In brackets: how many times as fast as nanoldm in the same form, and as "
                 "nanoldm in fp32, eager. Sampling: 100 reverse steps (timed over 20). Medians of "
                 f"{report['rounds']} rounds in which all take turns.")
    grid.columns[0].min_width = max(map(len, RIVALS)) + 1  # with a comma
    for name, facts in contenders.items():
        library = CONTENDERS[name][0]
        same, (seconds, share) = name.replace(library, "nanoldm", 1), limit(report, name)
        texts = []
        for task in TASKS:
            rate, ratio = speed(contenders, name, same, task)
            base = statistics.median(facts[f"{task}_times_nanoldm"])
            texts.append(f"{rate:.1f} ({ratio:.2f}, {base:.2f})")
        grid.add_row(name, f"{seconds:.3f} s", f"{share:.0%}", *texts,
                     f"{facts['train_peak_mb']:,.0f} MB")
    print(printed(grid))
    start = report["cold_start"]
    print(f"cold start: {start['sample']:.1f} s from `nanoldm sample --n 1` to a picture; "
          f"importing torch: {start['import_torch']:.1f} s")


def limit(report: dict[str, Any], name: str) -> tuple[float, float]:
    """Seconds of a training step, and the share of the speed of large products that it reaches."""
    rates = report["contenders"][name]["train_images_per_second"]
    seconds = report["batch_size"] / statistics.median(rates)
    large = report["gflops"][CONTENDERS[name][1]]["large"]
    return seconds, report["step_gflop"] / seconds / large


if __name__ == "__main__":
    try:
        tyro.cli(bench)
    except (InputError, TrainingError) as error:
        sys.exit(f"throughput: {error}")
