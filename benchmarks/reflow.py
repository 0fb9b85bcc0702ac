"""Two ways to train a student on the same pairs of noise and images of its teacher.

    nanoldm distill mnist-fast --passes 2 --out runs/two
    python benchmarks/reflow.py runs/two

`distill` trains the passes as they are sampled (DistillationLoss). Reflow (Liu et al. 2022, arXiv
2209.03003) trains the same network with the usual DenoisingLoss, on noise and images that belong
together: 0.3 of the timesteps are the noisiest one, 0.15 that of each later pass, the others are
uniform.
Prints the Frechet distance of both and of the teacher.
"""

from copy import deepcopy
from pathlib import Path

import torch
import tyro

from nanoldm.data import load
from nanoldm.diffusion import DenoisingLoss
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import Judge
from nanoldm.experiments.run_checks import read_recipe
from nanoldm.experiments.stage import Stage
from nanoldm.experiments.student import HELD_OUT, load_teacher
from nanoldm.pipeline.folders import RunFolder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.training.batches import batch_indices
from nanoldm.utils.files import load_tensors
from nanoldm.utils.images import to_bytes
from nanoldm.utils.seeding import Stream, generator

NOISIEST, OTHERS = 0.3, 0.15  # shares of the timesteps


def reflow_batches(pairs: dict[str, torch.Tensor], timesteps: tuple[int, ...], batch_size: int):
    count = len(pairs["x0"]) - HELD_OUT
    for step, index in batch_indices(count, batch_size, 0):
        stream = generator(0, Stream.NOISE, step)
        kind = torch.rand(len(index), generator=stream)
        t = torch.randint(timesteps[0] + 1, (len(index),), generator=stream)
        t[kind < NOISIEST] = timesteps[0]
        for k, own in enumerate(timesteps[1:], 1):
            t[(kind > 1 - k * OTHERS) & (kind <= 1 - (k - 1) * OTHERS)] = own
        yield {"x0": pairs["x0"][index], "t": t, "eps": pairs["x_T"][index],
               "label": pairs["labels"][index]}


def main(run: tyro.conf.Positional[Path], steps: int = 1500, images: int = 5000) -> None:
    folder = RunFolder(run)
    recipe, student = read_recipe(folder.recipe), LatentDiffusion.from_pretrained(run)
    teacher = load_teacher(recipe, "cpu")
    train, test = load("mnist")
    judge = Judge(load_features(), train, test, progress=True)

    def report(name: str, model: LatentDiffusion) -> None:
        seen = judge.observe(to_bytes(model.generate(range(images))), nearest=False)
        print(f"{name}: {judge.to_test(seen)['frechet_test']:.3f}", flush=True)

    report("teacher", teacher)
    report("student", student)
    denoiser = deepcopy(teacher.denoiser).requires_grad_(True)
    stage = Stage("reflow", DenoisingLoss(denoiser), recipe.training, 0,
                  denoiser.network.matrices())
    pairs, _ = load_tensors(folder.checkpoint("pairs"))
    timesteps = student.choose().timesteps
    stage.batches = lambda start: reflow_batches(pairs, timesteps, recipe.training.batch_size)
    for _ in stage.run(steps):
        pass
    student.denoiser = stage.averaged.denoiser.eval()
    report(f"reflow, {steps} steps", student)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
