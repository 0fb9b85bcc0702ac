"""A saved model: a folder per component, with the file names of diffusers."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nanoldm import __version__
from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.diffusion.schedule import linear_range
from nanoldm.models import ConvAE, find_network, network_name
from nanoldm.pipeline.folders import CONFIG, INDEX, SCHEDULER, WEIGHTS
from nanoldm.pipeline.half import compact
from nanoldm.pipeline.labels import read_class_names
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import (
    fill,
    load_tensors,
    misfit,
    read_json,
    refusing,
    save_tensors,
    weights_digest,
    write_json,
    write_text,
)
from nanoldm.utils.limits import LARGEST_SIZE, MOST_TIMESTEPS, MOST_TOKENS
from nanoldm.utils.paths import AGAIN

PIPELINE = "pipeline.py"
FOR_DIFFUSERS = '''"""For DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)."""

from nanoldm.pipeline.for_diffusers import NanoLDMPipeline

__all__ = ["NanoLDMPipeline"]
'''
BETA_SCHEDULES = {"cosine": "squaredcos_cap_v2", "linear": "linear"}  # our name -> diffusers' name
PREDICTION_TYPES = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
MOST_CLIP = 1e6  # of a normalised latent
# Fields of a configuration: which count layers, which may be 0, which are not whole numbers
LAYERS, MAY_BE_ZERO, NOT_COUNTS = ("depth", "levels"), ("labels",), ("dropout", "position")


@dataclass(frozen=True)
class Saved:
    """The content of a model's folder, except its sampling settings."""

    autoencoder: ConvAE
    denoiser: Denoiser
    clip_sample_range: float
    class_names: Mapping[int, str]
    pseudo_labels: bool  # its labels are clusters
    student: bool  # of `nanoldm distill`


def save_component(folder: Path, name: str, module: nn.Module, **origin: str) -> None:
    """Write config.json (the constructor's arguments) and the weights. name: of the class.

    origin: what the weights were trained for; stored in both files.
    """
    save_tensors(folder / WEIGHTS, compact(module), **origin)
    facts = {f"_{name}": value for name, value in origin.items()}
    write_json(folder / CONFIG, {"_class_name": name, **facts, **module.config})


def load_component(folder: Path, find: Callable[[str], type[nn.Module]],
                   **origin: str) -> nn.Module:
    """A network with its weights. find: name -> class.

    origin: as it was saved. Raises InputError for missing, damaged and foreign files.
    """
    config = read_json(folder / CONFIG)
    facts = {name[1:]: config.pop(name) for name in list(config) if name.startswith("_")}
    tensors, metadata = load_tensors(folder / WEIGHTS)
    for name, value in origin.items():
        if not facts.get(name, value) == metadata.get(name, value) == value:
            what = name.removesuffix("_sha256")
            raise InputError(f"{folder.parent} mixes two models ({folder.name} was trained with "
                             f"another {what}): {AGAIN}")
    with refusing(folder / CONFIG):
        name = str(facts["class_name"])
    own = ":" in name
    with nullcontext() if own else refusing(folder / CONFIG):  # another advice for an own class
        build = find(name)
    known = {} if own else config  # the fields of a user's own class may be anything
    return build_module(lambda: build(**config), known, tensors, folder / CONFIG, folder / WEIGHTS)


def build_module(build, config: Mapping[str, Any], tensors: Mapping[str, Tensor], described: Path,
                 weights: Path):
    """The module that `build` makes, filled with `tensors`.

    Sizes are compared on torch's meta device first: a damaged configuration must not decide how
    much memory is allocated. Raises InputError that names the wrong file: `described`, which holds
    `config`, or `weights`.
    """
    with refusing(described):
        check_size(config, tensors)
        with torch.device("meta"):
            own = build().state_dict()
    with misfit(weights):
        check_shapes(own, tensors)
        module = build()
        fill(module, tensors)
    return module


