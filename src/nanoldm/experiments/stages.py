"""The two trainings of a run: the autoencoder, then the denoiser on its latents, or a student."""

import json
from copy import deepcopy

import torch
from torch import Tensor, nn

from nanoldm.data import ImageSet
from nanoldm.data.clusters import cluster_count
from nanoldm.diffusion import Denoiser, DenoisingLoss, DistillationLoss, NoiseSchedule
from nanoldm.experiments.batches import image_batches, latent_batches, pair_batches
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.stage import Stage
from nanoldm.models import NETWORKS, ConvAE, Dropout, ReconstructionLoss, find_network
from nanoldm.pipeline.folders import find_autoencoder
from nanoldm.pipeline.saving import load_autoencoder
from nanoldm.pipeline.settings import Sampling, default_settings
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import check_images
from nanoldm.utils.seeding import Stream, generator, seeded
from nanoldm.utils.text import one_line


def parameter_count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def autoencoder_stage(recipe: Recipe, images: Tensor, device: torch.device | str = "cpu") -> Stage:
    """images: (N, C, S, S) uint8. Raises InputError for others."""
    check_images(images)
    channels, size = images.shape[1:3]
    with seeded(recipe.seed, Stream.AUTOENCODER, Stream.INITIAL_WEIGHTS):
        autoencoder = ConvAE(size, channels, **recipe.autoencoder.model_dump())
    training = recipe.autoencoder_training
    seed = generator(recipe.seed, Stream.AUTOENCODER).initial_seed()
    if recipe.autoencoder_from:
        autoencoder = trained_autoencoder(recipe.autoencoder_from, autoencoder)
    stage = Stage("autoencoder", ReconstructionLoss(autoencoder).to(device), training, seed)
    stage.batches = lambda start: image_batches(images.to(device), training.batch_size, seed, start,
                                                stage.parts)
    return stage


def trained_autoencoder(source: str, like: ConvAE) -> ConvAE:
    """The autoencoder of another run. Raises InputError unless it has the configuration of `like`.
    """
    found = load_autoencoder(find_autoencoder(source))
    for name, value in like.config.items():
        if found.config[name] != value:
            raise InputError(f"the autoencoder of {source} has {name} {found.config[name]}, and "
                             f"this recipe {value}: give the recipe and the images of that run")
    return found


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
    """The denoising network of a recipe for the latents of an autoencoder.

    Raises InputError for an own class that cannot be built, or does not keep its arguments.
    """
    shape = {"tokens": autoencoder.tokens, "channels": autoencoder.latent_channels}
    options, kind = recipe.network.model_dump(exclude={"kind"}), recipe.network.kind
    make = find_network(kind)
    if kind in NETWORKS:
        return make(**shape, labels=labels, **options)
    try:
        network = make(**shape, labels=labels, **options)
        json.dumps(network.config)
    except (TypeError, AttributeError) as error:
        raise InputError(f"network {kind} does not fit ({one_line(error)}): its __init__ takes the "
                         "fields of NetworkConfig (**options for those it does not use) and keeps "
                         "its own arguments in self.config") from None
    return network


def denoiser_stage(recipe: Recipe, autoencoder: ConvAE, labels: int) -> Stage:
    """The training of the denoiser; `give_latents` adds its batches. labels: from `label_count`."""
    with seeded(recipe.seed, Stream.DENOISER, Stream.INITIAL_WEIGHTS):
        network = new_network(recipe, autoencoder, labels)
    schedule = NoiseSchedule(recipe.diffusion.schedule, recipe.diffusion.timesteps)
    denoiser = Denoiser(network, schedule, recipe.diffusion.prediction)
    loss = DenoisingLoss(denoiser, recipe.diffusion.loss_weighting)
    return second_stage(recipe, loss.to(autoencoder.latent_mean.device))


def student_stage(recipe: Recipe, teacher: Denoiser) -> Stage:
    """The training of a student, which begins as its teacher; `give_pairs` adds its batches."""
    student = deepcopy(teacher).requires_grad_(True)
    for part in student.modules():
        if isinstance(part, Dropout):
            part.p = 0.0  # one image is right for each noise: there is nothing to regularise
    settings = sampling_settings(recipe, student.schedule).resolved(student.schedule)
    return second_stage(recipe, DistillationLoss(student, settings.timesteps))


def second_stage(recipe: Recipe, loss: DenoisingLoss | DistillationLoss) -> Stage:
    seed = generator(recipe.seed, Stream.DENOISER).initial_seed()
    matrices = getattr(loss.denoiser.network, "matrices", list)()
    return Stage("denoiser", loss, recipe.training, seed, matrices)


def as_pairs(stage: Stage, x_T: Tensor, x0: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
    """The training set of `student_stage`, with labels if its network has some."""
    label = {"label": labels} if stage.loss_module.denoiser.labels else {}
    pairs = {"x_T": x_T, "x0": x0} | label
    return {name: values.to(stage.device) for name, values in pairs.items()}


def give_pairs(stage: Stage, pairs: dict[str, Tensor]) -> None:
    """Let a stage of `student_stage` train on pairs of noise and images of its teacher."""
    stage.batches = lambda start: pair_batches(pairs, stage.training.batch_size, stage.seed, start,
                                               stage.parts)


def sampling_settings(recipe: Recipe, schedule: NoiseSchedule) -> Sampling:
    """How the model of a recipe samples."""
    return default_settings(schedule).changed(**recipe.sampling.model_dump())


def teacher_settings(recipe: Recipe, schedule: NoiseSchedule) -> Sampling:
    """How the teacher of a student makes its images."""
    distillation = recipe.distillation
    return default_settings(schedule).changed(guidance=distillation.guidance,
                                              **distillation.sampling.model_dump())


def give_latents(stage: Stage, recipe: Recipe, latents: Tensor, labels: Tensor) -> None:
    """Let a stage of `denoiser_stage` train on latents (N, tokens, channels), labels (N,)."""
    diffusion, conditional = recipe.diffusion, stage.loss_module.denoiser.labels
    stage.batches = lambda start: latent_batches(
        latents, recipe.training.batch_size, diffusion.timesteps, stage.seed, start,
        diffusion.timestep_distribution, labels if conditional else None,
        diffusion.label_dropout or 0.0, stage.parts)
