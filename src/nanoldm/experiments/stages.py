"""The two trainings of a run: the autoencoder, then the denoiser on its latents."""

import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from nanoldm.data import ImageSet
from nanoldm.data.clusters import cluster_count
from nanoldm.diffusion import Denoiser, DenoisingLoss, NoiseSchedule
from nanoldm.experiments.batches import Batches, image_batches, latent_batches
from nanoldm.experiments.config import Recipe, Training
from nanoldm.models import NETWORKS, ConvAE, Dropout, ReconstructionLoss
from nanoldm.training import EMA, Step, fit, make_optimizers
from nanoldm.training.batches import epoch_length
from nanoldm.training.muon import Muon
from nanoldm.utils.device import use_tf32
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import check_images, images_at_a_time, to_float
from nanoldm.utils.seeding import Stream, generator, seeded


class Stage:
    """One training: a loss module with its optimiser, EMA and batches. Steps count from 1.

    loss_module: returns the loss of a batch and holds the weights.
    averaged: the same module with EMA weights; loss_module itself without EMA.
    batches(start): the batches from step `start` on.
    """

    def __init__(self, name: str, loss_module: nn.Module, training: Training, seed: int,
                 matrices: list[nn.Parameter] | None = None):
        self.name, self.loss_module, self.training, self.seed = name, loss_module, training, seed
        rate = training.learning_rate
        self.optimizers = make_optimizers(training.optimizer, loss_module, rate, matrices or [])
        averaging = training.ema_decay or training.ema_power
        self.ema = EMA(loss_module, training.ema_decay, training.ema_power) if averaging else None
        self.averaged = self.ema.module if self.ema else loss_module
        self.use_compiler(False)
        self.batches: Callable[[int], Batches]

    @property
    def has_dropout(self) -> bool:
        """Whether a step draws random numbers for dropout."""
        kinds = (Dropout, nn.modules.dropout._DropoutNd)
        return any(isinstance(part, kinds) and part.p for part in self.loss_module.modules())

    def length(self, images: int) -> int:
        """Steps of the whole training."""
        return self.training.steps or self.training.epochs * epoch_length(
            images, self.training.batch_size)

    def run(self, steps: int, start: int = 0) -> Iterator[Step]:
        """Take steps start + 1 ... steps, with the learning rate annealed over all of them."""

        def learning_rate(k: int) -> float:
            """Cosine annealing to 0 (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5)."""
            cosine = (1 + math.cos(math.pi * k / steps)) / 2
            return self.training.learning_rate * (
                cosine if self.training.annealing == "cosine" else 1)

        batches = self.batches(start)
        if self.device.type == "cuda" and self.module is not self.loss_module:
            batches = marked(batches)
        return fit(self.module, batches, self.optimizers, steps=steps, start=start,
                   learning_rate=learning_rate, gradient_clip=self.training.gradient_clip,
                   ema=self.ema, seed=self.seed if self.has_dropout else None)

    @property
    def device(self) -> torch.device:
        return next(self.loss_module.parameters()).device

    def use_compiler(self, use: bool) -> None:
        """Compile the step (torch.compile) when it is taken first, or do not.

        On a GPU, CUDA graphs start all its kernels at once (mode reduce-overhead).
        """
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"
        self.module = (torch.compile(self.loss_module, dynamic=False, mode=mode) if use
                       else self.loss_module)

    def use_precision(self, precision: str) -> None:
        """Compute the denoiser, also that of the EMA, and Muon in a precision of `PRECISIONS`."""
        use_tf32(self.device, precision == "tf32")
        muon = [optimizer for optimizer in self.optimizers if isinstance(optimizer, Muon)]
        for each in (self.loss_module.denoiser, self.averaged.denoiser, *muon):
            each.precision = precision

    def seconds_per_step(self, seconds: float = 1.0, precision: str | None = None) -> float:
        """Mean time of a step, measured for about `seconds`.

        precision: to measure in, which stays set; all else is unchanged afterwards.
        """
        if precision:
            self.use_precision(precision)
        weights = deepcopy(self.loss_module.state_dict())
        times: list[float] = []
        try:
            for step in self.run(1000):
                step.loss.item()  # waits for a GPU
                times.append(time.perf_counter())
                if len(times) > 3 and times[-1] - times[0] > seconds:
                    break
        finally:
            self.loss_module.load_state_dict(weights)
            if self.ema:
                self.ema.module.load_state_dict(weights)
            for optimizer in self.optimizers:
                optimizer.state.clear()
        return (times[-1] - times[0]) / (len(times) - 1)  # without the first step, a warm-up


