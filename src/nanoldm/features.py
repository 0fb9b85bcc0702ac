"""Networks to judge images by: trained here on real images only, shipped for MNIST as "digits-v1", used by no training loss.

A set of them is a folder: features.json, classifier.safetensors (where the data has labels) and rotation.safetensors, which never
saw a label: it tells by how many quarter turns an image was rotated (Gidaris et al. 2018, arXiv 1803.07728).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from nanoldm.atomic import is_temporary
from nanoldm.data import ImageSet, load, to_float
from nanoldm.errors import InputError
from nanoldm.files import digest, fill, load_module, load_tensors, read_json, refusing, save_tensors, write_json
from nanoldm.limits import LARGEST_SEED, short, within
from nanoldm.metrics import ClassificationLoss, FeatureNet, extract
from nanoldm.paths import check_folder, is_system_file, user_path
from nanoldm.recipe import Data
from nanoldm.saving import check_shapes, check_size
from nanoldm.seeding import generator, seeded
from nanoldm.text import shell
from nanoldm.training import fit
from nanoldm.training.batches import epoch_length, indices

BUNDLED = Path(__file__).parent / "bundled" / "features"
TASKS = ("classifier", "rotation")
BATCH_SIZE, LEARNING_RATE, WARM_UP = 256, 4e-3, 0.1
MOST_EPOCHS = 10_000
INITIAL, AUGMENTATION = 0, 2        # random streams. 0 is also the order of the first epoch: harmless, and digits-v1 was made so


@dataclass(frozen=True)
class Features:
    """A set of networks: what features.json says, and the networks by task."""

    facts: dict[str, Any]
    networks: dict[str, FeatureNet]


def augment(images: Tensor, stream: torch.Generator) -> Tensor:
    """Turn by up to 10 degrees, scale by up to 10 %, shift by up to 7 % of the side: each image differently. (B, C, S, S) in [0, 1]."""
    angle, width, height, right, down = (torch.rand(5, len(images), generator=stream) * 2 - 1).to(images.device)
    angle = angle * torch.pi / 18
    rows = [[angle.cos() * (1 + 0.1 * width), -angle.sin(), 0.14 * right],      # affine_grid's coordinates run from -1 to 1
            [angle.sin(), angle.cos() * (1 + 0.1 * height), 0.14 * down]]
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1)                                               # (B, 2, 3)
    return F.grid_sample(images, F.affine_grid(theta, images.shape, align_corners=False), padding_mode="border", align_corners=False)


def rotate(images: Tensor, turns: Tensor) -> Tensor:
    """Turn image k by turns[k] quarters of a circle."""
    return torch.stack([images.rot90(k, (2, 3)) for k in range(4)])[turns, torch.arange(len(images), device=images.device)]


def training_batches(data: ImageSet, task: str, seed: int, device: torch.device | str) -> Iterator[dict[str, Tensor]]:
    for step, index in indices(len(data), BATCH_SIZE, seed, 0):
        stream = generator(seed, AUGMENTATION, step)
        image, label = to_float(data.images[index]).to(device), data.labels[index].to(device)
        if task == "rotation":
            label = torch.randint(4, (len(image),), generator=stream).to(device)
            image = rotate(image, label)
        yield {"image": augment(image, stream), "label": label}


def new_network(data: ImageSet, task: str, classes: int | None = None, width: int = 32) -> FeatureNet:
    """For images and, unless `classes` says how many there are, labels as in `data`."""
    return FeatureNet(*data.images.shape[1:3], classes=4 if task == "rotation" else classes or int(data.labels.max()) + 1, width=width)


def train_network(data: ImageSet, task: str = "classifier", *, epochs: float = 10, width: int = 32, seed: int = 0,
                  classes: int | None = None, name: str | None = None, device: torch.device | str = "cpu") -> FeatureNet:
    """Train a FeatureNet on `data` alone: AdamW, warm-up, annealed to 0; the last weights are taken, none are selected.

    classes: 0 ... classes - 1 (default: as many as `data` has labels). name: caption of the progress bar (default: the task).
    """
    steps = max(1, round(epochs * epoch_length(len(data), BATCH_SIZE)))
    with seeded(seed, INITIAL):
        network = new_network(data, task, classes, width).to(device)
    loss = ClassificationLoss(network)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=LEARNING_RATE, weight_decay=0.05, fused=True)

    def learning_rate(k: int) -> float:
        done = k / steps
        return LEARNING_RATE * min(done / WARM_UP + 1e-2, (1 - done) / (1 - WARM_UP))

    run = fit(loss, training_batches(data, task, seed, device), optimizer, steps=steps, learning_rate=learning_rate, seed=seed)
    for _ in tqdm(run, desc=name or f"{task} network", total=steps, unit="step", delay=1):
        pass
    return network.eval()


def accuracy(network: FeatureNet, data: ImageSet, task: str = "classifier") -> float:
    """Share of right answers on `data`; for rotations, over all four turns of every image."""
    turns = range(4) if task == "rotation" else [0]
    right = [extract(network, data.images.rot90(k, (2, 3)))[1].argmax(1) == (k if task == "rotation" else data.labels) for k in turns]
    return torch.cat(right).double().mean().item()


def train_features(data: Data, out: Path, *, epochs: float = 10, seed: int = 0, device: torch.device | str = "cpu") -> Features:
    """Train all networks that the data set allows on its training images, test them on its test images, write the folder `out`.

    Where an earlier call was stopped, the networks that it had finished are taken as they are; where it had finished all, nothing is done.
    Raises InputError if `out` holds anything else or cannot be written to, and for epochs and seeds out of range.
    """
    if out.exists() and not (out.is_dir() and all(map(left_by_a_stop, out.iterdir()))):
        raise InputError(f"{out} exists: give the name of a new folder")
    check_folder(out)
    if not 0 < epochs <= MOST_EPOCHS or seed < 0:
        raise InputError(f"--epochs {epochs:g} --seed {short(seed)}: epochs must be more than 0 and at most {MOST_EPOCHS:,}, seeds "
                         "count from 0")
    within("--seed", seed, 0, LARGEST_SEED)
    train, test = load(data.name, data.size, data.holdout)
    facts = {"name": out.name, "data": data.model_dump(), "epochs": epochs, "seed": seed, "networks": {}}
    tasks = TASKS if (train.labels >= 0).all() and train.labels.max() > 0 else TASKS[1:]
    made_by = digest({"images": train.images, "labels": train.labels}, epochs=str(epochs), seed=str(seed))
    if (out / "features.json").exists():
        if any(load_tensors(file)[1].get("made_by") != made_by for file in out.glob("*.safetensors")):
            raise InputError(f"{out} exists: give the name of a new folder")
        print(f"{out} is finished: nothing to do. Judge with it by: nanoldm evaluate MODEL --features {shell(out)}")
        return load_features(out)
    for task in tasks:
        file = out / f"{task}.safetensors"
        network = finished_network(file, train, task, made_by)
        if network is None:
            network = train_network(train, task, epochs=epochs, seed=seed, device=device)
            save_tensors(file, network.state_dict(), made_by=made_by)
        facts["networks"][task] = {"sha256": sha256(file), "test_accuracy": round(accuracy(network, test, task), 4), **network.config}
        print(f"{task}: {facts['networks'][task]['test_accuracy']:.2%} right on {len(test):,} test images")
    write_json(out / "features.json", facts)
    print(f"wrote {out}: judge with it by: nanoldm evaluate MODEL --features {shell(out)}")
    return load_features(out)


def left_by_a_stop(file: Path) -> bool:
    """Whether a training of feature networks, or the system, may have left this."""
    ours = ["features.json", *(f"{task}.safetensors" for task in TASKS)]
    return file.name in ours or is_temporary(file.name) or is_system_file(file.name)


def finished_network(file: Path, data: ImageSet, task: str, made_by: str) -> FeatureNet | None:
    """The network that an earlier call finished; None where there is none. Raises InputError for one of other data, epochs or seed."""
    if not file.exists():
        return None
    if load_tensors(file)[1].get("made_by") != made_by:
        raise InputError(f"{file} was trained on other images, or with other epochs or seed: give the name of a new folder")
    network = new_network(data, task)
    load_module(network, file)
    print(f"{task}: finished before, taken from {file}")
    return network.eval()


def check_fit(features: Features, images: Tensor, data: str | None = None) -> None:
    """Raise InputError unless the networks were made for images (N, C, S, S) of that size and, where it is known, for that data set."""
    config, (channels, size), name = next(iter(features.networks.values())).config, images.shape[1:3], features.facts["name"]
    mend = f"nanoldm features {data or 'DATA'} --size {size} --out FOLDER, and give --features FOLDER"
    if (config["image_channels"], config["image_size"]) != (channels, size):
        raise InputError(f"{name} judges images of {shape(config['image_channels'], config['image_size'])}, these have "
                         f"{shape(channels, size)}: train networks with: {mend}")
    if data not in (None, features.facts["data"]["name"]):
        raise InputError(f"{name} was trained on {features.facts['data']['name']}, and this is {data}: train networks with: {mend}")


def shape(channels: int, size: int) -> str:
    return f"{size}x{size}x{channels}"


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def load_features(name: str | Path = "digits-v1") -> Features:
    """The bundled set of that name, or the folder. Raises InputError for a folder that is missing, damaged or altered."""
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
    return Features(facts, networks)
