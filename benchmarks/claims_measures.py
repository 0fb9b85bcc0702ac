"""What is measured of an arm of the study (claims.toml)."""

import base64
import io
import math
from typing import Any

import torch
from claims_study import Arm, Setting
from PIL import Image
from torch import Tensor

from nanoldm.diffusion.schedule import corrupt
from nanoldm.diffusion.timesteps import sampling_timesteps
from nanoldm.evaluation.judge import Judge
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.images import to_bytes, to_float

METRICS = ("frechet_train", "rotation_frechet_train", "confidence", "class_distance", "coverage")
DIGITS = 8  # of the seeds 0 to 7, kept with the result
SHORT = 4  # steps of the variant "short"
NOISES = (0.03, 0.1, 0.3)  # of the decoder's test


class Measures:
    """The measures of all arms, on the same held-out images and seeds."""

    def __init__(self, setting: Setting, judge: Judge):
        self.setting, self.judge = setting, judge
        self.held_out = to_float(judge.test_set.images[:2000])

    def quality(self, arm: Arm, raw: LatentDiffusion, ema: LatentDiffusion) -> dict[str, Any]:
        """Distances by variant, and other metrics of the EMA weights."""
        images = self.sample(ema)
        metrics = self.metrics(images)
        distances = {"": metrics["frechet_train"], "raw": self.distance(raw)}
        if arm.ddpm:
            distances["ddpm"] = self.distance(ema, ddpm=True)
        if arm.tracks:
            distances |= {"raw-ddpm": self.distance(raw, ddpm=True),
                          "short": self.distance(ema, SHORT),
                          "raw-short": self.distance(raw, SHORT)}
        test = ema.encode(self.held_out)
        errors = ema.denoising_error(test, self.judge.test_set.labels)
        return {"distances": distances, **metrics, "digits": encoded(images[:DIGITS]),
                "denoising_error": [round(error, 6) for error in errors]}

    def autoencoder_quality(self, model: LatentDiffusion) -> dict[str, Any]:
        """The floor of the autoencoder, and PSNR in dB after noise on the latents."""
        latents = model.encode(self.held_out)
        stream = torch.Generator().manual_seed(0)
        scale = latents.std((0, 1))
        psnr = {}
        for noise in NOISES:
            noisy = latents + noise * scale * torch.randn(latents.shape, generator=stream)
            error = (model.decode(noisy) - self.held_out).square().mean().item()
            psnr[str(noise)] = round(-10 * math.log10(error), 2)
        copies = self.metrics(model.decode(latents))
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
    def probe(self, model: LatentDiffusion) -> list[float]:
        """R^2 of log-SNR, linear in the mean token: before the first block and after each block."""
        denoiser, outputs = model.denoiser, []
        blocks = denoiser.network.blocks
        hooks = [blocks[0].register_forward_pre_hook(lambda _, given: outputs.append(given[0]))]
        hooks += [block.register_forward_hook(lambda _, given, out: outputs.append(out))
                  for block in blocks]
        x0, stream = model.encode(self.held_out), torch.Generator().manual_seed(0)
        t = torch.randint(denoiser.schedule.timesteps - 1, (len(x0),), generator=stream)
        alpha, sigma = denoiser.schedule(t)
        eps = torch.randn(x0.shape, generator=stream)
        denoiser.output(corrupt(x0, eps, alpha, sigma), t)
        for hook in hooks:
            hook.remove()
        target = 2 * torch.log(alpha / sigma).double()
        return [round(explained(x.float().mean(1).double(), target), 4) for x in outputs]

    def denoised(self, model: LatentDiffusion, t: int) -> dict[str, Any]:
        """The specification's diagnostic: held-out images, noised to t, then denoised."""
        images = self.held_out[: self.setting.images]
        chosen = sampling_timesteps(model.denoiser.schedule, self.setting.steps, t, "log-snr")
        noised, found = model.denoise_from(images, t, range(len(images)),
                                              sampler=self.setting.sampler, timesteps=chosen)
        return {"distance": self.metrics(found)["frechet_train"],
                "noised": encoded(noised[:DIGITS]), "denoised": encoded(found[:DIGITS])}


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
