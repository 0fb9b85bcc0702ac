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

from nanoldm.errors import InputError, TrainingError
from nanoldm.files import write_text

Figures = dict[str, float | list]       # what one line of metrics.jsonl can say


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last line that was cut off by a kill is left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise InputError(f"{path} is damaged in line {number}: remove that line") from None
    return records


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
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"stage": self.stage, "step": step, "seconds": seconds, **figures}) + "\n")


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

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

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
