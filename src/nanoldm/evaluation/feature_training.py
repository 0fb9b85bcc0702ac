"""Training of the networks to judge images by (features.py): on real images alone."""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from nanoldm.data import ImageSet, load
from nanoldm.data.source import Data
from nanoldm.evaluation.features import TASKS, Features, find_weak, load_features, sha256
from nanoldm.evaluation.metrics import ClassificationLoss, FeatureNet, extract
from nanoldm.training import fit
from nanoldm.training.batches import batch_indices, epoch_length
from nanoldm.utils.atomic import is_temporary
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import digest, load_module, load_tensors, save_tensors, write_json
from nanoldm.utils.images import to_float
from nanoldm.utils.limits import LARGEST_SEED, short, within
from nanoldm.utils.paths import check_folder, is_system_file
from nanoldm.utils.seeding import generator, seeded
from nanoldm.utils.text import shell

BATCH_SIZE, LEARNING_RATE, WARM_UP = 256, 4e-3, 0.1
EPOCHS, LEAST_STEPS = 10, 500       # by default: of few images, epochs are short
MOST_EPOCHS = 10_000
INITIAL, AUGMENTATION = 0, 2        # random streams. 0 is also the order of the first epoch: harmless, and digits-v1 was made so


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
    for step, index in batch_indices(len(data), BATCH_SIZE, seed, 0):
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
    """Share of right answers on the images of `data` that have a label; for rotations, over all four turns of every image."""
    data = data.select(data.labels >= 0) if task == "classifier" else data
    turns = range(4) if task == "rotation" else [0]
    right = [extract(network, data.images.rot90(k, (2, 3)))[1].argmax(1) == (k if task == "rotation" else data.labels) for k in turns]
    return torch.cat(right).double().mean().item()


def train_features(data: Data, out: Path, *, epochs: float | None = None, seed: int = 0,
                   device: torch.device | str = "cpu") -> Features:
    """Train all networks that the data set allows on its training images, test them on its test images, write the folder `out`.

    epochs: passes over the training images (default: 10, of few images as many as make 500 steps).
    Where an earlier call was stopped, the networks that it had finished are taken as they are; where it had finished all, nothing is done.
    Raises InputError if `out` holds anything else or cannot be written to, and for epochs and seeds out of range.
    """
    if out.exists() and not (out.is_dir() and all(map(left_by_a_stop, out.iterdir()))):
        raise InputError(f"{out} exists: give the name of a new folder")
    check_folder(out)
    if epochs is not None and not 0 < epochs <= MOST_EPOCHS:
        raise InputError(f"--epochs {epochs:g}: epochs must be more than 0 and at most {MOST_EPOCHS:,}")
    if seed < 0:
        raise InputError(f"--seed {short(seed)}: seeds count from 0")
    within("--seed", seed, 0, LARGEST_SEED)
    train, test = load(data.name, data.size, data.holdout)
    for note in train.notes:
        print(f"images: {note}")
    epochs = epochs or max(EPOCHS, math.ceil(LEAST_STEPS / epoch_length(len(train), BATCH_SIZE)))
    facts = {"name": out.name, "data": data.model_dump(), "images_sha256": train.digest(labelled=True), "epochs": epochs, "seed": seed,
             "networks": {}}
    if len(train) < 2:
        raise InputError(f"{data.name} has {len(train)} training image: networks need at least 2")
    tasks = TASKS if (train.labels >= 0).all() and train.labels.max() > 0 and (test.labels >= 0).any() else TASKS[1:]
    if tasks != TASKS:
        print("note: no classifier is trained, since that needs two classes, a class for each training image, and for some test images")
    made_by = digest({"images": train.images, "labels": train.labels}, epochs=str(epochs), seed=str(seed))
    if (out / "features.json").exists():
        if any(load_tensors(file)[1].get("made_by") != made_by for file in out.glob("*.safetensors")):
            raise InputError(f"{out} exists: give the name of a new folder")
        print(f"{out} is finished: nothing to do. Judge with it by: nanoldm evaluate MODEL --features {shell(out)}")
        return load_features(out, weak=True)
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
    if weak := find_weak(facts["networks"]):
        print(f"note: {weak}")
    return load_features(out, weak=True)


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
