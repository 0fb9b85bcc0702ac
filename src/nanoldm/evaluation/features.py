"""Feature networks: trained on real images only (feature_training.py), never part of a loss.

A set is a folder with features.json, classifier.safetensors (if the data has labels) and
rotation.safetensors: a network that predicts by how many quarter turns an image was rotated, and
is trained without labels (Gidaris et al. 2018, arXiv 1803.07728). "digits-v1" is the set of MNIST.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from nanoldm.data.source import Data
from nanoldm.evaluation.metrics import FeatureNet
from nanoldm.pipeline.saving import build_module
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import file_digest, load_tensors, read_json, refusing
from nanoldm.utils.paths import user_path
from nanoldm.utils.text import shell

BUNDLED = Path(__file__).parents[1] / "bundled" / "features"
FACTS = "features.json"
TASKS = ("classifier", "rotation")
SIZES = ("image_channels", "image_size", "classes", "width", "features")
ENOUGH = 1 / 3  # of the way from chance to no error: below it a network is weak


@dataclass(frozen=True)
class Features:
    """A set of feature networks: the content of features.json, and the networks by task."""

    facts: dict[str, Any]
    networks: dict[str, FeatureNet]


def load_features(name: str | Path = "digits-v1", weak: bool = False) -> Features:
    """The bundled set of that name, or the set in a folder.

    Raises InputError if files are missing, damaged or altered, and for networks that are often
    wrong unless `weak`.
    """
    folder = find_features(name)
    facts = read_json(folder / FACTS)
    with refusing(folder / FACTS):
        Data.model_validate(facts["data"])
        if not isinstance(facts["name"], str):
            raise ValueError("name is not a text")
        networks = {task: load_network(folder, task, network)
                    for task, network in facts["networks"].items()}
        sizes = {tuple(network.config.values())[:2] for network in networks.values()}
        if "rotation" not in networks or len(sizes) > 1:
            raise ValueError("a network `rotation` is needed, and one image size for all networks")
    if not weak and (reason := find_weak(facts["networks"])):
        raise InputError(f"features {name}: {reason}")
    return Features(facts, networks)


def find_features(name: str | Path) -> Path:
    for folder in (user_path(name), BUNDLED / name):
        if (folder / FACTS).is_file():
            return folder
    raise InputError(f"features {name}: no feature networks there: train them with nanoldm "
                     "features DATA --out FOLDER")


def load_network(folder: Path, task: str, facts: dict[str, Any]) -> FeatureNet:
    if task not in TASKS or not 0 <= facts["test_accuracy"] <= 1:
        raise ValueError(f"{task} is not a network with a test accuracy")
    file = folder / f"{task}.safetensors"
    if not file.exists() or file_digest(file) != facts["sha256"]:
        raise InputError(f"{file} is missing or altered (its SHA-256 differs from {FACTS}): copy "
                         "the whole folder again")
    sizes = {name: facts[name] for name in SIZES}
    tensors, _ = load_tensors(file)
    network = build_module(lambda: FeatureNet(**sizes), sizes, tensors, folder / FACTS, file)
    return network.eval().requires_grad_(False)


def find_weak(networks: dict[str, dict[str, Any]]) -> str | None:
    """A message about the first network that is wrong too often; None if there is none.

    networks: as in features.json.
    """
    for task, network in networks.items():
        chance = 1 / network["classes"]
        least = chance + ENOUGH * (1 - chance)
        if network["test_accuracy"] < least:
            return (f"the {task} network is right on {network['test_accuracy']:.0%} of its test "
                    f"images (chance: {chance:.0%}), and below {least:.0%} its metrics mean "
                    "little: train it for more epochs, or accept it with weak_features")
    return None


def check_fit(features: Features, images: Tensor, data: str = "DATA") -> None:
    """Raise InputError unless the networks take images (N, C, S, S) of this size.

    data: the name of the images.
    """
    config = next(iter(features.networks.values())).config
    (channels, size), wanted = images.shape[1:3], (config["image_channels"], config["image_size"])
    if wanted != (channels, size):
        raise InputError(f"{features.facts['name']} judges images of {shape(*wanted)}, these have "
                         f"{shape(channels, size)}: {retrain(data, size)}")


def shape(channels: int, size: int) -> str:
    return f"{size}x{size}x{channels}"


def retrain(data: str, size: int) -> str:
    command = f"nanoldm features {shell(data)} --size {size} --out FOLDER"
    return f"train networks with: {command}, and give FOLDER as features"
