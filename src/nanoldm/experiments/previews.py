"""What a run shows while it trains: sample grids, the model so far, test metrics."""

from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor

from nanoldm.data import ImageSet
from nanoldm.diffusion.timesteps import random_timesteps
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.log import Values
from nanoldm.experiments.run_checks import copy_history
from nanoldm.experiments.run_stage import Preview
from nanoldm.experiments.stage import Stage
from nanoldm.experiments.timing import SHOWN, TEST_BATCH, TEST_IMAGES
from nanoldm.pipeline.folders import RunFolder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.images import captioned, grid, save, to_float
from nanoldm.utils.seeding import Stream, generator

SEEDS = range(SHOWN)
Sheets = list[tuple[str, Image.Image]]  # (caption, picture)


def autoencoder_preview(folder: RunFolder, stage: Stage, test_set: ImageSet) -> Preview:
    """Writes samples/reconstructions.png."""
    test = to_float(test_set.images[:TEST_IMAGES]).to(stage.device)

    @torch.inference_mode()
    def preview(step: int) -> tuple[Image.Image, Values]:
        copies = stage.averaged.autoencoder(test[:SHOWN]).sigmoid()
        rows = {"test images": test[:SHOWN], "reconstructions": copies}
        sheet = captioned((name, grid(part.cpu(), SHOWN)) for name, part in rows.items())
        save(sheet, folder.samples / "reconstructions.png")
        return sheet, {"test_loss": mean_loss(stage.averaged, {"image": test})}

    return preview


def denoiser_preview(folder: RunFolder, recipe: Recipe, stage: Stage, raw: LatentDiffusion,
                     averaged: LatentDiffusion, latents: Tensor, labels: Tensor) -> Preview:
    """`sample_preview` of raw and EMA weights. latents, labels: of test images."""
    # Uniform timesteps for every recipe: test losses are comparable.
    stream = generator(recipe.seed, Stream.TEST_LOSS)
    test = {"t": random_timesteps(len(latents), recipe.diffusion.timesteps, stream),
            "eps": torch.randn(latents.shape, generator=stream)}
    if raw.classes:
        test["label"] = raw.known_labels(labels)
    test = {"x0": latents} | {name: value.to(latents.device) for name, value in test.items()}

    def sheets(step: int) -> Sheets:
        return [(f"weights, step {step}", grid(raw.generate(SEEDS))),
                (f"EMA weights, step {step}", grid(averaged.generate(SEEDS)))]

    def errors() -> Values:
        return {"denoising_error": raw.denoising_error(latents, labels),
                "denoising_error_ema": averaged.denoising_error(latents, labels)}

    return sample_preview(folder, stage, averaged, test, sheets, errors)


def sample_preview(folder: RunFolder, stage: Stage, model: LatentDiffusion,
                   held_out: dict[str, Tensor], sheets: Callable[[int], Sheets],
                   more: Callable[[], Values] = dict) -> Preview:
    """Writes samples/step-NNNNNN.png and the model.

    held_out: a batch for the test loss. sheets(step): grids of images with captions.
    more(): other metrics.
    """

    def preview(step: int) -> tuple[Image.Image, Values]:
        stage.loss_module.eval()
        sheet = captioned(sheets(step), across=True)
        save(sheet, folder.samples / f"step-{step:06d}.png")
        copy_history(folder)  # before model_index.json, which marks a complete model
        model.save_pretrained(folder.model)
        values = {"test_loss": mean_loss(stage.loss_module, held_out),
                  "test_loss_ema": mean_loss(stage.averaged, held_out), **more()}
        stage.loss_module.train()
        return sheet, values

    return preview


@torch.inference_mode()
def mean_loss(loss_module: torch.nn.Module, batch: dict[str, Tensor]) -> float:
    """The mean loss over a large batch, in parts."""
    parts = zip(*(tensor.split(TEST_BATCH) for tensor in batch.values()), strict=True)
    total = sum(loss_module(**dict(zip(batch, part, strict=True))).item() * len(part[0])
                for part in parts)
    return total / len(next(iter(batch.values())))
