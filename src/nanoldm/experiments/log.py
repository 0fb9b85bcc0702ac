"""What a run writes down while it goes on, and how it hears Ctrl-C."""

import json
import math
import signal
import threading
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanoldm.utils.errors import TrainingError
from nanoldm.utils.files import write_text

Figures = dict[str, float | list]       # what one line of metrics.jsonl can say


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl, none where there is no such file. Lines that are damaged, as the last one is after a kill, are left
    out, with a note unless it is the last: a model must not fail because of its log."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    found = [parsed(line) for line in lines]
    damaged = [number for number, record in enumerate(found, 1) if not is_record(record)]
    if damaged and damaged != [len(lines)]:
        print(f"note: {path} is damaged in line {damaged[0]}" + f" and {len(damaged) - 1} others" * (len(damaged) > 1) + ": left out")
    return [record for record in found if is_record(record)]


def parsed(line: bytes) -> Any:
    """What a line says; None for one that is no JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def is_record(record: Any) -> bool:
    """Whether it is what `Metrics.write` writes: a stage, a step, seconds, and figures, each a number or several."""
    if not (isinstance(record, dict) and isinstance(record.get("stage"), str) and type(record.get("step")) is int):
        return False
    values = [value for name, value in record.items() if name != "stage"]
    numbers = [number for value in values for number in (value if isinstance(value, list) and value else [value])]
    plausible = all(type(number) in (int, float) and not 1e30 < abs(number) < math.inf for number in numbers)
    return plausible and record["step"] >= 0 and not isinstance(record.get("seconds", []), list) and 0 <= record["seconds"] < 1e12


class Metrics:
    """Appends to metrics.jsonl. Lines of this stage after step `start`, which a killed run did not live to save, are dropped first."""

    def __init__(self, path: Path, stage: str, start: int):
        self.path, self.stage = path, stage
        kept = [record for record in read_metrics(path) if record["stage"] != stage or record["step"] <= start]
        self.before = max((record["seconds"] for record in kept if record["stage"] == stage), default=0.0)
        self.began = time.monotonic()
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))

    def write(self, step: int, **figures: float | list) -> None:
        """One line: stage, step, seconds spent in this stage so far, and the figures."""
        seconds = round(self.before + time.monotonic() - self.began, 2)
        line = json.dumps({"stage": self.stage, "step": step, "seconds": seconds, **figures}) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8", newline="\n") as file:
                file.write(line)
        except OSError as error:
            raise type(error)(error.errno, error.strerror, str(self.path)) from None


class Interruption:
    """True after Ctrl-C (or SIGTERM), so that a loop can finish its step first; a second Ctrl-C stops at once."""

    def __init__(self):
        self.requested = False

    def __bool__(self) -> bool:
        return self.requested

    def __enter__(self) -> "Interruption":
        here = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()     # Python's rule
        self.previous = {number: signal.signal(number, self.request) for number in here}
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        if self.requested and kind is None:         # after the last step
            raise KeyboardInterrupt("stopped after the last step of a stage: the same command continues the run")

    def request(self, *_: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def checked_mean(losses: list[Tensor], grad_norm: float, last: int, checkpoint: Path) -> float:
    """Mean of the losses of the steps up to `last`. Raises TrainingError that names the first step whose loss, or for the last whose
    gradient, is not finite: before such weights are saved."""
    values = torch.stack(losses).tolist()
    found = [("loss", value, step) for step, value in enumerate(values, last - len(values) + 1)] + [("gradient", grad_norm, last)]
    for name, value, step in found:
        if not math.isfinite(value):
            kept = f"{checkpoint} keeps an earlier state" if checkpoint.exists() else "there is no checkpoint yet"
            group = "training" if checkpoint.stem == "denoiser" else "autoencoder_training"
            raise TrainingError(f"the {name} of the {checkpoint.stem} became {value} at step {step}; {kept}: try a lower "
                                f"--set {group}.learning_rate, with another --out")
    return sum(values) / len(values)
