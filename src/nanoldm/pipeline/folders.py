"""Models and runs on disk: run folders, exported folders, bundled models, and their files."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nanoldm.pipeline.hub import download, is_hub_name
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import user_path

BUNDLED = Path(__file__).parents[1] / "bundled" / "models"
DEFAULT_MODEL = "mnist-fast-conditional"
INDEX, RECIPE, PLAN = "model_index.json", "recipe.json", "plan.json"
METRICS_FILE = "metrics.jsonl"
EVALUATION = "evaluation.json"  # of `evaluate --save`, with these metrics:
SUMMARY = {"frechet_test": "Frechet distance to the test set", "coverage": "coverage",
           "confidence": "classifier confidence"}
SAMPLING = "sampling.json"  # the model's own sampling settings
CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
SCHEDULER = "scheduler_config.json"
# Files that every model has
FILES = (INDEX,
         *(f"{part}/{name}" for part in ("autoencoder", "network") for name in (CONFIG, WEIGHTS)),
         f"scheduler/{SCHEDULER}")
LOCK, LOCK_SECONDS = ".lock", 1.0  # how long to wait: another process may hold it shortly


class RunFolder:
    """The folder of one training run.

    recipe.json     the resolved recipe        plan.json     steps of both stages
    metrics.jsonl   the log                    checkpoint/   the state to resume from
    model/          the exported model         samples/      images made while training
    """

    def __init__(self, path: str | Path):
        self.path = user_path(path)
        self.recipe, self.plan = self.path / RECIPE, self.path / PLAN
        self.metrics, self.model = self.path / METRICS_FILE, self.path / "model"
        self.checkpoints, self.samples = self.path / "checkpoint", self.path / "samples"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Raise InputError if another process trains in this folder; lock it until the end."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / LOCK, timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise InputError(f"another process is training in {self.path}: wait for it, or choose "
                             "another folder") from None

    def checkpoint(self, stage: str) -> Path:
        return self.checkpoints / f"{stage}.safetensors"


def bundled_models() -> list[str]:
    return sorted(file.parent.name for file in BUNDLED.glob(f"*/{INDEX}"))


def find_model(model: str | Path) -> Path:
    """The folder with model_index.json of a run folder, an exported folder, a bundled name, or
    USER/NAME on the Hugging Face hub.

    A folder with a model, or with a run that has no model yet, has priority over a bundled name.
    Raises InputError if there is no such model.
    """
    path, names = user_path(model), ", ".join(bundled_models())
    for folder in (path / "model", path):
        if (folder / INDEX).is_file():
            return folder
    if (path / RECIPE).is_file():
        raise InputError(f"{path} is a run without a trained model: wait for its first samples, or "
                         "continue it with nanoldm train")
    if str(model) in bundled_models():
        return BUNDLED / model
    if is_hub_name(model):
        return download(str(model), list(FILES))
    if path.exists():
        raise InputError(f"{path} contains no trained model: give a run folder, an exported folder "
                         f"or a bundled name ({names})")
    raise InputError(f"unknown model {str(model)!r}: give a bundled name ({names}) or the path of "
                     "a run folder or an exported folder")


def absolute_model(model: str | Path) -> str:
    """The absolute path of a model on disk; other names (bundled, of the hub) as they are."""
    path = user_path(model).resolve()
    on_disk = any((path / part / "autoencoder" / CONFIG).is_file() for part in ("model", ""))
    return str(path) if on_disk else str(model)


def find_autoencoder(model: str | Path) -> Path:
    """The folder of the autoencoder of a model, or of a run that has trained only that.

    Raises InputError if there is none.
    """
    path = user_path(model) / "model" / "autoencoder"
    return path if (path / CONFIG).is_file() else find_model(model) / "autoencoder"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics.jsonl; [] if there is no such file.

    Damaged lines are skipped: a model must not fail because of its log. A note is printed unless
    it is the last line, which a killed run leaves incomplete.
    """
    lines = path.read_bytes().splitlines() if path.is_file() else []
    records = [parsed(line) for line in lines]
    damaged = [number for number, record in enumerate(records, 1) if not is_record(record)]
    if damaged and damaged != [len(lines)]:
        others = f" and {len(damaged) - 1} others" * (len(damaged) > 1)
        print(f"note: {path} is damaged in line {damaged[0]}{others}: skipped")
    return [record for record in records if is_record(record)]


def parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def is_record(record: Any) -> bool:
    """Whether `record` has a stage, a step, seconds, and finite metrics, each one or a list."""
    if not isinstance(record, dict) or not isinstance(record.get("stage"), str):
        return False
    values = [value for name, value in record.items() if name != "stage"]
    numbers = [n for v in values for n in (v if isinstance(v, list) else [v])]
    return (type(record.get("step")) is int and type(record.get("seconds")) in (int, float)
            and all(type(n) in (int, float) and abs(n) < 1e30 for n in numbers))  # no nan either
