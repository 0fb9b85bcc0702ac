"""How many steps a run takes and how long: decided once, when it starts, and stored."""

import math
import time
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field

from nanoldm.data import ImageSet
from nanoldm.experiments.config import Length, Recipe
from nanoldm.experiments.stage import Stage
from nanoldm.experiments.stages import (
    as_pairs,
    give_latents,
    give_pairs,
    sampling_settings,
    teacher_settings,
)
from nanoldm.experiments.timing import (
    StepTiming,
    choose_fastest,
    seconds_per_preview,
    seconds_to_encode,
    seconds_to_record,
)
from nanoldm.pipeline.own_images import ImageDigests
from nanoldm.utils.config import Config
from nanoldm.utils.distributed import from_main
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, refusing
from nanoldm.utils.text import duration

PROBE = 1.0  # seconds of timing per stage, and 1.5 % of a budget
AUTOENCODER_SHARE = 0.2  # of a budget, at most
PREVIEW_SHARE, PREVIEWS = 0.05, 8  # of the denoiser's time, and their number, at most
FEWEST = {"autoencoder_training": 1000, "training": 2000}  # steps below which a stage learns little
OPTIONS = {"autoencoder_training": ("the autoencoder", "--ae-epochs"),
           "training": ("the denoiser", "--epochs")}


class Plan(Config):
    """plan.json: what is fixed when a run starts. A resumed run reads it.

    The defaults are those of runs that older versions started.
    """

    autoencoder_steps: Annotated[int, Field(ge=0)]  # 0: of another run
    denoiser_steps: Length
    preview_every: Length  # steps between two sample grids
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"  # of the denoiser
    compiled: bool = False  # the denoiser's training step
    images: ImageDigests
    finished: bool = False
    model_sha256: dict[str, str] | None = None  # of a finished run: each file of its model


class Stages(NamedTuple):
    autoencoder: Stage
    denoiser: Stage


def read_plan(file: Path) -> Plan:
    """Raises InputError for a file that is not a plan."""
    with refusing(file):
        return Plan.model_validate(read_json(file))


class Timings(NamedTuple):
    """Seconds of each part of a run, measured on this machine."""

    autoencoder: float  # a step
    denoiser: StepTiming
    preview: float
    preparing: float  # all latents, or the images of a teacher


def measure(recipe: Recipe, stages: Stages, train_set: ImageSet, compile: str) -> Timings:
    """Time a few steps of both stages, and choose the fastest form of the denoiser.

    compile: of `choose_fastest`.
    """
    probe = (recipe.budget or 0) * 0.015 + PROBE
    autoencoder, denoiser = stages
    schedule, count = denoiser.loss_module.denoiser.schedule, recipe.examples(len(train_set))
    shape = autoencoder.loss_module.autoencoder.latent_shape
    ones = torch.ones(count, *shape, device=denoiser.device)
    labels = torch.zeros(count, dtype=torch.long)
    if recipe.distillation:
        pairs = as_pairs(denoiser, ones, ones, labels)
        give_pairs(denoiser, pairs)
        nfe = teacher_settings(recipe, schedule).nfe(schedule)
        preparing = seconds_to_record(denoiser, pairs, nfe)
    else:
        give_latents(denoiser, recipe, ones, labels)
        preparing = seconds_to_encode(autoencoder, train_set.images)
    step = 0.0 if recipe.autoencoder_from else autoencoder.seconds_per_step(probe)
    steps = denoiser.length(count)
    share = (1 - AUTOENCODER_SHARE) * (recipe.budget or 0)
    chosen = choose_fastest(denoiser, recipe.precision, compile, probe,
                            lambda seconds: share or steps * seconds)
    preview = seconds_per_preview(denoiser, sampling_settings(recipe, schedule), ones)
    return Timings(step, chosen, preview, preparing)


def make_plan(recipe: Recipe, stages: Stages, train_set: ImageSet, test_set: ImageSet,
              began: float, compile: str = "auto") -> tuple[Plan, float]:
    """(plan, expected seconds from now), the same in all processes.

    began: time.monotonic() at the start of the budget. compile: of `choose_fastest`.
    Raises InputError for a short budget.
    """
    timings = measure(recipe, stages, train_set, compile)
    images = len(train_set)
    steps = [stages.autoencoder.length(images), stages.denoiser.length(recipe.examples(images))]
    return from_main(lambda: plan_of(recipe, timings, steps, (train_set, test_set), began))