def marked(batches: Batches) -> Batches:
    """Tell CUDA graphs before each batch that they may overwrite the results of the last step."""
    for batch in batches:
        torch.compiler.cudagraph_mark_step_begin()
        yield batch


def parameter_count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def autoencoder_stage(recipe: Recipe, images: Tensor, device: torch.device | str = "cpu") -> Stage:
    """images: (N, C, S, S) uint8. Raises InputError for others."""
    check_images(images)
    if not len(images):
        raise InputError("there are no images to train on: give at least one")
    channels, size = images.shape[1:3]
    with seeded(recipe.seed, Stream.AUTOENCODER, Stream.INITIAL_WEIGHTS):
        autoencoder = ConvAE(size, channels, **recipe.autoencoder.model_dump())
    training = recipe.autoencoder_training
    seed = generator(recipe.seed, Stream.AUTOENCODER).initial_seed()
    stage = Stage("autoencoder", ReconstructionLoss(autoencoder).to(device), training, seed)
    stage.batches = lambda start: image_batches(images.to(device), training.batch_size, seed, start)
    return stage


def label_count(recipe: Recipe, data: ImageSet) -> int:
    """How many labels (or clusters) the network has; 0 for an unconditional recipe.

    Raises InputError if the recipe needs labels and an image has none.
    """
    if recipe.diffusion.clusters:
        return cluster_count(recipe.diffusion.clusters, len(data))
    if not recipe.diffusion.uses_labels:
        return 0
    if missing := int((data.labels < 0).sum()):
        raise InputError(f"{recipe.recipe} needs labels, and {missing:,} images of "
                         f"{recipe.data.name} have none: put images in one subfolder per class, or "
                         "choose a recipe without labels, such as mnist, or set "
                         "diffusion.label_dropout to None")
    return int(data.labels.max()) + 1


def new_network(recipe: Recipe, autoencoder: ConvAE, labels: int) -> nn.Module:
    """The denoising network of a recipe for the latents of an autoencoder."""
    shape = {"tokens": autoencoder.tokens, "channels": autoencoder.latent_channels}
    options = recipe.network.model_dump(exclude={"kind"})
    return NETWORKS[recipe.network.kind](**shape, labels=labels, **options)


def denoiser_stage(recipe: Recipe, autoencoder: ConvAE, labels: int) -> Stage:
    """The training of the denoiser; `give_latents` adds its batches. labels: from `label_count`."""
    with seeded(recipe.seed, Stream.DENOISER, Stream.INITIAL_WEIGHTS):
        network = new_network(recipe, autoencoder, labels)
    schedule = NoiseSchedule(recipe.diffusion.schedule, recipe.diffusion.timesteps)
    denoiser = Denoiser(network, schedule, recipe.diffusion.prediction)
    loss = DenoisingLoss(denoiser, recipe.diffusion.loss_weighting)
    seed = generator(recipe.seed, Stream.DENOISER).initial_seed()
    loss = loss.to(autoencoder.latent_mean.device)
    return Stage("denoiser", loss, recipe.training, seed, network.matrices())


def give_latents(stage: Stage, recipe: Recipe, latents: Tensor, labels: Tensor) -> None:
    """Let a stage of `denoiser_stage` train on latents (N, tokens, channels), labels (N,)."""
    diffusion, conditional = recipe.diffusion, stage.loss_module.denoiser.labels
    stage.batches = lambda start: latent_batches(
        latents, recipe.training.batch_size, diffusion.timesteps, stage.seed, start,
        diffusion.timestep_distribution, labels if conditional else None,
        diffusion.label_dropout or 0.0)


@torch.inference_mode()
def raw_tokens(autoencoder: ConvAE, images: Tensor) -> Tensor:
    """Images (N, C, S, S) uint8 -> tokens (N, tokens, channels) before normalisation."""
    check_images(images)
    device, parts = autoencoder.latent_mean.device, images.split(images_at_a_time(images))
    return torch.cat([autoencoder.encode_raw(to_float(part.to(device))) for part in parts])


def normalised_latents(autoencoder: ConvAE, images: Tensor) -> Tensor:
    """Set the latent statistics from the training images -> their normalised latents."""
    tokens = raw_tokens(autoencoder, images)
    autoencoder.set_statistics(tokens)
    return autoencoder.normalise(tokens)
