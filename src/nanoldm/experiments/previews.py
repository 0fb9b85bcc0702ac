"""What a run shows while it trains: sample grids, the model so far, test metrics."""

import torch
from PIL import Image
from torch import Tensor

from nanoldm.data import ImageSet
from nanoldm.diffusion.timesteps import random_timesteps
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.log import Values
from nanoldm.experiments.run_checks import copy_records
from nanoldm.experiments.run_stage import Preview, mean_loss
from nanoldm.experiments.stage import Stage
from nanoldm.pipeline.denoising_error import model_denoising_error
from nanoldm.pipeline.folders import RunFolder
from nanoldm.pipeline.labels import known_labels
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.images import captioned, grid, save, to_float
from nanoldm.utils.seeding import Stream, generator

SEEDS = range(16)
TEST_IMAGES = 2000  # for the test loss


def autoencoder_preview(folder: RunFolder, stage: Stage, test_set: ImageSet) -> Preview:
    """Writes samples/reconstructions.png."""
    test = to_float(test_set.images[:TEST_IMAGES]).to(stage.device)

    @torch.inference_mode()
    def preview(step: int) -> tuple[Image.Image, Values]:
        copies = stage.averaged.autoencoder(test[:16]).sigmoid()
        rows = {"test images": test[:16], "reconstructions": copies}
        sheet = captioned((name, grid(part.cpu(), 16)) for name, part in rows.items())
        save(sheet, folder.samples / "reconstructions.png")
        return sheet, {"test_loss": mean_loss(stage.averaged, {"image": test})}

    return preview


def denoiser_preview(folder: RunFolder, recipe: Recipe, stage: Stage,
                     models: dict[str, LatentDiffusion], latents: Tensor,
                     labels: Tensor) -> Preview:
    """Writes samples/step-NNNNNN.png and the model.

    models: {"weights": raw, "EMA weights": averaged}. latents, labels: of test images.
    """
    # Uniform timesteps for every recipe: test losses are comparable.
    stream = generator(recipe.seed, Stream.TEST_LOSS)
    test = {"t": random_timesteps(len(latents), recipe.diffusion.timesteps, stream),
            "eps": torch.randn(latents.shape, generator=stream)}
    raw, averaged = models.values()
    if raw.classes:
        test["label"] = known_labels(labels, raw.classes)
    test = {"x0": latents} | {name: value.to(latents.device) for name, value in test.items()}

    def preview(step: int) -> tuple[Image.Image, Values]:
        stage.loss_module.eval()
        sheets = [(f"{name}, step {step}", grid(model.generate(SEEDS)))
                  for name, model in models.items()]
        sheet = captioned(sheets, across=True)
        save(sheet, folder.samples / f"step-{step:06d}.png")
        copy_records(folder)  # before model_index.json, which marks a complete model
        averaged.save_pretrained(folder.model)
        values = {"test_loss": mean_loss(stage.loss_module, test),
                  "test_loss_ema": mean_loss(stage.averaged, test),
                  "denoising_error": model_denoising_error(raw, latents, labels),
                  "denoising_error_ema": model_denoising_error(averaged, latents, labels)}
        stage.loss_module.train()
        return sheet, values

    return preview
