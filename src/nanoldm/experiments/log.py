"""The log of a run, and Ctrl-C while it trains."""

import json
import math
import signal
import threading
import time
from pathlib import Path

from torch import Tensor

from nanoldm.experiments.trackers import Trackers
from nanoldm.pipeline.folders import read_metrics
from nanoldm.utils.distributed import gather
from nanoldm.utils.errors import TrainingError
from nanoldm.utils.files import write_text
from nanoldm.utils.terminal import stop_signals

Values = dict[str, float | list]  # the metrics of one line


class Metrics:
    """Appends to metrics.jsonl, and sends copies to trackers.

    Lines of this stage after step `start` are removed first: a killed run wrote them after its last
    checkpoint.
    """

    def __init__(self, path: Path, stage: str, start: int, trackers: Trackers):
        self.path, self.stage, self.trackers = path, stage, trackers
        records = read_metrics(path)
        kept = [r for r in records if r["stage"] != stage or r["step"] <= start]
        own = [record["seconds"] for record in kept if record["stage"] == stage]
        self.before, self.began = max(own, default=0.0), time.monotonic()
        write_text(path, "".join(json.dumps(record) + "\n" for record in kept))

    def write(self, step: int, **values: float | list) -> None:
        """One line: stage, step, seconds spent in this stage, and the values."""
        seconds = round(self.before + time.monotonic() - self.began, 2)
        record = {"stage": self.stage, "step": step, "seconds": seconds, **values}
        try:
            with open(self.path, "a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise type(error)(error.errno, error.strerror, str(self.path)) from None
        self.trackers.log(self.stage, step, values)


class Interruption:
    """True after Ctrl-C or SIGTERM, so that a step can end first; a second Ctrl-C stops at once.

    Also after SIGHUP, which closing the terminal sends, unless it is ignored (nohup).
    """

    def __init__(self):
        self.requested = False

    def __bool__(self) -> bool:
        return self.requested

    def __enter__(self) -> "Interruption":
        main = threading.current_thread() is threading.main_thread()  # a rule of Python
        signals = stop_signals() if main else []
        self.previous = {number: signal.signal(number, self.request) for number in signals}
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        if kind is None and any(gather(self.requested)):  # after the last step
            raise KeyboardInterrupt("stopped after the last step of a stage: the same command "
                                    "continues the run")

    def request(self, number: int, *_: object) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


def checked_mean(losses: Tensor, grad_norm: float, last: int, checkpoint: Path) -> float:
    """Mean loss of the steps up to `last`.

    Raises TrainingError that names the first step with a loss or gradient that is not finite,
    before such weights are saved.
    """
    values = losses.tolist()
    first = last - len(values) + 1
    found = [("loss", value, step) for step, value in enumerate(values, first)]
    for name, value, step in [*found, ("gradient", grad_norm, last)]:
        if not math.isfinite(value):
            kept = "there is no checkpoint yet"
            if checkpoint.exists():
                kept = f"{checkpoint} keeps an earlier state"
            stage = checkpoint.stem
            group = "training" if stage == "denoiser" else "autoencoder_training"
            raise TrainingError(f"the {name} of the {stage} became {value} at step {step}; {kept}: "
                                f"try a lower {group}.learning_rate, in another folder")
    return sum(values) / len(values)
