"""Commands that train: train, whose options are all fields of a recipe, and distill."""

import os
import time
from typing import Annotated, Any, Literal

from tyro.conf import arg

from nanoldm.cli.options import (
    Flag,
    Folder,
    Machine,
    ModelName,
    Name,
    Shared,
    command,
    parse_duration,
    parse_names,
)
from nanoldm.experiments.config import PAIRS, STUDENT_STEPS, Recipe
from nanoldm.experiments.recipes import RECIPES, load_recipe
from nanoldm.utils.errors import InputError
from nanoldm.utils.launched import launched_processes

# Short option -> field
SHORT = {"--epochs": "--training.epochs", "--steps": "--training.steps",
         "--ae-epochs": "--autoencoder_training.epochs",
         "--autoencoder": "--autoencoder_from", "--data": "--data.name",
         "--size": "--data.size", "--holdout": "--data.holdout"}
LENGTHS = ("--budget", "--training.epochs", "--training.steps")


@command
class Train(Shared, Machine):
    """Train an autoencoder and a denoiser; the same command resumes a stopped run.

    Example: nanoldm train mnist-fast --budget 10m

    Other settings: nanoldm train mnist --network.depth 6 --training.learning_rate 1e-3 --dry-run

    RECIPE is one of `nanoldm recipes`, or a JSON file, such as the recipe.json of a run. Every
    field of the recipe is an option, shown with its value. Short forms: --epochs and --steps
    (--training...), --ae-epochs (--autoencoder_training.epochs), --autoencoder
    (--autoencoder_from), --data, --size and --holdout (--data...).
    """

    recipe: Annotated[Recipe, arg(name="")]
    # Run folder (default: runs/RECIPE).
    out: Folder = None
    # Print the recipe, parameters, steps and expected time, and write nothing.
    dry_run: Flag = False
    # Compile the denoiser (torch.compile, needs a C++ compiler): half a minute, then faster steps.
    # auto: if the denoiser trains for four minutes or more and its steps become faster.
    compile: Literal["auto", "on", "off"] = "auto"
    # Gradient accumulation: compute each batch in so many parts, one after the other. The same run
    # with less memory for activations.
    accumulate: Annotated[int, arg(metavar="N")] = 1
    # Stop after the autoencoder; the same command without this goes on with the denoiser.
    only: Literal["autoencoder"] | None = None
    # Also send losses and previews to tensorboard or wandb, or losses to trackio (several: a,b).
    # Install the package first.
    log: Name = None

    def run(self) -> None:
        began = time.monotonic()
        from nanoldm.experiments.forecast import forecast
        from nanoldm.experiments.run import Run

        if launched_processes() == 1 and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true":
            print("note: accelerate launch --cpu has started one process: for more give nanoldm "
                  "--processes N, or start it with torchrun")
        run = Run(self.out, self.recipe, self.prepare(), compile=self.compile,
                  accumulate=self.accumulate)
        run.began = began
        trackers = parse_names(self.log) if self.log else ()
        forecast(run) if self.dry_run else run.train(trackers, self.only)


@command
class Distill(Shared, Machine):
    """Train a student of a model, which generates an image in one or a few network passes.

    Example: nanoldm distill mnist-fast --passes 2 --out runs/two

    The model, its teacher, generates images; the student learns to make the same image from the
    same noise. The same command resumes a stopped run.
    """

    model: ModelName
    # Network passes of the student per image, at most 8.
    passes: Annotated[int, arg(metavar="N")] = 2
    # Run folder (default: runs/RECIPE-N-pass).
    out: Folder = None
    # Images of the teacher that the student learns.
    pairs: Annotated[int, arg(metavar="N")] = PAIRS
    # Steps of the training.
    steps: Annotated[int, arg(metavar="N")] = STUDENT_STEPS
    # Guidance scale at which the teacher generates, for models with labels; 1 is off. The student
    # needs no second pass for it.
    guidance: Annotated[float, arg(metavar="SCALE")] = 1.0
    # Seed of the training.
    seed: Annotated[int, arg(metavar="N")] = 0
    # Print the recipe, steps and expected time, and write nothing.
    dry_run: Flag = False
    # Compile the student (torch.compile), as in `nanoldm train`.
    compile: Literal["auto", "on", "off"] = "auto"

    def run(self) -> None:
        from nanoldm.experiments.distill import student_recipe
        from nanoldm.experiments.forecast import forecast
        from nanoldm.experiments.run import Run
        from nanoldm.utils.distributed import from_main

        device = self.prepare()
        options = {name: getattr(self, name) for name in ("pairs", "steps", "guidance", "seed")}
        recipe = from_main(lambda: student_recipe(self.model, self.passes, **options))
        run = Run(self.out, recipe, device, compile=self.compile)
        forecast(run) if self.dry_run else run.train()


def expand_options(arguments: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Arguments after `train` -> (options with full names, the recipe as default values).

    Raises InputError for an unknown recipe, and if two options set the length of the training.
    """
    if not arguments or arguments[0].startswith("-"):
        if arguments and arguments[0] in ("--help", "-h"):
            return arguments, {"recipe": RECIPES["mnist-fast"]()}
        raise InputError("train needs a recipe: nanoldm train RECIPE, such as "
                         f"{', '.join(RECIPES)}")
    name, *options = arguments
    recipe, full = load_recipe(name), []
    for option in options:
        flag, equals, value = option.partition("=")
        if flag.startswith("--") and "." in flag:  # --help writes fields with hyphens
            flag = "--" + flag[2:].replace("-", "_")
        full += [SHORT.get(flag, flag) + equals + value]
    flags = {option.split("=")[0] for option in full}
    if len(given := [length for length in LENGTHS if length in flags]) > 1:
        raise InputError(f"{' and '.join(given)} set the length of the training: give one of "
                         "them")
    return budget_in_seconds(full), {"recipe": without_lengths(recipe, flags)}


def without_lengths(recipe: Recipe, flags: set[str]) -> Recipe:
    """The recipe without the lengths that would take precedence over those of the options."""
    if flags & {"--training.epochs", "--training.steps"}:
        recipe = recipe.replace(budget=None)
    for name in ("training", "autoencoder_training"):
        if f"--{name}.epochs" in flags:
            epochs = getattr(recipe, name).epochs or 1  # one length must be there
            recipe = recipe.replace(**{name: {"steps": None, "epochs": epochs}})
    return recipe


def budget_in_seconds(options: list[str]) -> list[str]:
    """Options with the time of --budget in seconds."""
    found: list[str] = []
    for option in options:
        flag, equals, value = option.partition("=")
        if flag == "--budget" and equals:
            option = f"--budget={parse_duration(value)}"
        elif found and found[-1] == "--budget":
            option = str(parse_duration(option))
        found.append(option)
    return found
