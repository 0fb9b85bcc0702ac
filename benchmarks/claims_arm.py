"""Train one arm of the study (claims.toml) and measure it."""

import math
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from claims_measures import Measures
from claims_networks import AUTOENCODERS, Lifted
from claims_study import Arm, Latents, Study
from torch import Tensor
from tqdm import tqdm

from nanoldm.diffusion import NoiseSchedule
from nanoldm.diffusion.schedule import preserve_variance
from nanoldm.evaluation.judge import Judge
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.latents import raw_tokens
from nanoldm.experiments.stage import Stage
from nanoldm.experiments.stages import (
    autoencoder_stage,
    denoiser_stage,
    give_latents,
    parameter_count,
)
from nanoldm.models import ConvAE
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.training import EMA
from nanoldm.utils.errors import TrainingError
from nanoldm.utils.files import digest, load_module, save_tensors

TRACKS = {"0.99": {"decay": 0.99}, "0.999": {"decay": 0.999}, "window 5 %": {"power": 16.97}}
QUARTERS = (0.25, 0.5, 0.75)
DIAGNOSTIC = (50, 75, 91)  # timesteps


class ArmRun:
    """One arm with one seed: `result()` trains it and returns a line of claims.jsonl.

    folder: for autoencoders, which several arms share.
    """

    def __init__(self, study: Study, name: str, seed: int, judge: Judge, folder: Path):
        self.name, self.seed, self.folder = name, seed, folder
        self.measures = Measures(study.setting, judge)
        self.arm: Arm = study.settings_of(name)
        self.recipe: Recipe = study.recipe(name, seed)
        self.images = judge.train_set.images

    def result(self) -> dict[str, Any]:
        autoencoder, latents, variance = self.latents()
        self.stage = denoiser_stage(self.recipe, autoencoder, 0)
        replace_table(self.stage, self.arm, variance)
        give_latents(self.stage, self.recipe, latents, torch.full((len(latents),), -1))
        limit = latents.abs().max().item()
        self.raw, self.ema = (LatentDiffusion(autoencoder, loss.denoiser, limit)
                              for loss in (self.stage.loss_module, self.stage.averaged))
        found: dict[str, Any] = {"arm": self.name, "seed": self.seed, "fields": self.arm.fields,
                                 "parameters": parameter_count(self.stage.loss_module)}
        found |= self.measures.autoencoder_quality(self.ema)
        found |= self.train()
        self.stage.loss_module.eval()
        found |= self.measures.quality(self.arm, self.raw, self.ema)
        if self.arm.probe:
            found["probe"] = self.measures.probe(self.ema)
        if self.arm.diagnostic:
            found["diagnostic"] = {t: self.measures.denoised(self.ema, t) for t in DIAGNOSTIC}
        return found

    def latents(self) -> tuple[ConvAE, Tensor, float]:
        """The autoencoder, the latents to train on, and the variance of raw latents."""
        autoencoder = self.trained_autoencoder()
        tokens = raw_tokens(autoencoder, self.images)
        change: Latents = self.arm.latents
        if not change.raw:
            autoencoder.set_statistics(tokens)
            autoencoder.latent_std /= change.scale
        if change.lift:
            autoencoder = Lifted(autoencoder, change.lift).eval()
        variance = (tokens - tokens.mean((0, 1))).square().mean().item()
        return autoencoder, autoencoder.normalise(tokens), variance

    def trained_autoencoder(self) -> ConvAE:
        """From `folder` if possible."""
        kind, training = self.arm.autoencoder, self.recipe.autoencoder_training
        key = f"{kind} {self.recipe.autoencoder} {training} {self.seed}"
        path = self.folder / f"autoencoder-{digest({}, recipe=key)[:16]}.safetensors"
        stage = autoencoder_stage(self.recipe, self.images)
        autoencoder = stage.loss_module.autoencoder
        if path.exists():
            load_module(autoencoder, path)
            return autoencoder.eval()
        if kind != "plain":
            torch.manual_seed(self.seed)
            batches, seed = stage.batches, stage.seed
            stage = Stage("autoencoder", AUTOENCODERS[kind](autoencoder), training, seed)
            stage.batches = batches
        steps = stage.length(len(self.images))
        for _ in tqdm(stage.run(steps), total=steps, desc="autoencoder", mininterval=10):
            pass
        save_tensors(path, autoencoder.state_dict())
        return autoencoder.eval()

    def train(self) -> dict[str, Any]:
        """Train -> facts of the training, and what the tracks give."""
        stage, steps = self.stage, self.stage.length(len(self.images))
        stage.use_precision("bf16")
        torch.compiler.reset()  # it compiles 8 networks in one process, and then no more
        stage.use_compiler(True)
        averages = {name: EMA(stage.loss_module, **options) for name, options in TRACKS.items()
                    if self.arm.tracks}
        norms, losses, found = [], [], {}
        began = time.perf_counter()
        for step in tqdm(stage.run(steps), total=steps, desc=self.name, mininterval=10):
            norms.append(step.grad_norm.item())
            losses.append(step.loss.item())
            if not math.isfinite(losses[-1]):
                raise TrainingError(f"{self.name} diverged at step {step.number}")
            for average in averages.values():
                average.update(step.number)
            if self.arm.tracks and step.number / steps in QUARTERS:
                found[str(step.number)] = self.both()
        seconds = time.perf_counter() - began
        stage.use_compiler(False)
        tracks = {"tracks": found | {name: self.with_weights(average)
                                     for name, average in averages.items()}} if averages else {}
        clipped = sum(norm > 1 for norm in norms) / steps
        return {"steps": steps, "seconds": round(seconds, 1), "first_loss": round(losses[0], 5),
                "last_loss": round(mean(losses[-100:]), 5), "clipped": round(clipped, 3),
                **tracks}

    def both(self) -> dict[str, float]:
        """The distance of raw and EMA weights during the training."""
        self.stage.loss_module.eval()
        found = {"raw": self.measures.distance(self.raw), "ema": self.measures.distance(self.ema)}
        self.stage.loss_module.train()
        return found

    def with_weights(self, average: EMA) -> float:
        """The distance with another average of the weights."""
        denoiser = average.module.denoiser.eval()
        return self.measures.distance(LatentDiffusion(self.ema.autoencoder, denoiser,
                                                      self.ema.clip_sample_range))


def replace_table(stage: Stage, arm: Arm, variance: float) -> None:
    """Give a stage the schedule of an arm with another table than its own."""
    if arm.table == "own":
        return
    for module in {stage.loss_module, stage.averaged}:
        schedule: NoiseSchedule = module.denoiser.schedule
        if arm.table == "unscaled":
            betas = torch.linspace(1e-4, 0.02, schedule.timesteps, dtype=torch.float64)
            alpha, sigma = preserve_variance(betas)
        else:  # noise of the size of the latents, then scaled to alpha^2 + sigma^2 = 1
            alpha, sigma = schedule.alpha[1:].double(), schedule.sigma[1:].double()
            size = (alpha**2 + variance * sigma**2).sqrt()
            alpha, sigma = alpha / size, variance**0.5 * sigma / size
        schedule.alpha[1:], schedule.sigma[1:] = alpha.float(), sigma.float()
