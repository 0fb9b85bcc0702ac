"""What `nanoldm sample` and `nanoldm denoise` do: a model in, pictures and arrays out."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from nanoldm import pictures
from nanoldm.data import load, to_float
from nanoldm.errors import InputError
from nanoldm.files import check_target, read_json, replacing
from nanoldm.pipeline import LatentDiffusion
from nanoldm.recipes import Data
from nanoldm.runs import find_model

GRID_LIMIT = 1024           # images in a grid that still can be looked at
TRAJECTORY_LIMIT = 64


def draw(model: str, seeds: list[int], steps: int | None, clamp: bool, out: Path, npz: Path | None, trajectory: Path | None,
         device: torch.device) -> None:
    """Sample images and write a grid to `out`; the numbers to `npz` and the way there to `trajectory`, where given."""
    check_target(out, *pictures.FORMATS)
    if trajectory:
        check_target(trajectory, ".gif")
    if npz:
        check_target(npz, ".npz")
    pipeline = LatentDiffusion.from_pretrained(model, device)
    images = pipeline.generate(seeds, steps, clamp=clamp, progress=True)
    pictures.save(pictures.grid(images[:GRID_LIMIT]), out)
    print(f"wrote {out}: {len(images[:GRID_LIMIT])} images" + (f" (the first of {len(images)})" if len(images) > GRID_LIMIT else ""))
    if npz:
        save_npz(npz, images)
        print(f"wrote {npz}: {len(images)} images")
    if trajectory:
        shown, count = seeds[:TRAJECTORY_LIMIT], steps or pipeline.denoiser.schedule.timesteps
        frames = [pictures.captioned([("x_t", pictures.grid(x)), ("estimate of x0", pictures.grid(x0))], across=True)
                  for x, x0 in tqdm(pipeline.trajectory(shown, steps, clamp=clamp), desc="trajectory", total=count, unit="step", delay=1)]
        pictures.save_gif(frames, trajectory)
        print(f"wrote {trajectory}: {len(frames)} steps of {len(shown)} images")


def save_npz(path: Path, images: Tensor) -> None:
    """Array `images`: uint8 (N, S, S), or (N, S, S, 3) for colour."""
    pixels = images.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, images=pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def denoise_test_images(model: str, t: int, seeds: list[int], steps: int | None, clamp: bool, out: Path, device: torch.device) -> None:
    """Noise the first test images of the model's own data to timestep t, denoise them, and write the comparison to `out`."""
    check_target(out, *pictures.FORMATS)
    pipeline = LatentDiffusion.from_pretrained(model, device)
    recipe = find_model(model) / "recipe.json"
    data = Data.model_validate(read_json(recipe)["data"]) if recipe.exists() else Data(name="mnist", size=None, holdout=0)
    images = to_float(load(data.name, data.size, data.holdout)[1].images[: len(seeds)])
    if len(images) < len(seeds):
        raise InputError(f"--n {len(seeds)}: {data.name} has only {len(images)} test images")
    noised, result = pipeline.denoise_from(images, t, seeds, steps, clamp=clamp, progress=True)
    rows = {"test images": images, "reconstructed": pipeline.reconstruct(images), f"noised to t = {t}": noised, "denoised": result}
    pictures.save(pictures.captioned((caption, pictures.grid(part, min(16, len(part)))) for caption, part in rows.items()), out)
    print(f"wrote {out}: {len(images)} test images, noised to t = {t} and denoised")
