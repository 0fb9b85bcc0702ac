"""A saved model: one folder for each component with its configuration and, for a network, its weights, named as diffusers names them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nanoldm import __version__
from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.diffusion.schedule import linear_range
from nanoldm.models import NETWORKS, ConvAE
from nanoldm.pipeline.labels import INDEX, read_class_names
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import fill, load_tensors, misfit, read_json, refusing, save_tensors, weights_digest, write_json
from nanoldm.utils.limits import LARGEST_SIZE, MOST_TIMESTEPS, MOST_TOKENS

CONFIG, WEIGHTS, SCHEDULER = "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"
FILES = (INDEX, "autoencoder/config.json", "autoencoder/" + WEIGHTS, "network/config.json", "network/" + WEIGHTS,
         "scheduler/" + SCHEDULER)
BETA_SCHEDULES = {"cosine": "squaredcos_cap_v2", "linear": "linear"}     # our name -> diffusers' name
PREDICTION_TYPES = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
MOST_CLIP = 1e6         # of a normalised latent
# Of the numbers of a configuration: which count layers, which may be 0, and what is no whole number.
LAYERS, MAY_BE_NONE, NO_COUNTS = ("depth", "levels"), ("classes", "cells"), ("dropout", "position")


def save_component(folder: Path, module: nn.Module, **belongs: str) -> None:
    """config.json (the constructor's arguments) and the weights. belongs: what the weights were trained for, said in both files."""
    save_tensors(folder / WEIGHTS, module.state_dict(), **belongs)
    write_json(folder / CONFIG, {"_class_name": type(module).__name__, **{f"_{name}": value for name, value in belongs.items()},
                                 **module.config})


def load_component(folder: Path, classes: Mapping[str, type[nn.Module]], **belongs: str) -> nn.Module:
    """A network of one of `classes` (by name) with its weights. belongs: as it was saved with; older models do not say.

    Raises InputError for files that are missing, damaged, foreign or of another model.
    """
    config = read_json(folder / CONFIG)
    facts = {name.removeprefix("_"): config.pop(name) for name in list(config) if name.startswith("_")}
    tensors, metadata = load_tensors(folder / WEIGHTS)
    for name, value in belongs.items():
        if not facts.get(name, value) == metadata.get(name, value) == value:
            raise InputError(f"{folder.parent} mixes two models ({folder.name} was trained with another {name.removesuffix('_sha256')}): "
                             "copy or export the whole folder again")
    with refusing(folder / CONFIG):
        build = classes[facts["class_name"]]
        check_size(config, tensors)
        with torch.device("meta"):
            own = build(**config).state_dict()
    with misfit(folder / WEIGHTS):
        check_shapes(own, tensors)
        module = build(**config)
        fill(module, tensors)
    return module


def belonging(autoencoder: ConvAE, schedule: NoiseSchedule, prediction: str) -> dict[str, str]:
    """What a denoising network belongs to: another autoencoder's latents, or another schedule, would make it draw noise."""
    return {"autoencoder_sha256": weights_digest(autoencoder), "schedule": f"{schedule.kind} {schedule.timesteps} {prediction}"}


def check_size(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for numbers that no network with these weights can have: a few bytes of text must not decide how much memory is
    taken."""
    elements = sum(tensor.numel() for tensor in tensors.values())
    for name, value in config.items():
        if name in NO_COUNTS:
            continue
        most = len(tensors) if name in LAYERS else MOST_TOKENS if name == "tokens" else max(elements, LARGEST_SIZE)
        if type(value) is not int or not (name not in MAY_BE_NONE) <= value <= most:
            raise ValueError(f"{name} is {str(value)[:30]}, which does not fit the weights beside it")


def check_shapes(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless `tensors` have the names and shapes of `own`: those of a copy on torch's meta device, which takes no memory,
    before the module itself is made."""
    for name in sorted(own.keys() | tensors.keys()):
        ours, given = (tuple(of[name].shape) if name in of else None for of in (own, tensors))
        if ours != given:
            raise ValueError(f"{name} is {given or 'missing'} in the weights and {ours or 'absent'} in the configuration")


def scheduler_class(schedule: NoiseSchedule, prediction: str) -> list[str]:
    """[library, class] whose scheduler_config.json we write: diffusers' where it has the combination, else our own."""
    if schedule.kind in BETA_SCHEDULES and prediction in PREDICTION_TYPES:
        return ["diffusers", "DDPMScheduler"]
    if (schedule.kind, prediction) == ("rectified", "flow"):
        return ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    return ["nanoldm", "NoiseSchedule"]


def save_scheduler(folder: Path, schedule: NoiseSchedule, prediction: str, clip_sample_range: float) -> None:
    """scheduler_config.json, in the words of diffusers where it has them."""
    config = {"_class_name": scheduler_class(schedule, prediction)[1], "num_train_timesteps": schedule.timesteps,
              "prediction_type": PREDICTION_TYPES.get(prediction, prediction), "clip_sample": True, "clip_sample_range": clip_sample_range}
    if schedule.kind in BETA_SCHEDULES:
        beta_start, beta_end = linear_range(schedule.timesteps)
        config |= {"beta_schedule": BETA_SCHEDULES[schedule.kind], "beta_start": beta_start, "beta_end": beta_end,
                   "variance_type": "fixed_large", "timestep_spacing": "trailing"}
    write_json(folder / SCHEDULER, config)


def load_scheduler(folder: Path) -> tuple[NoiseSchedule, str, float]:
    """(schedule, kind of prediction, clip_sample_range). Raises InputError if the file is missing or says something we cannot do."""
    with refusing(folder / SCHEDULER):
        config = read_json(folder / SCHEDULER)
        kinds = {theirs: ours for ours, theirs in BETA_SCHEDULES.items()}
        predictions = {theirs: ours for ours, theirs in PREDICTION_TYPES.items()} | {"flow": "flow"}
        timesteps = config["num_train_timesteps"]
        if type(timesteps) is not int or not timesteps <= MOST_TIMESTEPS or not 0 < config["clip_sample_range"] < MOST_CLIP:
            raise ValueError(f"num_train_timesteps must be a whole number up to {MOST_TIMESTEPS}, clip_sample_range 0 to {MOST_CLIP:g}")
        plain = "beta_schedule" not in config and config["_class_name"] != "DDPMScheduler"
        kind = "rectified" if plain else kinds[config["beta_schedule"]]
        schedule = NoiseSchedule(kind, config["num_train_timesteps"])
        if schedule.kind == "linear" and (config["beta_start"], config["beta_end"]) != linear_range(schedule.timesteps):
            raise ValueError(f"linear betas are {linear_range(schedule.timesteps)} for {schedule.timesteps} timesteps")
        if config["prediction_type"] not in predictions:
            raise ValueError(f"unknown prediction {config['prediction_type']!r}")
        Denoiser(nn.Identity(), schedule, predictions[config["prediction_type"]])       # refuses what cannot work together
        return schedule, predictions[config["prediction_type"]], float(config["clip_sample_range"])


def save_model(folder: Path, autoencoder: ConvAE, denoiser: Denoiser, clip_sample_range: float, class_names: Mapping[int, str]) -> None:
    """All components, and model_index.json that names them, and the classes."""
    save_component(folder / "autoencoder", autoencoder)
    save_component(folder / "network", denoiser.network, **belonging(autoencoder, denoiser.schedule, denoiser.prediction))
    save_scheduler(folder / "scheduler", denoiser.schedule, denoiser.prediction, clip_sample_range)
    write_json(folder / INDEX, {      # last: where a new folder has it, the rest is whole
        "_class_name": "LatentDiffusion", "_nanoldm_version": __version__, "autoencoder": ["nanoldm", "ConvAE"],
        "network": ["nanoldm", type(denoiser.network).__name__],
        "scheduler": scheduler_class(denoiser.schedule, denoiser.prediction),
        **({"id2label": {str(number): class_names[number] for number in sorted(class_names)}} if class_names else {})})


def load_model(folder: Path) -> tuple[ConvAE, Denoiser, float, dict[int, str]]:
    """(autoencoder, denoiser, clip_sample_range, class_names). Raises InputError for files that are missing, damaged or foreign, or of two
    models."""
    schedule, prediction, clip_sample_range = load_scheduler(folder / "scheduler")
    autoencoder, config = load_component(folder / "autoencoder", {"ConvAE": ConvAE}), read_json(folder / "network" / CONFIG)
    ours, theirs = (autoencoder.tokens, autoencoder.latent_channels), (config.get("tokens"), config.get("channels"))
    if ours != theirs:
        raise InputError(f"{folder} mixes two models (latents {ours} and {theirs}): copy or export the whole folder again")
    network = load_component(folder / "network", NETWORKS, **belonging(autoencoder, schedule, prediction))
    if not (autoencoder.latent_std > 0).all():
        raise InputError(f"{folder / 'autoencoder'} has a latent_std that is not positive: copy or export the whole folder again")
    denoiser, names = Denoiser(network, schedule, prediction), read_class_names(folder)
    if max(names, default=-1) >= denoiser.classes:
        raise InputError(f"{folder / INDEX} names class {max(names)}, and the network knows {denoiser.classes}: copy or export the whole "
                         "folder again")
    return autoencoder, denoiser, clip_sample_range, names
