"""Would another SHIFT of the shifted grid be better? The same seeds with several, each beside SHIFT = 3, batch by batch.

    python benchmarks/shift.py [IMAGES] [FIRST_SEED]

Draws IMAGES (500) of the bundled model with every SAMPLER, number of steps and shift. Printed: the timesteps that are left, the Frechet
distance to the test set, half its 95 % interval, and the difference from SHIFT = 3 with the same sampler and steps: its mean over 10
disjoint batches and half the interval of that mean, which is narrower than that of a distance because the seeds are the same.
"""

import sys

import torch

from nanoldm.data import load
from nanoldm.diffusion import grids
from nanoldm.evaluation.evaluate import BATCHES, QUANTILE
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import NEAREST, Judge
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.images import to_bytes
from nanoldm.utils.seeding import generator

N, FIRST = (int(sys.argv[k]) if len(sys.argv) > k else default for k, default in ((1, 500), (2, 0)))
SETTINGS = [("dpm++2m", 16), ("dpm++2m", 8), ("dpm++2m", 6), ("dpm++2m", 4), ("ab2", 16), ("ab2", 8)]
SHIFTS = (3.0, 2.0, 5.0, 7.0, 10.0)       # the first is what the others are compared with

prepare_torch("cpu")
model, judge = LatentDiffusion.from_pretrained("mnist"), Judge(load_features(), *load("mnist"), progress=True)
batches = torch.randperm(N, generator=generator(0, 0, 3)).chunk(BATCHES)
for sampler, steps in SETTINGS:
    base = None
    for grids.SHIFT in SHIFTS:
        images = model.generate(range(FIRST, FIRST + N), steps, sampler=sampler, grid="shifted", progress=True)
        observed = judge.observe(to_bytes(images), nearest=False)
        parts = torch.tensor([judge.summarise(observed[batch], NEAREST)["frechet_test"] for batch in batches], dtype=torch.float64)
        base = parts if base is None else base
        distance, left = judge.summarise(observed, NEAREST)["frechet_test"], sampling_timesteps(model.denoiser.schedule, steps, grid="shifted")
        half, apart = (QUANTILE * values.std().item() / BATCHES**0.5 for values in (parts, parts - base))
        print(f"{sampler:8} {steps:3} steps, shift {grids.SHIFT:4}: {len(left):3} timesteps, {distance:6.2f} ± {half:.2f}, "
              f"against shift 3 {(parts - base).mean().item():+.2f} ± {apart:.2f}", flush=True)