def check_size(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for sizes that no network with these weights can have."""
    elements = sum(tensor.numel() for tensor in tensors.values())
    for name, value in config.items():
        if name in NOT_COUNTS:
            continue
        most = max(elements, LARGEST_SIZE)
        most = len(tensors) if name in LAYERS else MOST_TOKENS if name == "tokens" else most
        if type(value) is not int or not (name not in MAY_BE_ZERO) <= value <= most:
            raise ValueError(f"{name} is {str(value)[:30]}, which does not fit the weights")


def check_shapes(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless `tensors` have the names and shapes of `own`."""
    for name in sorted(own.keys() | tensors.keys()):
        ours, given = (tuple(of[name].shape) if name in of else None for of in (own, tensors))
        if ours != given:
            raise ValueError(f"{name} is {given or 'missing'} in the weights and "
                             f"{ours or 'missing'} in the configuration")


def network_origin(autoencoder: ConvAE, schedule: NoiseSchedule, prediction: str) -> dict[str, str]:
    """What a denoising network was trained for: its latents and its schedule."""
    return {"autoencoder_sha256": weights_digest(autoencoder),
            "schedule": f"{schedule.kind} {schedule.timesteps} {prediction}"}


def scheduler_class(schedule: NoiseSchedule, prediction: str) -> list[str]:
    """[library, class] of the scheduler configuration: diffusers' if it has one, else ours."""
    if schedule.kind in BETA_SCHEDULES and prediction in PREDICTION_TYPES:
        return ["diffusers", "DDPMScheduler"]
    if (schedule.kind, prediction) == ("rectified", "flow"):
        return ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    return ["nanoldm", "NoiseSchedule"]


def save_scheduler(folder: Path, denoiser: Denoiser, clip_sample_range: float) -> None:
    """Write scheduler_config.json with the field names of diffusers."""
    schedule, prediction = denoiser.schedule, denoiser.prediction
    config = {"_class_name": scheduler_class(schedule, prediction)[1],
              "num_train_timesteps": schedule.timesteps,
              "prediction_type": PREDICTION_TYPES.get(prediction, prediction), "clip_sample": True,
              "clip_sample_range": clip_sample_range}
    if schedule.kind in BETA_SCHEDULES:
        beta_start, beta_end = linear_range(schedule.timesteps)
        config |= {"beta_schedule": BETA_SCHEDULES[schedule.kind], "beta_start": beta_start,
                   "beta_end": beta_end, "variance_type": "fixed_large",
                   "timestep_spacing": "trailing"}
    write_json(folder / SCHEDULER, config)


def load_scheduler(folder: Path) -> tuple[NoiseSchedule, str, float]:
    """(schedule, prediction, clip_sample_range). Raises InputError for what we do not support."""
    with refusing(folder / SCHEDULER):
        config = read_json(folder / SCHEDULER)
        kinds = {theirs: ours for ours, theirs in BETA_SCHEDULES.items()}
        predictions = {theirs: ours for ours, theirs in PREDICTION_TYPES.items()} | {"flow": "flow"}
        timesteps, clip = config["num_train_timesteps"], config["clip_sample_range"]
        counted = type(timesteps) is int and timesteps <= MOST_TIMESTEPS
        if not counted or not 0 < clip < MOST_CLIP:
            raise ValueError(f"num_train_timesteps must be at most {MOST_TIMESTEPS}, "
                             f"clip_sample_range 0 to {MOST_CLIP:g}")
        flow = "beta_schedule" not in config and config["_class_name"] != "DDPMScheduler"
        kind = "rectified" if flow else kinds[config["beta_schedule"]]
        schedule, betas = NoiseSchedule(kind, timesteps), linear_range(timesteps)
        if kind == "linear" and (config["beta_start"], config["beta_end"]) != betas:
            raise ValueError(f"linear betas are {betas} for {timesteps} timesteps")
        if config["prediction_type"] not in predictions:
            raise ValueError(f"unknown prediction {config['prediction_type']!r}")
        prediction = predictions[config["prediction_type"]]
        Denoiser(nn.Identity(), schedule, prediction)  # checks that they fit
        return schedule, prediction, float(clip)


def save_model(folder: Path, model: Saved) -> None:
    """Write all components, then model_index.json: if it exists, the other files are complete."""
    denoiser = model.denoiser
    origin = network_origin(model.autoencoder, denoiser.schedule, denoiser.prediction)
    save_autoencoder(folder / "autoencoder", model.autoencoder)
    kind = network_name(denoiser.network)
    save_component(folder / "network", kind, denoiser.network, **origin)
    save_scheduler(folder / "scheduler", denoiser, model.clip_sample_range)
    names = {str(number): model.class_names[number] for number in sorted(model.class_names)}
    write_text(folder / PIPELINE, FOR_DIFFUSERS)
    index = {"_class_name": ["pipeline", "NanoLDMPipeline"], "_nanoldm_version": __version__,
             "autoencoder": ["nanoldm", "ConvAE"],
             "network": ["nanoldm", kind],
             "scheduler": scheduler_class(denoiser.schedule, denoiser.prediction),
             "pseudo_labels": model.pseudo_labels, "student": model.student}
    write_json(folder / INDEX, index | ({"id2label": names} if names else {}))


def save_autoencoder(folder: Path, autoencoder: ConvAE) -> None:
    save_component(folder, "ConvAE", autoencoder)


def load_autoencoder(folder: Path) -> ConvAE:
    """The autoencoder in its folder. Raises InputError for missing, damaged and foreign files."""
    return load_component(folder, {"ConvAE": ConvAE}.__getitem__)


def load_model(folder: Path) -> Saved:
    """The model in `folder`. Raises InputError for missing, damaged, foreign and mixed files."""
    schedule, prediction, clip_sample_range = load_scheduler(folder / "scheduler")
    autoencoder = load_autoencoder(folder / "autoencoder")
    config = read_json(folder / "network" / CONFIG)
    for name, ours in (("tokens", autoencoder.tokens), ("channels", autoencoder.latent_channels)):
        if (theirs := config.get(name, ours)) != ours:  # a network of one's own may have neither
            raise InputError(f"{folder} mixes two models ({name}: {ours} and {theirs}): {AGAIN}")
    origin = network_origin(autoencoder, schedule, prediction)
    network = load_component(folder / "network", find_network, **origin)
    if not (autoencoder.latent_std > 0).all():
        raise InputError(f"{folder / 'autoencoder'} has a latent_std that is not positive: {AGAIN}")
    denoiser, names = Denoiser(network, schedule, prediction), read_class_names(folder)
    index = read_json(folder / INDEX)
    pseudo_labels, student = bool(index.get("pseudo_labels")), bool(index.get("student"))
    if max(names, default=-1) >= (0 if pseudo_labels else denoiser.labels):
        raise InputError(f"{folder / INDEX} names class {max(names)}, the network has "
                         f"{denoiser.labels}: {AGAIN}")
    return Saved(autoencoder, denoiser, clip_sample_range, names, pseudo_labels, student)
