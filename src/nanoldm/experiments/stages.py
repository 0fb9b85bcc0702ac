"""The two trainings of a run, built from a recipe: the autoencoder, then the denoiser on its latents."""

import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from nanoldm.data.clusters import cluster_count, cluster_latents
from nanoldm.diffusion import Denoiser, DenoisingLoss, Guided, NoiseSchedule, proxy
from nanoldm.experiments.batches import image_batches, latent_batches
from nanoldm.experiments.config import Recipe, Training
from nanoldm.models import NETWORKS, ConvAE, ReconstructionLoss
from nanoldm.training import EMA, Step, fit, make_optimizer
from nanoldm.training.batches import epoch_length
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import check_images, images_at_a_time, to_float
from nanoldm.utils.seeding import generator, seeded

AUTOENCODER, DENOISER, EVALUATION = 0, 1, 2     # the random streams of a run
INITIAL = 3                                     # within a stage: its initial weights
PROXY_LATENTS = 128


class Stage:
    """A loss module with its optimiser, EMA and batches. `run` trains it; steps count from 1.

        loss_module     returns the loss of a batch; holds the live weights
        averaged        the same module with EMA weights (or the live ones where the recipe has no EMA)
    """

    def __init__(self, name: str, loss_module: nn.Module, training: Training, images: int, seed: int,
                 batches: Callable[[int], Iterator[dict[str, Tensor]]], compiled: bool = False):
        self.name, self.loss_module, self.training, self.seed, self.batches = name, loss_module, training, seed, batches
        self.compiled = compiled
        self.optimizer = make_optimizer(training.optimizer, loss_module, training.learning_rate)
        averaging = training.ema_decay or training.ema_power
        self.ema = EMA(loss_module, training.ema_decay, training.ema_power) if averaging else None
        self.steps = training.steps or training.epochs * epoch_length(images, training.batch_size)

    @property
    def averaged(self) -> nn.Module:
        return self.ema.module if self.ema else self.loss_module

    def run(self, steps: int | None = None, start: int = 0) -> Iterator[Step]:
        """Take steps start + 1 ... steps (default: as many as the recipe says), annealed over all of them."""
        steps = steps or self.steps

        def learning_rate(k: int) -> float:
            """Cosine annealing to 0 without restarts (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5)."""
            factor = (1 + math.cos(math.pi * k / steps)) / 2 if self.training.annealing == "cosine" else 1
            return self.training.learning_rate * factor

        return fit(self.loss_module, self.batches(start), self.optimizer, steps=steps, start=start, learning_rate=learning_rate,
                   gradient_clip=self.training.gradient_clip, ema=self.ema, seed=self.seed, compiled=self.compiled)

    def seconds_per_step(self, seconds: float = 1.0) -> float:
        """Mean time of a step, measured for about `seconds` on a copy that is thrown away."""
        times, copy = [], Stage(self.name, deepcopy(self.loss_module), self.training, 1, self.seed, self.batches, self.compiled)
        for _ in copy.run(1000):
            times.append(time.perf_counter())
            if len(times) > 3 and times[-1] - times[0] > seconds:
                break
        return (times[-1] - times[0]) / (len(times) - 1)     # the first step, which warms up, is left out


def build_autoencoder(recipe: Recipe, image_channels: int, image_size: int) -> ConvAE:
    """A new ConvAE for images of that shape, its weights drawn from the recipe's seed."""
    with seeded(recipe.seed, AUTOENCODER, INITIAL):
        return ConvAE(image_size, image_channels, **recipe.autoencoder.model_dump())


def autoencoder_stage(recipe: Recipe, images: Tensor, device: torch.device | str = "cpu") -> Stage:
    """images: (N, C, S, S) uint8. Raises InputError for others."""
    check_images(images)
    if not len(images):
        raise InputError("there are no images to train on: give at least one")
    loss = ReconstructionLoss(build_autoencoder(recipe, *images.shape[1:3])).to(device)
    seed = generator(recipe.seed, AUTOENCODER).initial_seed()
    return Stage("autoencoder", loss, recipe.autoencoder_training, len(images), seed,
                 lambda start: image_batches(images.to(device), recipe.autoencoder_training.batch_size, seed, start))


