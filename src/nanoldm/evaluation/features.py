"""Networks to judge images by: trained on real images only (feature_training.py), used by no training loss. MNIST's are "digits-v1".

A set of them is a folder: features.json, classifier.safetensors (where the data has labels) and rotation.safetensors, which never
saw a label: it tells by how many quarter turns an image was rotated (Gidaris et al. 2018, arXiv 1803.07728).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanoldm.data import ImageSet, load
from nanoldm.data.source import Data, absolute
from nanoldm.evaluation.metrics import FeatureNet
from nanoldm.pipeline.own_images import images_of
from nanoldm.pipeline.saving import check_shapes, check_size
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import fill, load_tensors, read_json, refusing
from nanoldm.utils.paths import user_path
from nanoldm.utils.text import shell

BUNDLED = Path(__file__).parents[1] / "bundled" / "features"
TASKS = ("classifier", "rotation")
ENOUGH = 1 / 3          # of the way from chance to no error: a network below is too often wrong to judge by


@dataclass(frozen=True)
class Features:
    """A set of networks: what features.json says, and the networks by task."""

    facts: dict[str, Any]
    networks: dict[str, FeatureNet]


def check_fit(features: Features, images: Tensor, data: str = "DATA") -> None:
    """Raise InputError unless the networks were made for images (N, C, S, S) of that size. data: what the images are called."""
    config, (channels, size), name = next(iter(features.networks.values())).config, images.shape[1:3], features.facts["name"]
    if (config["image_channels"], config["image_size"]) != (channels, size):
        raise InputError(f"{name} judges images of {shape(config['image_channels'], config['image_size'])}, these have "
                         f"{shape(channels, size)}: {retrain(data, size)}")


def check_origin(features: Features, data: Data, train: ImageSet, asked: bool) -> None:
    """Raise InputError unless the networks were trained on that data: on the same images, wherever they lie, or by the same name, if the
    images are the same still, or are `asked` for as they are now."""
    name, theirs, sha = features.facts["name"], features.facts["data"], features.facts.get("images_sha256")
    if sha is not None and sha == train.digest(labelled=True):
        return
    if theirs["name"] != data.name:
        raise InputError(f"the feature networks {name} were trained on {theirs['name']}, and this is {data.name}: "
                         f"{retrain(data.name, train.images.shape[-1])}")
    if sha is not None and theirs["holdout"] == data.holdout and not asked:
        raise InputError(f"the images of {data.name} have changed since the feature networks {name} were trained on them: "
                         f"{retrain(data.name, train.images.shape[-1])}")


def images_to_judge(features: Features, model: str | Path | None, instead: str | None) -> tuple[Data, ImageSet, ImageSet]:
    """(what they are called, training set, test set) of the real images to judge by: those of `model`, without one those of the networks,
    or those that are named `instead`. Raises InputError where they have changed, or the networks do not belong to them."""
    if model is not None:
        data, train, test = images_of(model, instead)
    else:
        data = Data.model_validate(features.facts["data"])
        if instead is not None:
            data = data.replace(name=absolute(instead), size=next(iter(features.networks.values())).config["image_size"])
        train, test = load(data.name, data.size, data.holdout)
    check_fit(features, test.images, data.name)
    check_origin(features, data, train, asked=instead is not None)
    return data, train, test


def retrain(data: str, size: int) -> str:
    return f"train networks with: nanoldm features {shell(data)} --size {size} --out FOLDER, and give --features FOLDER"


def find_weak(networks: dict[str, dict[str, Any]]) -> str | None:
    """The first network that is too often wrong to judge by, in words; None where all are good enough. networks: as features.json has
    them."""
    for task, network in networks.items():
        chance = 1 / network["classes"]
        if network["test_accuracy"] < (least := chance + ENOUGH * (1 - chance)):
            return (f"the {task} network is right on {network['test_accuracy']:.0%} of its test images only, by chance it would be "
                    f"{chance:.0%}, and below {least:.0%} its figures say little: train it longer (nanoldm features DATA --epochs N), or "
                    "judge by it all the same: evaluate, compare and doctor have --weak-features, load_features has weak=True")
    return None


def shape(channels: int, size: int) -> str:
    return f"{size}x{size}x{channels}"


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def load_features(name: str | Path | Features = "digits-v1", weak: bool = False) -> Features:
    """The bundled set of that name, or the folder; a set that is loaded already as it is. Raises InputError for a folder that is missing,
    damaged or altered, and, unless `weak` are allowed, for networks that are too often wrong to judge by."""
    if isinstance(name, Features):
        return name
    folder = user_path(name)
    if not (folder / "features.json").is_file() and (BUNDLED / name / "features.json").is_file():
        folder = BUNDLED / name
    if not (folder / "features.json").is_file():
        raise InputError(f"{name} holds no feature networks: train them with: nanoldm features DATA --out FOLDER")
    facts, networks = read_json(folder / "features.json"), {}
    with refusing(folder / "features.json"):
        Data.model_validate(facts["data"])
        if not isinstance(facts["name"], str):
            raise ValueError("name is no text")
        for task, network in facts["networks"].items():
            file = folder / f"{task}.safetensors"
            if not file.exists() or sha256(file) != network["sha256"]:
                raise InputError(f"{file} is missing or altered (its SHA-256 is not the one in features.json): copy the whole folder again")
            sizes = {key: network[key] for key in ("image_channels", "image_size", "classes", "width", "features")}
            tensors, _ = load_tensors(file)
            check_size(sizes, tensors)
            with torch.device("meta"):
                check_shapes(FeatureNet(**sizes).state_dict(), tensors)
            networks[task] = FeatureNet(**sizes)
            fill(networks[task], tensors)
            networks[task].eval().requires_grad_(False)
            if task not in TASKS or not 0 <= network["test_accuracy"] <= 1:
                raise ValueError(f"{task} is no network with a test accuracy")
        if "rotation" not in networks or len({tuple(network.config.values())[:2] for network in networks.values()}) > 1:
            raise ValueError(f"{facts['name']} must name a network `rotation`, and all must judge images of one size")
    if not weak and (found := find_weak(facts["networks"])):
        raise InputError(f"{name}: {found}")
    return Features(facts, networks)
