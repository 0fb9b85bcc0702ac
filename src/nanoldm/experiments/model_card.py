"""What is known about a trained model: printed by `nanoldm info`, written as the model card by `nanoldm export`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanoldm import __version__
from nanoldm.experiments.plan import plan_of
from nanoldm.pipeline.fast import FILE, usually_fast
from nanoldm.pipeline.folders import find_model, read_metrics, read_recipe
from nanoldm.pipeline.labels import listed
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.saving import FILES
from nanoldm.utils.atomic import replacing_folder
from nanoldm.utils.config import flat
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import digest, write_bytes, write_json, write_text
from nanoldm.utils.paths import check_folder, check_regular
from nanoldm.utils.text import code, duration, markdown, plain, python, shell

BESIDE = ("recipe.json", "metrics.jsonl", FILE)         # what a model's folder may hold, too


def facts(model: str | Path) -> dict[str, str]:
    """Parameters, digest and history of a model, as name -> text."""
    folder = find_model(model)
    pipeline = LatentDiffusion.from_pretrained(folder)
    denoiser, autoencoder = pipeline.denoiser, pipeline.autoencoder
    found = {
        "denoiser": f"{type(denoiser.network).__name__}, {count(denoiser.network):,} parameters",
        "autoencoder": f"ConvAE, {count(autoencoder):,} parameters, {autoencoder.config['image_size']}x{autoencoder.config['image_size']}"
                       f"x{autoencoder.config['image_channels']} -> {autoencoder.tokens} tokens x {autoencoder.latent_channels}",
        "schedule": f"{denoiser.schedule.kind}, {denoiser.schedule.timesteps} timesteps, {denoiser.prediction}-prediction, "
                    f"x0 clamped to +-{pipeline.clip_sample_range:.2f}",
        "labels": labels(denoiser, pipeline.class_names),
        "--fast": "{steps} steps of {sampler} on the {grid} grid".format(**pipeline.fast),
        "weights SHA-256": f"{digest(denoiser.network.state_dict())} (denoiser)",
    }
    records = read_metrics(folder / "metrics.jsonl")
    for stage in ("autoencoder", "denoiser"):
        if own := [record for record in records if record["stage"] == stage]:
            found[f"{stage} training"] = history(own)
    return found


def labels(denoiser: Any, names: Mapping[int, str] | None = None) -> str:
    """What a Denoiser is told beside the noise level, in words. names: of its classes, where they have any."""
    if denoiser.classes:
        return f"{denoiser.classes} classes" + (f": {listed(names)}" if names else "")
    return f"none ({denoiser.cells} cells)" if denoiser.cells else "none"


def count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def history(records: list[dict[str, Any]]) -> str:
    """One stage's metrics in a line."""
    losses = [record["loss"] for record in records if isinstance(record.get("loss"), float)]
    latest = {name: value for record in records for name, value in record.items() if name.startswith("test") and isinstance(value, float)}
    return ", ".join([f"{records[-1]['step']:,} steps in {duration(records[-1]['seconds'])}",
                      *([f"loss {losses[0]:.4f} -> {losses[-1]:.4f}"] if losses else []),
                      *(f"{name.replace('_', ' ')} {value:.4f}" for name, value in latest.items())])


def describe(model: str | Path) -> str:
    """Facts and recipe of a model as aligned lines."""
    folder = find_model(model)
    rows = {"model": str(folder), **facts(folder)}
    if (folder / "recipe.json").exists():
        rows |= {name: str(value) for name, value in flat(read_recipe(folder / "recipe.json").model_dump())}
    width = max(map(len, rows))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def export(run: str | Path, folder: Path) -> bool:
    """Copy the model of a run (or of an exported folder) to the new folder `folder`, with a model card -> whether there was anything to
    do: not where it is there already. Raises InputError for a folder that holds anything else."""
    source = find_model(run)
    names = [*FILES, *(name for name in BESIDE if (source / name).is_file())]
    if source.resolve() != folder.resolve() and all(same(folder / name, source / name) for name in names):
        return False
    if folder.exists():
        raise InputError(f"{folder} exists: give the name of a new folder")
    if source.resolve() in folder.resolve().parents:
        raise InputError(f"{folder} lies in the model's own folder: give the name of a folder elsewhere")
    check_folder(folder)
    LatentDiffusion.from_pretrained(source)     # refused before anything is written
    with replacing_folder(folder) as temporary:
        # These and no others: a run that is still being written has more, and a stranger's folder may hold anything.
        for name in names:
            check_regular(source / name)
            write_bytes(temporary / name, (source / name).read_bytes())
        if plan := plan_of(source):         # of older runs it lies beside the model
            write_json(temporary / "plan.json", plan.model_dump())
        write_text(temporary / "README.md", model_card(temporary, folder.name))
    return True


def same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()


def origin(folder: Path) -> str:
    """What made a model, in two sentences; a model saved from Python has no recipe."""
    if not (folder / "recipe.json").exists():
        return f"A latent diffusion model of nanoldm {__version__}, saved without the recipe that it was trained by."
    recipe = read_recipe(folder / "recipe.json")
    training = recipe.training
    length = f"{training.epochs} epochs" if training.epochs else f"{training.steps} steps"
    if recipe.budget:
        length = f"a wall-time budget of {duration(recipe.budget)}"
    annealed = "annealed to 0" if training.annealing == "cosine" else "constant"
    weights = "EMA weights" if training.ema_decay or training.ema_power else "the last weights"
    if plan := plan_of(folder):
        weights += "" if plan.finished else ", taken before the run had finished"
    return (f"A latent diffusion model trained by nanoldm {__version__} with the recipe {code(recipe.recipe)} on {code(recipe.data.name)}\n"
            f"({length}, learning rate {annealed}, {weights}).\n\n"
            "`recipe.json` holds every setting, `metrics.jsonl` every logged loss.")


def model_card(folder: Path, name: str) -> str:
    """README.md for the model in `folder`, to be called `name`."""
    lines = "\n".join(f"- {name}: {plain(value)}" for name, value in facts(folder).items())
    return f"""# {markdown(name)}

{origin(folder)}

{lines}

    nanoldm sample {shell(name)}
    model = LatentDiffusion.from_pretrained({python(name)})
    images = model.generate(seeds=range(64){", **model.fast" if usually_fast(folder) else ""})
"""
