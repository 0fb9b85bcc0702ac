"""Training of feature networks (features.py) on real images."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from nanoldm.data import ImageSet
from nanoldm.data.source import Data
from nanoldm.evaluation.features import FACTS, TASKS, Features, find_weak, load_features
from nanoldm.evaluation.metrics import ClassificationLoss, FeatureNet, extract
from nanoldm.training import fit
from nanoldm.training.batches import batch_indices, epoch_length
from nanoldm.utils.atomic import is_temporary
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import (
    digest,
    file_digest,
    load_module,
    load_tensors,
    save_tensors,
    write_json,
)
from nanoldm.utils.images import to_float
from nanoldm.utils.paths import check_folder, is_system_file
from nanoldm.utils.ranges import seed_range
from nanoldm.utils.seeding import Stream, generator, seeded
from nanoldm.utils.text import shell

BATCH_SIZE, LEARNING_RATE, WARM_UP = 256, 4e-3, 0.1
EPOCHS, LEAST_STEPS = 10, 500  # default: epochs of a small set are short
MOST_EPOCHS = 10_000


def augment(images: Tensor, stream: torch.Generator) -> Tensor:
    """Rotate by up to 10 degrees, scale by up to 10 %, shift by up to 7 % of the side.

    (B, C, S, S) in [0, 1]; each image differently.
    """
    uniform = torch.rand(5, len(images), generator=stream) * 2 - 1
    angle, width, height, right, down = uniform.to(images.device)
    angle = angle * torch.pi / 18
    rows = [  # affine_grid's coordinates run from -1 to 1
        [angle.cos() * (1 + 0.1 * width), -angle.sin(), 0.14 * right],
        [angle.sin(), angle.cos() * (1 + 0.1 * height), 0.14 * down],
    ]
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1)     # (B, 2, 3)
    grid = F.affine_grid(theta, images.shape, align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def rotate(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate image k by turns[k] quarters of a circle."""
    rotated = torch.stack([images.rot90(k, (2, 3)) for k in range(4)])
    return rotated[turns, torch.arange(len(images), device=images.device)]


def training_batches(data: ImageSet, task: str, seed: int,
                     device: torch.device | str) -> Iterator[dict[str, Tensor]]:
    for step, index in batch_indices(len(data), BATCH_SIZE, seed):
        stream = generator(seed, Stream.AUGMENTATION, step)
        image, label = to_float(data.images[index]).to(device), data.labels[index].to(device)
        if task == "rotation":
            label = torch.randint(4, (len(image),), generator=stream).to(device)
            image = rotate(image, label)
        yield {"image": augment(image, stream), "label": label}


def new_network(data: ImageSet, classes: int, width: int = 32, seed: int = 0) -> FeatureNet:
    """An untrained network for the images of `data`."""
    with seeded(seed, Stream.FEATURE_WEIGHTS):
        return FeatureNet(*data.images.shape[1:3], classes=classes, width=width)


def train_network(network: FeatureNet, data: ImageSet, task: str = "classifier", *, epochs: float,
                  seed: int = 0, caption: str | None = None) -> None:
    """Train `network` on `data`, on the device of the network.

    AdamW with warm-up, annealed to 0. caption: of the progress bar (default: the task).
    """
    steps = max(1, round(epochs * epoch_length(len(data), BATCH_SIZE)))
    loss = ClassificationLoss(network)
    optimizer = torch.optim.AdamW(loss.parameters(), lr=LEARNING_RATE, weight_decay=0.05,
                                  fused=True)

    def learning_rate(k: int) -> float:
        done = k / steps
        return LEARNING_RATE * min(done / WARM_UP + 1e-2, (1 - done) / (1 - WARM_UP))

    batches = training_batches(data, task, seed, network.classify.weight.device)
    run = fit(loss, batches, [optimizer], steps=steps, learning_rate=learning_rate, seed=seed)
    for _ in tqdm(run, desc=caption or f"{task} network", total=steps, unit="step", delay=1):
        pass


def accuracy(network: FeatureNet, data: ImageSet, task: str = "classifier") -> float:
    """Accuracy on the labelled images of `data`; for rotations, on all turns of all images."""
    if task == "classifier":
        data = data.select(data.labels >= 0)
        right = [extract(network, data.images)[1].argmax(1) == data.labels]
    else:
        turned = (data.images.rot90(k, (2, 3)) for k in range(4))
        right = [extract(network, images)[1].argmax(1) == k for k, images in enumerate(turned)]
    return torch.cat(right).double().mean().item()


