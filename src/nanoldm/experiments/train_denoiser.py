"""The second stage of a run: the images become latents, and the denoiser is trained on them."""

from contextlib import suppress

from nanoldm.data import ImageSet
from nanoldm.diffusion import Denoiser
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.latents import load_or_encode, load_or_make_clusters, raw_tokens
from nanoldm.experiments.plan import Plan, Stages
from nanoldm.experiments.previews import denoiser_preview
from nanoldm.experiments.run_checks import copy_history
from nanoldm.experiments.run_stage import run_stage
from nanoldm.experiments.stages import give_latents, sampling_settings
from nanoldm.experiments.timing import TEST_IMAGES
from nanoldm.experiments.trackers import Trackers
from nanoldm.models import ConvAE
from nanoldm.pipeline.folders import SAMPLING, RunFolder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import load_settings
from nanoldm.utils.distributed import from_main
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import weights_digest


def train_denoiser(folder: RunFolder, recipe: Recipe, data: tuple[ImageSet, ImageSet],
                   stages: Stages, plan: Plan, trackers: Trackers) -> None:
    """Encode the images, then train on their latents. data: training and test set."""
    train_set, test_set = data[0], data[1].select(slice(TEST_IMAGES))
    autoencoder, stage = stages.autoencoder.averaged.autoencoder.eval(), stages.denoiser
    origin = {"autoencoder": weights_digest(autoencoder)}
    latents = load_or_encode(folder.checkpoint("latents"), autoencoder, train_set.images, **origin)
    held_out = autoencoder.normalise(raw_tokens(autoencoder, test_set.images))
    labels = train_set.labels
    if recipe.diffusion.clusters:
        count = stage.loss_module.denoiser.labels
        labels = from_main(lambda: load_or_make_clusters(folder.checkpoint("clusters"), latents,
                                                         count, **origin))
    give_latents(stage, recipe, latents, labels)
    limit = latents.abs().max().item()
    raw, averaged = (model_of(recipe, autoencoder, loss.denoiser, limit, train_set)
                     for loss in (stage.loss_module, stage.averaged))
    preview = denoiser_preview(folder, recipe, stage, raw, averaged, held_out, test_set.labels)
    gates = getattr(stage.loss_module.denoiser.network, "gates", None)
    watch = (lambda: {"gates": gates(recipe.diffusion.timesteps)}) if gates else dict
    if not run_stage(folder, stage, plan.denoiser_steps, plan.preview_every, preview, trackers,
                     watch, **origin):
        from_main(lambda: save_again(folder, averaged))


def model_of(recipe: Recipe, autoencoder: ConvAE, denoiser: Denoiser, limit: float,
             train_set: ImageSet) -> LatentDiffusion:
    """The model that a run trains. limit: of its clamp."""
    clusters = bool(recipe.diffusion.clusters)
    names = train_set.names() if denoiser.labels and not clusters else None
    settings = sampling_settings(recipe, denoiser.schedule)
    return LatentDiffusion(autoencoder, denoiser, limit, settings=settings,
                           class_names=names, pseudo_labels=clusters and denoiser.labels > 0)


def save_again(folder: RunFolder, model: LatentDiffusion) -> None:
    """Write the model of a stage that had no step left: it may be missing or damaged."""
    copy_history(folder)
    with suppress(InputError):  # settings stored by `compare --save` stay
        if (folder.model / SAMPLING).exists():
            model.settings = load_settings(folder.model, model.denoiser.schedule)
    model.save_pretrained(folder.model)
