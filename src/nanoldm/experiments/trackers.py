"""Copies of a run's log for experiment trackers, by accelerate."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from PIL import Image

from nanoldm.experiments.config import Recipe
from nanoldm.pipeline.folders import RunFolder
from nanoldm.utils.config import flat
from nanoldm.utils.errors import InputError, check_choice

TRACKERS = ("tensorboard", "wandb", "trackio")


class Trackers:
    """Sends metrics and previews to trackers; to none by default. For rank 0.

    names: of TRACKERS. TensorBoard's files are in the run folder, in logs/.
    """

    def __init__(self, names: Sequence[str] = ()):
        for name in names:
            check_choice("log", name, TRACKERS)
            if find_spec(name) is None:
                raise InputError(f"log {name} needs a package: pip install {name}")
        self.names, self.trackers = list(names), []

    def start(self, folder: RunFolder, recipe: Recipe, device: torch.device | str) -> None:
        """Open the trackers of a run on `device`."""
        if self.names:
            from accelerate import Accelerator
            from accelerate.utils import LoggerType

            for name in self.names:
                if name not in LoggerType.list():
                    raise InputError(f"log {name} needs a newer accelerate: pip install -U "
                                     "accelerate")
            logs, cpu = folder.path / "logs", torch.device(device).type == "cpu"
            accelerator = Accelerator(log_with=self.names, project_dir=logs, cpu=cpu)
            settings = {name: value if isinstance(value, int | float | str) else str(value)
                        for name, value in flat(recipe.model_dump()).items()}
            accelerator.init_trackers("nanoldm", config=settings)
            self.trackers = accelerator.trackers

    def log(self, stage: str, step: int, values: dict[str, Any]) -> None:
        """Metrics of a line of the log. Each value of a list has a curve of its own."""
        found = {}
        for name, value in values.items():
            several = value if isinstance(value, list) else [value]
            for k, number in enumerate(several):
                found[f"{stage}/{name}" + f"/{k}" * isinstance(value, list)] = number
        for tracker in self.trackers:
            if tracker.name == "tensorboard":
                tracker.log(found, step=step)
            else:  # their steps only rise, and each stage counts from 1
                tracker.log(found | {f"{stage}/step": step})

    def show(self, stage: str, step: int, picture: Image.Image) -> None:
        """A preview."""
        name, pixels = f"{stage}/preview", np.array(picture.convert("RGB"))
        for tracker in self.trackers:
            if tracker.name == "tensorboard":
                tracker.log_images({name: pixels[None]}, step=step, dataformats="NHWC")
            elif hasattr(tracker, "log_images"):  # trackio has none
                tracker.log_images({name: [pixels]})

    def finish(self) -> None:
        for tracker in self.trackers:
            tracker.finish()
        self.trackers = []
