"""What a run would do, take and write: `nanoldm train --dry-run`. Writes nothing."""

import math
import time
from pathlib import Path

import torch

from nanoldm.cli.listing import aligned, table
from nanoldm.data import load
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.model_card import count, labels
from nanoldm.experiments.plan import Plan, any_labels, check_room, describe, make_plan, memory, read_plan
from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.resume import check_run, check_same_images, find_damage
from nanoldm.experiments.stages import Stage, autoencoder_stage, denoiser_stage
from nanoldm.experiments.train import LOG_EVERY
from nanoldm.pipeline.folders import RunFolder
from nanoldm.utils.device import check_compiler
from nanoldm.utils.limits import gigabytes

FLOAT, NAME = 4, 105            # bytes of a number, and of a tensor's entry in a safetensors header
LINE, GATES, TESTS = 150, 18, 640       # bytes of a line of metrics.jsonl, of a block's gates in it, of a line with test losses; about
PICTURE, PIXEL = 6_500, 0.7     # bytes of a sheet of 32 images: its captions, and each number of its images, about


def forecast(recipe: Recipe, out: str | Path, device: torch.device | str = "cpu", began: float | None = None,
             compiled: bool = False) -> dict[str, int]:
    """Print the resolved recipe, what differs from the recipe's own values, parameters, steps, time and disk -> disk, as bytes by kind.

    Downloads the data if it is one of torchvision's sets and not there yet, since the time of a step is measured on it.
    began, compiled and the errors: as in `nanoldm.experiments.train.train`, of which this is the rehearsal.
    """
    began = time.monotonic() if began is None else began
    if compiled:
        check_compiler(device)
    run = RunFolder(out)
    check_run(run, recipe)
    train_set, test_set = load(recipe.data.name, recipe.data.size, recipe.data.holdout)
    check_room(recipe, train_set, device)
    images, (channels, size) = train_set.images, train_set.images.shape[1:3]
    first = autoencoder_stage(recipe, images, device)
    autoencoder = first.loss_module.autoencoder
    second = denoiser_stage(recipe, torch.zeros(1, autoencoder.tokens, autoencoder.latent_channels, device=device),
                            labels=any_labels(recipe, train_set.labels))

    origin = recipe.recipe if recipe.recipe in RECIPES else "mnist"
    facts = {"images": f"{len(images):,} of {size}x{size}x{channels} pixels",
             "autoencoder": f"{count(autoencoder):,} parameters, {autoencoder.tokens} tokens x {autoencoder.latent_channels}",
             "denoiser": f"{count(second.loss_module):,} parameters",
             "labels": labels(second.loss_module.denoiser, train_set.names()),
             "memory": f"about {gigabytes(memory(recipe, train_set) + images.nbytes)}"}
    notes = [f"images: {note}" for note in train_set.notes]
    print("\n".join([table(recipe, RECIPES[origin](), origin), "", aligned(facts), *notes, ""]), flush=True)
    if run.plan.exists():       # decided when the run began
        plan = read_plan(run.plan)
        check_same_images(run, recipe, plan, (train_set, test_set))
        print(f"{plan.autoencoder_steps:,} steps of the autoencoder and {plan.denoiser_steps:,} of the denoiser, by {run.plan}")
    else:
        print("timing a few steps ...", flush=True)
        plan, seconds = make_plan(recipe, train_set, test_set, device, began, compiled)
        print(describe(recipe, plan, seconds))
    sizes = disk(plan, first, second, size * size * channels)
    print(f"{readable(sum(sizes.values()))} of disk space: {', '.join(f'{kind} {readable(part)}' for kind, part in sizes.items())}")
    there = "continue it" if not plan.finished else "make its model again, which is missing or damaged" if find_damage(run, plan) else \
        "do nothing: it is finished"
    print(f"dry run: {run.path} holds this run already, and the command would {there}" if run.recipe.exists() else
          f"dry run: nothing was written. The run would be in {run.path}")
    return sizes


def disk(plan: Plan, first: Stage, second: Stage, numbers: int) -> dict[str, int]:
    """Bytes that a finished run takes, by kind. numbers: in an image, side x side x channels."""
    network = second.loss_module.denoiser.network
    gates = GATES * len(network.blocks) if hasattr(network, "gates") else 0
    log = lines(plan.autoencoder_steps) * LINE + lines(plan.denoiser_steps) * (LINE + gates) + shows(plan) * TESTS
    return {"checkpoints": sum(checkpoint(stage) for stage in (first, second)),
            "model": weights(first) + weights(second) + log,
            "samples": round((1 + shows(plan)) * (PICTURE + PIXEL * 32 * numbers)),
            "log": log}


def lines(steps: int) -> int:
    """Of a stage's log, without those of test losses: after the first step, then every LOG_EVERY."""
    return 1 + math.ceil(steps / LOG_EVERY)


def shows(plan: Plan) -> int:
    return math.ceil(plan.denoiser_steps / plan.show_every)


def weights(stage: Stage) -> int:
    return sum(FLOAT * parameter.numel() + NAME for parameter in stage.loss_module.parameters())


def checkpoint(stage: Stage) -> int:
    """Each weight itself, its average, and two moments of Adam or one of Muon."""
    moments = sum((1 if group.get("muon") else 2) * p.numel() for group in stage.optimizer.param_groups for p in group["params"])
    return weights(stage) * (2 if stage.ema else 1) + FLOAT * moments


def readable(size: float) -> str:
    """5_400_000 -> "5.4 MB"."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 9.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
