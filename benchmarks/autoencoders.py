"""How much of the distance is the autoencoder's? decode(encode(real images)), judged as samples.

    nanoldm train mnist-fast --only autoencoder --out runs/wide
    python benchmarks/autoencoders.py runs/wide mnist

Prints the distances of 10,000 training images, and of what each autoencoder makes of them.
"""

from pathlib import Path

import torch
import tyro

from nanoldm.data import load
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import Judge
from nanoldm.experiments.latents import normalised_latents
from nanoldm.pipeline.folders import find_autoencoder
from nanoldm.pipeline.saving import load_autoencoder
from nanoldm.utils.images import to_bytes, to_float
from nanoldm.utils.seeding import generator

IMAGES = 10_000


def report(name: str, judge: Judge, images: torch.Tensor) -> None:
    seen = judge.observe(images, nearest=False)
    found = judge.to_test(seen)
    print(f"{name:<24} {found['frechet_test']:.3f} {found['rotation_frechet_test']:.3f}",
          flush=True)


@torch.no_grad()
def main(models: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    train, test = load("mnist")
    judge = Judge(load_features(), train, test)
    real = train.images[torch.randperm(len(train), generator=generator(1))[:IMAGES]]
    print(f"{'':<24} Frechet distance to the test set: classifier, rotation")
    report("real images", judge, real)
    for model in models:
        autoencoder = load_autoencoder(find_autoencoder(model))
        tokens = normalised_latents(autoencoder, real)
        copies = [autoencoder.decode(part).sigmoid() for part in tokens.split(500)]
        error = (torch.cat(copies) - to_float(real)).square().mean().item()
        report(f"{model} (MSE {error:.5f})", judge, to_bytes(torch.cat(copies)))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
