"""Into how many pieces should a batch be cut, for threads to take them whole? Training steps of every stage, in turns.

    python benchmarks/pieces.py [RECIPE ...]            (mnist, mnist-fast)

Prints seconds per step, and how many times as fast as the whole batch in the same round (median). Run it on an idle machine.
"""

import statistics
import sys
import time

import torch

from nanoldm.data import load
from nanoldm.device import prepare_torch
from nanoldm.recipes import find_recipe
from nanoldm.stages import Stage, autoencoder_stage, denoiser_stage

PIECES, ROUNDS, SECONDS = (1, 2, 4, 8, 16), 7, 1.5


def compare(name: str, stage: Stage) -> None:
    for parameter in stage.loss_module.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)      # the zeros of a new network would spare work
    runs, count = {}, max(2, int(SECONDS / stage.seconds_per_step()))
    for pieces in PIECES:
        stage.pieces = pieces
        runs[pieces] = stage.run(10**6)
        next(runs[pieces])
    times: dict[int, list[float]] = {pieces: [] for pieces in PIECES}
    for _ in range(ROUNDS):
        for pieces, run in runs.items():
            began = time.perf_counter()
            for _ in range(count):
                next(run)
            times[pieces].append((time.perf_counter() - began) / count)
    for pieces, found in times.items():
        faster = statistics.median(whole / own for whole, own in zip(times[1], found, strict=True))
        print(f"{name:24} {pieces:2} pieces: {statistics.median(found):.4f} s a step ({faster:.2f}x)", flush=True)


def main() -> None:
    prepare_torch("cpu")
    train, _ = load("mnist")
    for name in sys.argv[1:] or ("mnist", "mnist-fast"):
        recipe = find_recipe(name)()
        first = autoencoder_stage(recipe, train.images)
        autoencoder = first.loss_module.autoencoder
        latents = torch.randn(20_000, autoencoder.tokens, autoencoder.latent_channels)
        compare(f"{name}, autoencoder", first)
        compare(f"{name}, denoiser", denoiser_stage(recipe, latents, labels=train.labels[:20_000]))


if __name__ == "__main__":
    main()
