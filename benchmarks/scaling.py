"""The arithmetic of docs/scaling.md: one step on 1, 8 and 64 GPUs, and what limits it.

    python benchmarks/scaling.py

Prints the tables. Parameters are counted; the speeds of GPUs and links are assumptions (below); the
speed of drawing noise is measured here. Nothing else is measured: no such machine was at hand.
"""

import time
from typing import NamedTuple

import torch

from nanoldm.experiments.config import Recipe
from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.stages import new_network, parameter_count
from nanoldm.models import ConvAE

GPU = 989e12  # FLOP/s of an H100 in bfloat16, by its data sheet (dense)
SHARE = 0.4  # of it that training reaches; the larger networks of the literature: 0.3 to 0.5
LINKS = {1: float("inf"), 8: 300e9, 64: 40e9}  # bytes/s of an all-reduce: none, NVLink, network


class Task(NamedTuple):
    """A recipe on a data set."""

    name: str
    recipe: Recipe
    images: int
    size: int
    channels: int
    labels: int


TASKS = (Task("MNIST, `mnist-fast`", RECIPES["mnist-fast"](), 60_000, 28, 1, 1024),
         Task("CIFAR-10, `dit-s`", RECIPES["dit-s"](), 50_000, 32, 3, 10),
         Task("ImageNet at 64x64, `dit-b`", RECIPES["dit-b"](), 1_281_167, 64, 3, 1000))


class Cost(NamedTuple):
    """What one training image costs, and the sizes of a task."""

    parameters: int
    tokens: int  # of the blocks
    flops: float  # forward and backward, per image
    latent: int  # numbers per image


def cost(task: Task) -> Cost:
    """Products only: 2 FLOPs per parameter and token, and q k^T and its product with v:

        forward = 2 tokens depth (4 width^2 + 2 width hidden) + 4 tokens^2 width depth
        training = 3 forward
    """
    net = task.recipe.network
    with torch.device("meta"):
        autoencoder = ConvAE(task.size, task.channels, **task.recipe.autoencoder.model_dump())
        network = new_network(task.recipe, autoencoder, task.labels)
    tokens = autoencoder.tokens // net.patch**2
    products = 2 * tokens * net.depth * (4 * net.width**2 + 2 * net.width * net.hidden)
    attention = 4 * tokens**2 * net.width * net.depth
    latent = autoencoder.tokens * autoencoder.latent_channels
    return Cost(parameter_count(network), tokens, 3.0 * (products + attention), latent)


def drawing_rate() -> float:
    """Normal numbers per second of one CPU thread."""
    stream = torch.Generator().manual_seed(0)
    torch.set_num_threads(1)
    torch.randn(10**6, generator=stream)
    began = time.perf_counter()
    torch.randn(10**7, generator=stream)
    return 10**7 / (time.perf_counter() - began)


def all_reduce(parameters: int, processes: int) -> float:
    """Seconds of a ring: 2 (N - 1) / N times the gradient, in float32."""
    return 2 * (processes - 1) / processes * 4 * parameters / LINKS[processes]


def main() -> None:
    rate = drawing_rate()
    print("| task | parameters | tokens | GFLOP per image | all latents |\n"
          "| --- | --- | --- | --- | --- |")
    for task in TASKS:
        c = cost(task)
        print(f"| {task.name} | {c.parameters / 1e6:.1f} M | {c.tokens} | {c.flops / 1e9:.2f} | "
              f"{4 * c.latent * task.images / 1e9:.2f} GB |")
    print(f"\nnoise: {rate / 1e6:.0f} million numbers a second (one thread)\n")
    print("| task | GPUs | all-reduce | images per GPU at break-even | batch of all GPUs | "
          "time to draw its noise |\n"
          "| --- | --- | --- | --- | --- | --- |")
    for task in TASKS:
        c = cost(task)
        for processes in (8, 64):
            seconds = all_reduce(c.parameters, processes)
            images = seconds * GPU * SHARE / c.flops
            batch = images * processes
            print(f"| {task.name} | {processes} | {4 * c.parameters / 1e6:.0f} MB, "
                  f"{1e3 * seconds:.2f} ms | {images:,.0f} | {batch:,.0f} | "
                  f"{1e3 * batch * c.latent / rate:.1f} ms |")


if __name__ == "__main__":
    main()
