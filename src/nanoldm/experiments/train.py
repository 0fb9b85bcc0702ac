"""Training from Python, with the defaults of the command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nanoldm.experiments.config import Recipe
from nanoldm.experiments.recipes import load_recipe
from nanoldm.experiments.run import Run
from nanoldm.utils.device import prepare_torch


def train(recipe: Recipe | str | Path, out: str | Path | None = None, *, data: Any = None,
          trackers: Sequence[str] = (), only: str | None = None, device: str = "auto",
          **options: Any) -> Run:
    """Train a recipe, or continue its run -> the run. The same as `nanoldm train`.

    recipe: a name of `nanoldm recipes`, the path of a JSON file (`load_recipe`), or a `Recipe`.
    out: the run folder (default: runs/RECIPE).
    data, options: of `Run`. trackers, only: of `Run.train`. device: of `prepare_torch`.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe)
    run = Run(out, recipe, prepare_torch(device), data=data, **options)
    return run.train(trackers, only)