def count_classes(recipe: Recipe, labels: Tensor) -> int:
    """How many labels the recipe's network must know: 0 for a recipe without labels. Raises InputError where images have none."""
    if not recipe.diffusion.uses_labels:
        return 0
    if (labels < 0).any():
        raise InputError(f"{recipe.recipe} needs labels, and {int((labels < 0).sum()):,} images of {recipe.data.name} have none: "
                         "put images in one subfolder for each class, or choose a recipe without labels, such as mnist, or "
                         "--set diffusion.label_dropout=none")
    return int(labels.max()) + 1


def training_cells(recipe: Recipe, latents: Tensor) -> Tensor:
    """What a network of a recipe with cells is told of each training latent: (N, tokens, channels) -> (N,)."""
    return cluster_latents(latents, cluster_count(recipe.diffusion.cells, len(latents)))


def denoiser_stage(recipe: Recipe, latents: Tensor, compiled: bool = False, labels: Tensor | None = None) -> Stage:
    """latents: (N, tokens, channels) normalised, on the device to train on; labels: (N,), which recipes with labels need; for recipes with
    cells these (default: as `training_cells` finds them). compiled: run through torch.compile."""
    if labels is None:
        labels = training_cells(recipe, latents) if recipe.diffusion.cells else torch.full((len(latents),), -1)
    classes, cells = count_classes(recipe, labels), cluster_count(recipe.diffusion.cells or 0, len(labels))
    with seeded(recipe.seed, DENOISER, INITIAL):
        sizes = recipe.network.model_dump(exclude={"kind"})
        network = NETWORKS[recipe.network.kind](tokens=latents.shape[1], channels=latents.shape[2], classes=classes,
                                                cells=cells, **sizes)
    schedule = NoiseSchedule(recipe.diffusion.schedule, recipe.diffusion.timesteps)
    loss = DenoisingLoss(Denoiser(network, schedule, recipe.diffusion.prediction), recipe.diffusion.loss_weighting).to(latents.device)
    seed = generator(recipe.seed, DENOISER).initial_seed()
    return Stage("denoiser", loss, recipe.training, len(latents), seed,
                 lambda start: latent_batches(latents, recipe.training.batch_size, recipe.diffusion.timesteps, seed, start,
                                              recipe.diffusion.timestep_distribution, labels if classes or cells else None,
                                              recipe.diffusion.label_dropout or 0.0), compiled)


@torch.inference_mode()
def encode(autoencoder: ConvAE, images: Tensor) -> Tensor:
    """A whole image set (N, C, S, S) uint8 -> tokens (N, tokens, channels) on the autoencoder's device."""
    check_images(images)
    device = autoencoder.latent_mean.device
    return torch.cat([autoencoder.encode(to_float(part.to(device))) for part in images.split(images_at_a_time(images))])


def encode_and_normalise(autoencoder: ConvAE, images: Tensor) -> Tensor:
    """Encode the training set once, fix the autoencoder's latent statistics from it, and return the normalised latents."""
    tokens = encode(autoencoder, images)
    raw = tokens * autoencoder.latent_std + autoencoder.latent_mean       # the same numbers, unless there were statistics before
    autoencoder.set_statistics(tokens)
    return (raw - autoencoder.latent_mean) / autoencoder.latent_std


def known(labels: Tensor, classes: int) -> Tensor:
    """Labels of test images, -1 where the training images had no such class."""
    return labels.where(labels < classes, -1)


def proxy_errors(denoiser: Denoiser, latents: Tensor, labels: Tensor, limit: float) -> list[float]:
    """The proxy on the first 128 of the held-out `latents`, with noise that is the same in every run; a network with classes is told
    their labels."""
    x0, label = latents[:PROXY_LATENTS], known(labels[:PROXY_LATENTS], denoiser.classes).to(latents.device)
    eps = torch.randn(x0.shape, generator=generator(0, EVALUATION, 1)).to(x0.device)
    return proxy(Guided(denoiser, label) if denoiser.classes else denoiser, x0, eps, limit)