def plan_of(recipe: Recipe, timings: Timings, steps: list[int], sets: tuple[ImageSet, ImageSet],
            began: float) -> tuple[Plan, float]:
    """Like `make_plan`, from measured timings. steps: of both stages, without a budget."""
    ae_seconds, (precision, compiled, denoiser_seconds), preview, preparing = timings
    ae_steps, denoiser_steps = steps
    if recipe.autoencoder_from:
        ae_steps = 0
    if recipe.budget is None:
        previews = previews_within(denoiser_steps * denoiser_seconds, preview)
    else:
        left = recipe.budget - (time.monotonic() - began) - preparing
        if not recipe.autoencoder_from:
            most = int(AUTOENCODER_SHARE * left / ae_seconds)
            ae_steps = min(max(ae_steps, least_steps(recipe)["autoencoder_training"]), most)
        left -= ae_steps * ae_seconds
        previews = previews_within(left, preview)
        denoiser_steps = int((left - previews * preview) / denoiser_seconds)
        if min(ae_steps or bool(recipe.autoencoder_from), denoiser_steps) < 1:
            before = recipe.budget - left + previews * preview
            raise InputError(f"budget of {recipe.budget:g} s is too short: start, timing, encoding "
                             f"and previews take about {before:.0f} s here before the first step "
                             f"of each stage: give --budget {3 * before:.0f}s or more")
    plan = Plan(autoencoder_steps=ae_steps, denoiser_steps=denoiser_steps,
                preview_every=-(-denoiser_steps // previews), precision=precision,
                compiled=compiled, images=ImageDigests.of(*sets, recipe.diffusion.uses_labels))
    training = ae_steps * ae_seconds + denoiser_steps * denoiser_seconds
    return plan, preparing + training + previews * preview


def previews_within(seconds: float, preview: float) -> int:
    return max(1, min(PREVIEWS, int(PREVIEW_SHARE * seconds / preview)))


def describe(recipe: Recipe, plan: Plan, seconds: float) -> str:
    """Steps and expected time, with notes on what is too short."""
    form = "%H:%M" if seconds < 12 * 3600 else "%d %B, %H:%M" if seconds < 3e7 else "%Y"
    end = "the next century"
    if seconds < 3e9:
        end = time.strftime(form, time.localtime(time.time() + seconds))
    first = f"{plan.autoencoder_steps:,} steps of the autoencoder"
    if recipe.autoencoder_from:
        first = f"the autoencoder of {recipe.autoencoder_from}"
    text = (f"recipe {recipe.recipe}: {first} and {plan.denoiser_steps:,} steps of the denoiser, "
            f"about {duration(seconds)} on this machine (until about {end})")
    if recipe.precision == "auto":
        text += f"\nprecision {plan.precision}: the faster one here"
    if plan.compiled:
        text += "\nthe denoiser is compiled"
    decay = recipe.training.ema_decay
    if decay and plan.denoiser_steps < 3 / (1 - decay):
        text += (f"\nnote: the EMA averages about {1 / (1 - decay):,.0f} steps: in a short run it "
                 "is behind the raw weights; samples/ shows both")
    return text + "".join(f"\nnote: {note}" for note in short_stages(recipe, plan))


def least_steps(recipe: Recipe) -> dict[str, int]:
    """Steps below which a stage learns little; 0 for a length given in steps."""
    return {name: 0 if getattr(recipe, name).steps else least for name, least in FEWEST.items()}


def short_stages(recipe: Recipe, plan: Plan) -> list[str]:
    """Notes on stages that are too short, with a length that is enough."""
    steps = {"autoencoder_training": plan.autoencoder_steps, "training": plan.denoiser_steps}
    notes = []
    for name, least in least_steps(recipe).items():
        if not 0 < steps[name] < least:
            continue
        what, option = OPTIONS[name]
        epochs = math.ceil(least * getattr(recipe, name).epochs / steps[name])
        fix = "give a longer --budget"
        if not recipe.budget:
            fix = (f"few images make short epochs: give {option} {epochs:,} for {least:,} steps, "
                   "or --budget 20m, which chooses enough")
        notes.append(f"{steps[name]:,} steps of {what} are too few to learn much: {fix}")
    return notes
