"""Autoguidance: a weaker network guides a model (Karras et al. 2024, arXiv 2406.02507).

    x0 = x0(weaker) + scale (x0(model) - x0(weaker)), and eps likewise

    nanoldm train mnist-fast-conditional --autoencoder-from mnist-fast-conditional \\
        --training.steps 1500 --out runs/early
    python benchmarks/autoguidance.py mnist-fast-conditional runs/early --scales 1 1.25 1.5 2

Both have the same autoencoder and labels. Prints metrics of the samples at each scale.
"""

import torch
import tyro
from torch import Tensor, nn

from nanoldm import LatentDiffusion
from nanoldm.data import load
from nanoldm.diffusion import Clamped
from nanoldm.diffusion.denoiser import Estimate
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import Judge
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.images import to_bytes

SHOWN = ("frechet_test", "rotation_frechet_test", "coverage", "confidence")


class Autoguided(nn.Module):
    """A denoiser with fixed labels, guided by a weaker one. label: (B,)."""

    def __init__(self, model: nn.Module, weaker: nn.Module, label: Tensor | None, scale: float):
        super().__init__()
        self.model, self.weaker, self.label, self.scale = model, weaker, label, scale
        self.schedule = model.schedule

    def forward(self, x_t: Tensor, t: Tensor) -> Estimate:
        x0, eps = self.model(x_t, t, self.label)
        if self.scale == 1:
            return Estimate(x0, eps)
        weak_x0, weak_eps = self.weaker(x_t, t, self.label)
        return Estimate(weak_x0.lerp(x0, self.scale), weak_eps.lerp(eps, self.scale))


def main(model: tyro.conf.Positional[str], weaker: tyro.conf.Positional[str],
         scales: tuple[float, ...] = (1, 1.25, 1.5, 2), n: int = 10_000) -> None:
    strong, weak = (LatentDiffusion.from_pretrained(name).use_precision("bf16")
                    for name in (model, weaker))
    judge = Judge(load_features(), *load("mnist"))
    print("scale", *SHOWN)
    for scale in scales:

        def conditioned(settings: Sampling, labels: Tensor | None = None,
                        scale: float = scale) -> nn.Module:
            guided = Autoguided(strong.denoiser, weak.denoiser, labels, scale)
            return Clamped(guided, strong.clip_sample_range)

        strong.conditioned = conditioned
        seen = judge.observe(to_bytes(strong.generate(n, progress=True)), nearest=False)
        found = judge.to_test(seen) | seen.classification()
        print(f"{scale:g}", *(f"{found[name]:.3f}" for name in SHOWN), flush=True)


if __name__ == "__main__":
    with torch.inference_mode():
        tyro.cli(main, description=__doc__)
