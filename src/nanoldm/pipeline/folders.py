"""Where things are on disk: run folders, exported models, bundled models."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from nanoldm.experiments.config import Data, Recipe
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, refusing
from nanoldm.utils.paths import user_path

BUNDLED = Path(__file__).parents[1] / "bundled" / "models"
LOCK, LOCK_SECONDS = ".lock", 1.0       # for so long another process may only look whether a run is there


class RunFolder:
    """The folder of one training run.

        recipe.json     the resolved recipe         plan.json       steps of both stages, fixed when the run starts
        metrics.jsonl   one line per log entry      checkpoint/     what a stopped run continues from
        model/          the exported pipeline       samples/        pictures made on the way
    """

    def __init__(self, path: str | Path):
        self.path = user_path(path)
        self.recipe, self.plan, self.metrics = self.path / "recipe.json", self.path / "plan.json", self.path / "metrics.jsonl"
        self.checkpoints, self.model, self.samples = self.path / "checkpoint", self.path / "model", self.path / "samples"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other process trains here meanwhile. The lock goes with the process. Raises InputError where another one has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / LOCK, timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise InputError(f"another process is training in {self.path}: wait for it, or choose another folder with --out") from None

    def checkpoint(self, stage: str) -> Path:
        return self.checkpoints / f"{stage}.safetensors"


def bundled_models() -> list[str]:
    return sorted(file.parent.name for file in BUNDLED.glob("*/model_index.json"))


def find_model(model: str | Path) -> Path:
    """The folder with model_index.json for a run folder, an exported folder or a bundled name. A folder that holds a model, or a run
    without one yet, wins over a bundled model of the same name.

    Raises InputError if there is none.
    """
    path, names = user_path(model), ", ".join(bundled_models())
    for folder in (path / "model", path):
        if (folder / "model_index.json").is_file():
            return folder
    if (path / "recipe.json").is_file():
        raise InputError(f"{path} holds a run without a trained model yet: wait until its first pictures, or go on with nanoldm train")
    if str(model) in bundled_models():
        return BUNDLED / model
    if path.exists():
        raise InputError(f"{path} holds no trained model: give a run folder, an exported folder or a bundled name ({names})")
    raise InputError(f"unknown model {str(model)!r}: give a bundled name ({names}) or the path of a run folder or an exported folder")


def read_recipe(file: Path) -> Recipe:
    """Raises InputError for a file that holds no recipe."""
    with refusing(file):
        return Recipe.model_validate(read_json(file))


def data_of(model: str | Path) -> Data:
    """The data that a model was trained on, as its recipe names it; MNIST for a model without a recipe that draws 28x28 grey images.

    Raises InputError for one without a recipe that draws others, and for a recipe that is none.
    """
    recipe = find_model(model) / "recipe.json"
    if not recipe.exists():
        shape = read_json(recipe.parent / "autoencoder" / "config.json")
        if (shape.get("image_size"), shape.get("image_channels")) != (28, 1):
            raise InputError(f"{recipe} is missing, which says what {model} was trained on: copy it from the run (nanoldm export does)")
        return Data(name="mnist", size=None, holdout=0)
    with refusing(recipe):
        return Data.model_validate(read_json(recipe)["data"])
