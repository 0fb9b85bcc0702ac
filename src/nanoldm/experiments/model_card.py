"""What is known about a model: for `nanoldm info`, and as the model card of `nanoldm export`."""

from pathlib import Path
from typing import Any

from torch import nn

from nanoldm import __version__
from nanoldm.experiments.plan import read_plan
from nanoldm.experiments.run_checks import read_recipe
from nanoldm.experiments.stages import parameter_count
from nanoldm.pipeline.folders import (
    EVALUATION,
    METRICS_FILE,
    PLAN,
    RECIPE,
    SUMMARY,
    find_model,
    read_metrics,
)
from nanoldm.pipeline.labels import listed
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.config import flat
from nanoldm.utils.files import read_json, refusing, weights_digest
from nanoldm.utils.text import aligned, code, duration, markdown, plain, python, shell


def facts(model: LatentDiffusion) -> dict[str, str]:
    """Parameters, settings, digest and history of a model from disk, as name -> text."""
    folder = find_model(model.name)
    denoiser, autoencoder, own = model.denoiser, model.autoencoder, model.settings
    channels, side, _ = model.image_shape
    sizes = [f"{parameter_count(part):,} parameters" for part in (denoiser.network, autoencoder)]
    found = {"denoiser": f"{type(denoiser.network).__name__}, {sizes[0]}",
             "autoencoder": f"ConvAE, {sizes[1]}, {side}x{side}x{channels} -> "
             f"{autoencoder.tokens} tokens x {autoencoder.latent_channels}",
             "schedule": f"{denoiser.schedule.kind}, {denoiser.schedule.timesteps} timesteps, "
             f"{denoiser.prediction}-prediction, "
             + ("x0 not clamped" if model.student
                else f"x0 clamped to +-{model.clip_sample_range:.2f}"),
             "labels": label_text(model),
             "sampling": f"{own.steps or denoiser.schedule.timesteps} steps of {own.name}, "
             f"{own.spacing} spacing" + ", no others (a student)" * model.student,
             "weights SHA-256": f"{weights_digest(denoiser.network)} (denoiser)"}
    if (folder / EVALUATION).is_file():
        with refusing(folder / EVALUATION):
            found |= evaluated(read_json(folder / EVALUATION), denoiser.network)
    records = read_metrics(folder / METRICS_FILE)
    for stage in ("autoencoder", "denoiser"):
        if part := [record for record in records if record["stage"] == stage]:
            found[f"{stage} training"] = history(part)
    return found


def evaluated(summary: dict[str, Any], network: nn.Module) -> dict[str, str]:
    """The metrics of `evaluate --save`; {} if the weights have changed since then."""
    if summary.get("network_sha256") != weights_digest(network):
        return {}
    found = {SUMMARY[name]: f"{metric['value']:.3f} ± {metric['interval']:.3f} (real images "
             f"{metric['real images']:.3f})" for name, metric in summary["metrics"].items()}
    on = f" of {summary['data']}" if "data" in summary else ""  # older files do not say
    settings = (f"{summary['steps']} steps of {summary['sampler']}, {summary['spacing']} spacing, "
                f"guidance {summary['guidance']:g}")
    return found | {"measured with": f"{summary['images']:,} images{on}, {settings}"}


def label_text(model: LatentDiffusion) -> str:
    """What the network is conditioned on besides the timestep."""
    if model.pseudo_labels:
        return f"none ({model.denoiser.labels} clusters)"
    names = f": {listed(model.class_names)}" if model.class_names else ""
    return f"{model.classes} classes{names}" if model.classes else "none"


def history(records: list[dict[str, Any]]) -> str:
    """The metrics of one stage in a line."""
    losses = [record["loss"] for record in records if isinstance(record.get("loss"), float)]
    tests = {name: value for record in records for name, value in record.items()
             if name.startswith("test") and isinstance(value, float)}
    parts = [f"{records[-1]['step']:,} steps in {duration(records[-1]['seconds'])}"]
    if losses:
        parts.append(f"loss {losses[0]:.4f} -> {losses[-1]:.4f}")
    return ", ".join(parts + [f"{name.replace('_', ' ')} {value:.4f}"
                              for name, value in tests.items()])


def describe(model: str | Path) -> str:
    """Facts and recipe of a model as aligned lines."""
    folder = find_model(model)
    rows = {"model": str(folder), **facts(LatentDiffusion.from_pretrained(folder))}
    if (folder / RECIPE).exists():
        recipe = flat(read_recipe(folder / RECIPE).model_dump())
        rows |= {name: str(value) for name, value in recipe.items()}
    return aligned(rows)


def trained_by(folder: Path) -> str:
    """How a model was trained, in two sentences; a model saved from Python has no recipe."""
    if not (folder / RECIPE).exists():
        return f"A latent diffusion model of nanoldm {__version__}, saved without a recipe."
    recipe = read_recipe(folder / RECIPE)
    training = recipe.training
    length = f"{training.steps} steps" if training.steps else f"{training.epochs} epochs"
    if recipe.budget:
        length = f"a wall-time budget of {duration(recipe.budget)}"
    annealed = "annealed to 0" if training.annealing == "cosine" else "constant"
    weights = "EMA weights" if training.ema_decay or training.ema_power else "the last weights"
    if (folder / PLAN).is_file() and not read_plan(folder / PLAN).finished:
        weights += ", taken before the run had finished"
    return (f"A latent diffusion model trained by nanoldm {__version__} with the recipe "
            f"{code(recipe.recipe)} on {code(recipe.data.name)}\n({length}, learning rate "
            f"{annealed}, {weights}).\n\n`recipe.json` holds every setting, `metrics.jsonl` every "
            "logged loss.")


def model_card(folder: Path, name: str) -> str:
    """README.md for the model in `folder`, to be called `name`."""
    model = LatentDiffusion.from_pretrained(folder)
    lines = "\n".join(f"- {fact}: {plain(value)}" for fact, value in facts(model).items())
    return f"""---
library_name: diffusers
pipeline_tag: unconditional-image-generation
tags: [nanoldm, latent-diffusion]
---

# {markdown(name)}

{trained_by(folder)}

{lines}

    nanoldm sample {shell(name)}
    model = LatentDiffusion.from_pretrained({python(name)})
    images = model.generate(64)
{"" if model.student else with_diffusers(name)}"""


def with_diffusers(name: str) -> str:
    """How diffusers uses a model."""
    return f"""
With diffusers (and nanoldm installed):

    pipe = DiffusionPipeline.from_pretrained({python(name)}, trust_remote_code=True)
    images = pipe(batch_size=16, num_inference_steps=25).images
"""
