"""What `nanoldm sample` and `nanoldm denoise` do: a model in, pictures and arrays out."""

from pathlib import Path

import torch
from tqdm.auto import tqdm

from nanoldm.data.npz import save_npz
from nanoldm.experiments.stages import known
from nanoldm.pipeline.labels import in_turn
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.own_images import own_test_set
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils import images as pictures
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float
from nanoldm.utils.paths import check_apart, check_target

GRID_LIMIT = 1024           # images in a grid that still can be looked at
TRAJECTORY_LIMIT = 64


def draw(model: str, seeds: list[int], labels: list[int] | None, sampling: Sampling, out: Path, npz: Path | None, trajectory: Path | None,
         device: torch.device) -> None:
    """Sample images and write a grid to `out`; the numbers to `npz` and the way there to `trajectory`, where given.

    labels: the images take them in turn, and each has a row of its own in the grid.
    """
    check_target(out, *pictures.FORMATS)
    check_apart(out, trajectory)
    if trajectory:
        check_target(trajectory, ".gif")
    if npz:
        check_target(npz, ".npz")
    pipeline = LatentDiffusion.from_pretrained(model, device)
    steps = count_steps(pipeline, sampling)
    turns = in_turn(labels, len(seeds))
    images = pipeline.generate(seeds, **vars(sampling), labels=turns, progress=True)
    pictures.save(pictures.grid(images[:GRID_LIMIT], rows=len(labels) if labels and len(labels) > 1 else None), out)
    print(f"wrote {out}: {len(images[:GRID_LIMIT])} images" + (f" (the first of {len(images)})" if len(images) > GRID_LIMIT else ""))
    if npz:
        drawn = pipeline.labels(seeds, turns)
        save_npz(npz, images, **({} if drawn is None else {"labels": drawn.numpy()}))
        print(f"wrote {npz}: {len(images)} images")
    if trajectory:
        shown = seeds[:TRAJECTORY_LIMIT]
        frames = [pictures.captioned([("x_t", pictures.grid(x)), ("estimate of x0", pictures.grid(x0))], across=True)
                  for x, x0 in tqdm(pipeline.trajectory(shown, **vars(sampling), labels=turns and turns[:TRAJECTORY_LIMIT]),
                                    desc="trajectory", total=steps, unit="step", delay=1)]
        pictures.save_gif(frames, trajectory)
        print(f"wrote {trajectory}: {len(frames)} steps of {len(shown)} images")


def count_steps(pipeline: LatentDiffusion, sampling: Sampling, start: int | None = None) -> int:
    """How many timesteps are visited. Says so where the grid merges some of the steps."""
    steps = len(pipeline.timesteps(sampling, start))
    asked = sampling.steps or (pipeline.denoiser.schedule.timesteps if start is None else start + 1)
    if steps < asked:
        print(f"note: {asked} steps of the {sampling.grid} grid fall on {steps} different timesteps")
    return steps


def denoise_test_images(model: str, t: int, seeds: list[int], sampling: Sampling, out: Path, device: torch.device) -> None:
    """Noise the first test images of the model's own data to timestep t, denoise them, and write the comparison to `out`."""
    check_target(out, *pictures.FORMATS)
    pipeline = LatentDiffusion.from_pretrained(model, device)
    test = own_test_set(model)
    images, labels = to_float(test.images[: len(seeds)]), known(test.labels[: len(seeds)], pipeline.denoiser.classes)
    if len(images) < len(seeds):
        raise InputError(f"--n {len(seeds)}: the model has only {len(images)} test images")
    if 0 <= t < pipeline.denoiser.schedule.timesteps:
        count_steps(pipeline, sampling, t)
    noised, result = pipeline.denoise_from(images, t, seeds, labels=labels, **vars(sampling), progress=True)
    rows = {"test images": images, "reconstructed": pipeline.reconstruct(images), f"noised to t = {t}": noised, "denoised": result}
    pictures.save(pictures.captioned((caption, pictures.grid(part, min(16, len(part)))) for caption, part in rows.items()), out)
    print(f"wrote {out}: {len(images)} test images, noised to t = {t} and denoised")