def train_features(data: Data, out: Path, *, epochs: float | None = None, seed: int = 0,
                   device: torch.device | str = "cpu") -> Features:
    """Train and test all networks that the data set allows, and write them to the folder `out`.

    epochs: default: 10, or for few images as many as make 500 steps.
    Reuses networks of an interrupted call. Raises InputError if `out` contains anything else.
    """
    check_request(out, epochs, seed)
    train, test = data.load()
    for note in train.notes:
        print(f"images: {note}")
    tasks = possible_tasks(data.name, train, test)
    epochs = epochs or max(EPOCHS, math.ceil(LEAST_STEPS / epoch_length(len(train), BATCH_SIZE)))
    arguments = {"epochs": str(epochs), "seed": str(seed)}
    made_by = digest({"images": train.images, "labels": train.labels}, **arguments)
    if not (out / FACTS).exists():
        networks = {}
        for task in tasks:
            file = out / f"{task}.safetensors"
            classes = 4 if task == "rotation" else int(train.labels.max()) + 1
            network = new_network(train, classes, seed=seed).to(device)
            if not finished(network, file, task, made_by):
                train_network(network, train, task, epochs=epochs, seed=seed)
                save_tensors(file, network.state_dict(), made_by=made_by)
            networks[task] = tested(network, file, task, test)
        facts = {"name": out.name, "data": data.model_dump()}
        facts |= {"images_sha256": train.digest(labelled=True), "epochs": epochs, "seed": seed}
        write_json(out / FACTS, facts | {"networks": networks})
        if weak := find_weak(networks):
            print(f"note: {weak}")
    elif any(maker(file) != made_by for file in out.glob("*.safetensors")):
        raise InputError(f"out {out} exists: give the name of a new folder")
    print(f"{out} is complete. Use it: nanoldm evaluate MODEL --features {shell(out)}")
    return load_features(out, weak=True)


def maker(file: Path) -> str | None:
    """The digest of the images, epochs and seed that a network was trained with."""
    return load_tensors(file)[1].get("made_by")


def check_request(out: Path, epochs: float | None, seed: int) -> None:
    """Raise InputError if `out` is not a new or interrupted folder, and for values out of range."""
    if out.exists() and not (out.is_dir() and all(map(is_ours, out.iterdir()))):
        raise InputError(f"out {out} exists: give the name of a new folder")
    check_folder(out)
    if epochs is not None and not 0 < epochs <= MOST_EPOCHS:
        raise InputError(f"epochs {epochs:g}: choose more than 0 and at most {MOST_EPOCHS:,}")
    seed_range(1, seed)


def is_ours(file: Path) -> bool:
    """Whether an interrupted training, or the operating system, may have written this file."""
    ours = [FACTS, *(f"{task}.safetensors" for task in TASKS)]
    return file.name in ours or is_temporary(file.name) or is_system_file(file.name)


def possible_tasks(name: str, train: ImageSet, test: ImageSet) -> tuple[str, ...]:
    """TASKS, without "classifier" if labels are missing. Raises InputError for a single image."""
    if len(train) < 2:
        raise InputError(f"{name} has {len(train)} training image: networks need at least 2")
    labels = train.labels
    if (labels >= 0).all() and labels.max() > 0 and (test.labels >= 0).any():
        return TASKS
    print("note: no classifier is trained: it needs two classes, a class for each training image, "
          "and for some test images")
    return TASKS[1:]


def tested(network: FeatureNet, file: Path, task: str, test: ImageSet) -> dict[str, Any]:
    """The description of a trained network in features.json."""
    score = round(accuracy(network, test, task), 4)
    print(f"{task}: {score:.2%} right on {len(test):,} test images")
    return {"sha256": file_digest(file), "test_accuracy": score, **network.config}


def finished(network: FeatureNet, file: Path, task: str, made_by: str) -> bool:
    """Fill `network` from an earlier call, if it finished this network.

    Raises InputError for a file of other images, epochs or seed.
    """
    if not file.exists():
        return False
    if maker(file) != made_by:
        raise InputError(f"{file} was trained on other images, or with other epochs or seed: give "
                         "the name of a new folder as out")
    load_module(network, file)
    print(f"{task}: finished before, read from {file}")
    return True
