"""Does it help to train the decoder on latents of the denoiser? The encoder and the denoiser stay.

    python benchmarks/decoders.py mnist-fast-conditional --timesteps 10 30 --seeds 0 1

Training latents are noised to timestep t and denoised with the model's own sampler, and the decoder
learns to decode them to their images (binary cross-entropy, Adam, the rate falls to 0). t = -1: the
latents of the encoder. All decoders decode the same samples. Prints Frechet distances to the test
set (classifier, rotation), confidence and the squared error of reconstructions of test images. For
models with labels.
"""

import itertools
from copy import deepcopy

import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

from nanoldm import LatentDiffusion
from nanoldm.data import load
from nanoldm.diffusion.schedule import corrupt
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import Judge
from nanoldm.training.batches import batch_indices
from nanoldm.utils.images import to_bytes, to_float
from nanoldm.utils.seeding import Stream, generator

BATCH, RATE, AT_ONCE = 64, 1e-3, 500
SHOWN = ("frechet_test", "rotation_frechet_test", "confidence")


def sampled(model: LatentDiffusion, seeds: range, labels: Tensor | None,
            x_t: Tensor | None = None, t: int | None = None) -> Tensor:
    """Latents (N, tokens, channels): samples, or x_t denoised from timestep t."""
    settings, found = model.choose(start=t), []
    for at in range(0, len(seeds), AT_ONCE):
        part = slice(at, at + AT_ONCE)
        own = [None if rows is None else rows[part] for rows in (labels, x_t)]
        for x, _ in model.sample(list(seeds[part]), own[0], settings, own[1]):
            last = x
        found.append(last)
    return torch.cat(found)


def denoised(model: LatentDiffusion, x0: Tensor, labels: Tensor, t: int, seed: int) -> Tensor:
    """Latents x0 (N, tokens, channels), noised to timestep t and denoised."""
    eps = torch.randn(x0.shape, generator=generator(seed, Stream.NOISE, 0))
    levels = model.denoiser.schedule(torch.full((len(x0),), t))
    return sampled(model, range(len(x0)), model.known_labels(labels),
                   corrupt(x0, eps, *levels), t)


def train_decoder(model: LatentDiffusion, latents: Tensor, images: Tensor, epochs: int,
                  seed: int) -> LatentDiffusion:
    """The model with its decoder trained to decode latents[k] to images[k] (uint8)."""
    trained = deepcopy(model)
    decoder = trained.autoencoder.decoder.requires_grad_(True)
    steps = epochs * len(images) // BATCH
    optimizer = torch.optim.Adam(decoder.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _, index in itertools.islice(batch_indices(len(images), BATCH, seed), steps):
        logits = trained.autoencoder.decode(latents[index])
        F.binary_cross_entropy_with_logits(logits, to_float(images[index])).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return trained


def main(name: tyro.conf.Positional[str], timesteps: tuple[int, ...] = (10, 30),
         seeds: tuple[int, ...] = (0, 1), epochs: int = 3, n: int = 10_000) -> None:
    model = LatentDiffusion.from_pretrained(name).use_precision("bf16")
    train, test = load("mnist")
    judge, x0 = Judge(load_features(), train, test), model.encode(to_float(train.images))
    samples = sampled(model, range(n), model.draw_labels(n))

    def report(title: str, found: LatentDiffusion) -> None:
        images = torch.cat([found.decode(part) for part in samples.split(AT_ONCE)])
        seen = judge.observe(to_bytes(images), nearest=False)
        result = judge.to_test(seen) | seen.classification()
        real = to_float(test.images)
        error = (found.reconstruct(real) - real).square().mean().item()
        print(title, *(f"{result[name]:.3f}" for name in SHOWN), f"{error:.5f}", flush=True)

    report("the model's own decoder:", model)
    for seed in seeds:
        for t in (-1, *timesteps):
            latents = x0 if t < 0 else denoised(model, x0, train.labels, t, seed)
            report(f"t = {t}, seed {seed}:",
                   train_decoder(model, latents, train.images, epochs, seed))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
