"""What the editing commands do: image files in, a picture and figures out."""

import math
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from nanoldm import editing, pictures
from nanoldm.arrays import save_npz
from nanoldm.data import load, to_float
from nanoldm.editing import Edited
from nanoldm.errors import InputError
from nanoldm.fitting import HALVES, fit_image, fit_mask, open_visible, read_mask
from nanoldm.options import in_turn
from nanoldm.paths import check_apart, check_target, user_path
from nanoldm.pipeline import LatentDiffusion
from nanoldm.runs import data_of
from nanoldm.sampling import Sampling
from nanoldm.use import count_steps

Labels = list[int] | None
COLUMNS = 16


def img2img(model: str, image: str, t: int, seeds: list[int], labels: Labels, sampling: Sampling, out: Path, device: torch.device) -> None:
    pipeline, images = begin(model, [image], device, out)
    if 0 <= t < pipeline.denoiser.schedule.timesteps:
        count_steps(pipeline, sampling, t)
    finish(editing.img2img(pipeline, images, t, seeds, labels=turns(labels, seeds), **vars(sampling), progress=True), out)


def inpaint(model: str, image: str, mask: str, seeds: list[int], labels: Labels, sampling: Sampling, out: Path,
            device: torch.device) -> None:
    pipeline, images = begin(model, [image], device, out, user_path(mask))
    painted, what = fit_mask(mask, images.shape[-1]), f"the {mask} half" if mask in HALVES else read_mask(mask)[1]
    print(f"mask {mask}: {painted.float().mean():.0%} of the pixels to be painted, {what}")
    if sampling.steps:
        count_steps(pipeline, sampling)
    finish(editing.inpaint(pipeline, images, painted, seeds, labels=turns(labels, seeds), **vars(sampling), progress=True), out)


def interpolate(model: str, seeds: list[int] | None, images: list[str] | None, frames: int, label: int, sampling: Sampling, out: Path,
                gif: Path | None, device: torch.device) -> None:
    if gif:
        check_target(gif, ".gif")
    pipeline, ends = begin(model, images or [], device, out, gif)
    count_steps(pipeline, sampling)
    edited = editing.interpolate(pipeline, seeds or ends, frames, label=label, **vars(sampling), progress=True)
    finish(edited, out)
    if gif:
        there = [pictures.grid(image[None]) for image in edited.images]
        pictures.save_gif(there + there[-2::-1], gif, milliseconds=100, hold=500)
        print(f"wrote {gif}: {frames} frames, there and back")


def invert(model: str, image: str, iterations: int, sampling: Sampling, out: Path, npz: Path | None, device: torch.device) -> None:
    if npz:
        check_target(npz, ".npz")
    pipeline, images = begin(model, [image], device, out)
    count_steps(pipeline, sampling)
    x_T, edited = editing.invert(pipeline, images, iterations=iterations, **vars(sampling), progress=True)
    finish(edited, out)
    if npz:
        save_npz(npz, edited.images, x_T=x_T.cpu().numpy())
        print(f"wrote {npz}: x_T {tuple(x_T.shape)}, and `images` drawn from it")


def vary(model: str, image: str, strength: float, seeds: list[int], labels: Labels, sampling: Sampling, out: Path,
         device: torch.device) -> None:
    pipeline, images = begin(model, [image], device, out)
    count_steps(pipeline, sampling)
    finish(editing.vary(pipeline, images, strength, seeds, labels=turns(labels, seeds), **vars(sampling), progress=True), out)


def turns(labels: Labels, seeds: list[int]) -> list[int] | int:
    """A label for each result; none where none are asked for."""
    return in_turn(labels, len(seeds)) or -1


def begin(model: str, names: list[str], device: torch.device, out: Path, other: Path | None = None) -> tuple[LatentDiffusion, Tensor]:
    """The model, and the images that are named, as it draws them (N, C, S, S). Raises InputError before any work if `out` is no picture,
    or is one of the images or the `other` file of the command."""
    check_target(out, *pictures.FORMATS)
    files = [user_path(name) for name in names if not name.startswith("test:")]
    for file in [*files, other]:
        check_apart(file, out)
    pipeline = LatentDiffusion.from_pretrained(model, device)
    for file in files:
        open_visible(file)          # refused before any work
    look = cache(lambda: pipeline.generate(range(16), labels=-1, **pipeline.fast))
    return pipeline, torch.cat([read(model, name, look) for name in names]) if names else torch.empty(0)


def read(model: str, name: str, look: Callable[[], Tensor]) -> Tensor:
    """A file, fitted to images as the model draws them, look(), with a message printed that says how; or "test:3", "test:0-15": test images
    of the model's own data."""
    if not name.startswith("test:"):
        image, done = fit_image(user_path(name), look())
        print(done)
        return image
    numbers = re.fullmatch(r"test:([0-9]{1,9})(?:-([0-9]{1,9}))?", name)
    if not numbers:
        raise InputError(f"{name}: give the number of a test image, such as test:3, or several, such as test:0-15")
    first, last = int(numbers[1]), int(numbers[2] or numbers[1])
    if last < first:
        raise InputError(f"{name}: count upwards, such as test:{last}-{first}")
    data = data_of(model)
    test = load(data.name, data.size, data.holdout)[1].images
    if not first <= last < len(test):
        raise InputError(f"{name}: {data.name} has test images 0 to {len(test) - 1}")
    return to_float(test[first : last + 1])


def finish(edited: Edited, out: Path) -> None:
    """Print the errors, write the picture: parts of few images side by side, longer rows one below the other."""
    print("mean squared differences, pixels from 0 to 1:")
    for name, value in edited.errors.items():
        print(f"  {name}: {value:.3g}")
    across = any(len(part) == 1 for part in edited.shown.values())
    parts = [(caption, pictures.grid(part, -(-len(part) // math.isqrt(len(part))) if across else COLUMNS))
             for caption, part in edited.shown.items()]
    pictures.save(pictures.captioned(parts, across), out)
    print(f"wrote {out}: {len(edited.images)} image{'s' * (len(edited.images) > 1)}")
