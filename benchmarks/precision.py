"""python benchmarks/precision.py mnist mnist-fast: fp32 and bf16, eager and compiled, in turns: the
time of a training step and of sampling.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import product

import torch
import tyro
from rich.table import Table
from tyro.conf import Positional

from nanoldm import LatentDiffusion
from nanoldm.experiments.recipes import find_recipe
from nanoldm.experiments.stages import denoiser_stage, give_latents
from nanoldm.models import ConvAE
from nanoldm.training import Step
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.tables import printed

STEPS, IMAGES, SAMPLING_STEPS = 4, 64, 20


def training_steps(name: str, precision: str, compiled: bool) -> Iterator[Step]:
    """The steps of a recipe on made-up latents."""
    recipe = find_recipe(name)()
    autoencoder = ConvAE(**recipe.autoencoder.model_dump())
    stage = denoiser_stage(recipe, autoencoder, recipe.diffusion.clusters or 0)
    stage.use_precision(precision)
    stage.use_compiler(compiled)
    latents = torch.randn(10_000, autoencoder.tokens, autoencoder.latent_channels)
    give_latents(stage, recipe, latents, torch.zeros(10_000, dtype=torch.long))
    return stage.run(10**6)


def training(name: str, precision: str, compiled: bool) -> Callable[[], float]:
    """A function that takes STEPS steps of a recipe and returns the seconds of one."""
    steps = training_steps(name, precision, compiled)

    def measure() -> float:
        began = time.perf_counter()
        for _ in range(STEPS):
            next(steps)
        return (time.perf_counter() - began) / STEPS

    return measure


def sampling(name: str, precision: str, compiled: bool) -> Callable[[], float]:
    """A function that generates IMAGES images and returns the seconds."""
    model = LatentDiffusion.from_pretrained(name).use_precision(precision)
    if compiled:
        model.compile()

    def measure() -> float:
        began = time.perf_counter()
        model.generate(IMAGES, sampler="ddim", steps=SAMPLING_STEPS)
        return time.perf_counter() - began

    return measure


def compare(recipes: Positional[tuple[str, ...]] = ("mnist", "mnist-fast"), rounds: int = 7,
            threads: int | None = None) -> None:
    """Print the median of `rounds` turns of each, and the ratio to fp32 in the same turn."""
    prepare_torch("cpu", threads)
    table = Table("recipe", "precision", f"training step / {IMAGES} images", "median", "speed-up")
    for name, task in product(recipes, (training, sampling)):
        cases = list(product((False, True), ("fp32", "bf16")))
        measures = [task(name, precision, compiled) for compiled, precision in cases]
        for measure in measures:  # compiles
            measure()
        turns = [[measure() for measure in measures] for _ in range(rounds)]
        for k, (compiled, precision) in enumerate(cases):
            gain = statistics.median(turn[0] / turn[k] for turn in turns)
            table.add_row(name, precision + ", compiled" * compiled, task.__name__,
                          f"{statistics.median(turn[k] for turn in turns):.3f} s", f"{gain:.2f}x")
    print(printed(table))


if __name__ == "__main__":
    tyro.cli(compare)
