"""Train one arm of the study (claims.toml) and measure it."""

import base64
import io
import math
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from claims_networks import AUTOENCODERS, Lifted
from claims_study import Arm, Latents, Setting, Study
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from nanoldm.diffusion import NoiseSchedule
from nanoldm.diffusion.schedule import corrupt, preserve_variance
from nanoldm.diffusion.timesteps import sampling_timesteps
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
from nanoldm.pipeline.denoising_error import model_denoising_error
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.training import EMA
from nanoldm.utils.errors import TrainingError
from nanoldm.utils.files import digest, load_module, save_tensors
from nanoldm.utils.images import to_bytes, to_float

METRICS = ("frechet_train", "rotation_frechet_train", "confidence", "class_distance", "coverage")
DIGITS = 8  # of the seeds 0 to 7, kept with the result
SHORT = 4  # steps of the variant "short"
TRACKS = {"0.99": {"decay": 0.99}, "0.999": {"decay": 0.999}, "window 5 %": {"power": 16.97}}
QUARTERS = (0.25, 0.5, 0.75)
NOISES = (0.03, 0.1, 0.3)  # of the decoder's test
DIAGNOSTIC = (50, 75, 91)  # timesteps


class ArmRun:
    """One arm with one seed: `result()` trains it and returns a line of claims.jsonl.

    folder: for autoencoders, which several arms share.
    """

    def __init__(self, study: Study, name: str, seed: int, judge: Judge, folder: Path):
        self.name, self.seed, self.judge, self.folder = name, seed, judge, folder
        self.setting: Setting = study.setting
        self.arm: Arm = study.settings_of(name)
        self.recipe: Recipe = study.recipe(name, seed)
        self.images = judge.train_set.images
        self.held_out = to_float(judge.test_set.images[:2000])

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
        found |= self.autoencoder_quality()
        found |= self.train()
        self.stage.loss_module.eval()
        found |= self.quality()
        if self.arm.probe:
            found["probe"] = self.probe()
        if self.arm.diagnostic:
            found["diagnostic"] = {t: self.denoised(t) for t in DIAGNOSTIC}
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
        found = {"raw": self.distance(self.raw), "ema": self.distance(self.ema)}
        self.stage.loss_module.train()
        return found

    def with_weights(self, average: EMA) -> float:
        """The distance with another average of the weights."""
        denoiser = average.module.denoiser.eval()
        return self.distance(LatentDiffusion(self.ema.autoencoder, denoiser,
                                             self.ema.clip_sample_range))

    def quality(self) -> dict[str, Any]:
        """Distances by variant, and other metrics of the EMA weights."""
        images = self.sample(self.ema)
        metrics = self.metrics(images)
        distances = {"": metrics["frechet_train"], "raw": self.distance(self.raw)}
        if self.arm.ddpm:
            distances["ddpm"] = self.distance(self.ema, ddpm=True)
        if self.arm.tracks:
            distances |= {"raw-ddpm": self.distance(self.raw, ddpm=True),
                          "short": self.distance(self.ema, SHORT),
                          "raw-short": self.distance(self.raw, SHORT)}
        test = self.ema.encode(self.held_out)
        errors = model_denoising_error(self.ema, test, self.judge.test_set.labels)
        return {"distances": distances, **metrics, "digits": encoded(images[:DIGITS]),
                "denoising_error": [round(error, 6) for error in errors]}

    def autoencoder_quality(self) -> dict[str, Any]:
        """The floor of the autoencoder, and PSNR in dB after noise on the latents."""
        latents = self.ema.encode(self.held_out)
        stream = torch.Generator().manual_seed(0)
        scale = latents.std((0, 1))
        psnr = {}
        for noise in NOISES:
            noisy = latents + noise * scale * torch.randn(latents.shape, generator=stream)
            error = (self.ema.decode(noisy) - self.held_out).square().mean().item()
            psnr[str(noise)] = round(-10 * math.log10(error), 2)
        copies = self.metrics(self.ema.decode(latents))
        return {"reconstruction": copies["frechet_train"], "psnr": psnr}

    def sample(self, model: LatentDiffusion, steps: int | None = None,
               ddpm: bool = False) -> Tensor:
        """The images of seeds 0, 1, ..., in bf16 as in the training."""
        count, schedule = self.setting.images, model.denoiser.schedule
        if ddpm:
            return model.generate(count, sampler="ddpm")
        start = schedule.timesteps - 2  # alpha of the noisiest timestep is almost 0
        chosen = sampling_timesteps(schedule, steps or self.setting.steps, start, "log-snr")
        return model.generate(count, sampler=self.setting.sampler, timesteps=chosen)

    def distance(self, model: LatentDiffusion, steps: int | None = None,
                 ddpm: bool = False) -> float:
        return self.metrics(self.sample(model, steps, ddpm))["frechet_train"]

    def metrics(self, images: Tensor) -> dict[str, float]:
        found = self.judge.summarise(self.judge.observe(to_bytes(images), nearest=False))
        return {name: round(found[name], 4) for name in METRICS}

    @torch.no_grad()
    def probe(self) -> list[float]:
        """R^2 of log-SNR, linear in the mean token: before the first block and after each block."""
        denoiser, outputs = self.ema.denoiser, []
        blocks = denoiser.network.blocks
        hooks = [blocks[0].register_forward_pre_hook(lambda _, given: outputs.append(given[0]))]
        hooks += [block.register_forward_hook(lambda _, given, out: outputs.append(out))
                  for block in blocks]
        x0, stream = self.ema.encode(self.held_out), torch.Generator().manual_seed(0)
        t = torch.randint(denoiser.schedule.timesteps - 1, (len(x0),), generator=stream)
        alpha, sigma = denoiser.schedule(t)
        eps = torch.randn(x0.shape, generator=stream)
        denoiser.output(corrupt(x0, eps, alpha, sigma), t)
        for hook in hooks:
            hook.remove()
        target = 2 * torch.log(alpha / sigma).double()
        return [round(explained(x.float().mean(1).double(), target), 4) for x in outputs]

    def denoised(self, t: int) -> dict[str, Any]:
        """The specification's diagnostic: held-out images, noised to t, then denoised."""
        images = self.held_out[: self.setting.images]
        chosen = sampling_timesteps(self.ema.denoiser.schedule, self.setting.steps, t, "log-snr")
        noised, found = self.ema.denoise_from(images, t, range(len(images)),
                                              sampler=self.setting.sampler, timesteps=chosen)
        return {"distance": self.metrics(found)["frechet_train"],
                "noised": encoded(noised[:DIGITS]), "denoised": encoded(found[:DIGITS])}


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


def explained(x: Tensor, y: Tensor) -> float:
    """R^2 of ridge regression, fitted on the first half of the rows (N, d) and tested on the other.
    """
    x = torch.cat([(x - x.mean(0)) / x.std(0).clamp(min=1e-9), torch.ones(len(x), 1)], 1)
    half = len(x) // 2
    gram = x[:half].T @ x[:half] + 1e-3 * half * torch.eye(x.shape[1])
    weights = torch.linalg.solve(gram, x[:half].T @ y[:half])
    rest = y[half:]
    return 1 - ((x[half:] @ weights - rest).square().mean() / rest.var()).item()


def encoded(images: Tensor) -> str:
    """A row of images (N, 1, S, S) as PNG in base64."""
    content = io.BytesIO()
    row = to_bytes(images)[:, 0].permute(1, 0, 2).flatten(1)          # (S, N S)
    Image.fromarray(row.numpy()).save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()
