"""Is another SHIFT of the shifted timestep spacing better? Samples of the same seeds with several.

    python benchmarks/shift.py [IMAGES] [FIRST_SEED]

Generates IMAGES (500) of the bundled model with every sampler, number of steps and shift. Prints
the visited timesteps, the Frechet distance to the test set, half its 95 % interval, and the
difference from SHIFT = 3 with the same sampler and steps: its mean over 10 disjoint batches, and
half the interval of that mean. That interval is narrower, because the seeds are the same.
"""

import sys

import torch

from nanoldm.data import load
from nanoldm.diffusion import timesteps
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.intervals import BATCHES, QUANTILE, shuffled
from nanoldm.evaluation.judge import Judge
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.images import to_bytes
from nanoldm.utils.seeding import Stream

SETTINGS = [("dpm++2m", 16), ("dpm++2m", 8), ("dpm++2m", 6)]
SETTINGS += [("dpm++2m", 4), ("ab2", 16), ("ab2", 8)]
SHIFTS = (3.0, 2.0, 5.0, 7.0, 10.0)  # the first is what the others are compared with


def main(n: int = 500, first: int = 0) -> None:
    prepare_torch("cpu")
    model = LatentDiffusion.from_pretrained("mnist")
    judge = Judge(load_features(), *load("mnist"))
    batches = shuffled(n, Stream.BATCHES).chunk(BATCHES)
    for sampler, steps in SETTINGS:
        base = None
        for timesteps.SHIFT in SHIFTS:
            settings = model.choose(sampler=sampler, steps=steps, spacing="shifted")
            images = model.generate(range(first, first + n), settings=settings, progress=True)
            observed = judge.observe(to_bytes(images), nearest=False)
            found = [judge.summarise(observed[batch])["frechet_test"] for batch in batches]
            parts = torch.tensor(found, dtype=torch.float64)
            base = parts if base is None else base
            distance = judge.summarise(observed)["frechet_test"]
            both = (parts, parts - base)
            half, apart = (QUANTILE * each.std().item() / BATCHES**0.5 for each in both)
            print(f"{sampler:8} {steps:3} steps, shift {timesteps.SHIFT:4}: "
                  f"{len(settings.timesteps):3} timesteps, {distance:6.2f} ± {half:.2f}, against "
                  f"shift 3 {(parts - base).mean().item():+.2f} ± {apart:.2f}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
