"""What the editing commands do: image files in, a picture and figures out."""

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nanoldm import editing
from nanoldm.cli.use import count_steps
from nanoldm.data.npz import save_npz
from nanoldm.editing import Edited
from nanoldm.editing.masks import fit_mask
from nanoldm.editing.photo import Fitted, fit_image, open_visible
from nanoldm.pipeline.labels import in_turn
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.own_images import own_test_set
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils import images as pictures
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float
from nanoldm.utils.paths import check_apart, check_target, user_path

Labels = list[int] | None
COLUMNS = 16


class Given(NamedTuple):
    """Images as a command names them: files, or such as test:3; for files, whether they are fitted, and with the other polarity."""

    names: Sequence[str]
    fit: bool = True
    invert: bool = False


def img2img(model: str, image: Given, t: int, seeds: list[int], labels: Labels, sampling: Sampling, out: Path,
            device: torch.device) -> None:
    pipeline, images, _ = begin(model, image, device, out)
    if 0 <= t < pipeline.denoiser.schedule.timesteps:
        count_steps(pipeline, sampling, t)
    finish(editing.img2img(pipeline, images, t, seeds, labels=turns(labels, seeds), **vars(sampling), progress=True), out)


def inpaint(model: str, image: Given, mask: str, seeds: list[int], labels: Labels, sampling: Sampling, out: Path,
            device: torch.device) -> None:
    pipeline, images, picture = begin(model, image, device, out, user_path(mask))
    painted, done = fit_mask(mask, images.shape[-1], picture)
    print(done)
    if sampling.steps:
        count_steps(pipeline, sampling)
    finish(editing.inpaint(pipeline, images, painted, seeds, labels=turns(labels, seeds), **vars(sampling), progress=True), out)


def interpolate(model: str, seeds: list[int] | None, images: Given, frames: int, label: int, sampling: Sampling, out: Path,
                gif: Path | None, device: torch.device) -> None:
    if gif:
        check_target(gif, ".gif")
    pipeline, ends, _ = begin(model, images, device, out, gif)
    count_steps(pipeline, sampling)
    edited = editing.interpolate(pipeline, seeds or ends, frames, label=label, **vars(sampling), progress=True)
    finish(edited, out)
    if gif:
        there = [pictures.grid(image[None]) for image in edited.images]
        pictures.save_gif(there + there[-2::-1], gif, milliseconds=100, hold=500)
        print(f"wrote {gif}: {frames} frames, there and back")


def invert(model: str, image: Given, iterations: int, sampling: Sampling, out: Path, npz: Path | None, device: torch.device) -> None:
    if npz:
        check_target(npz, ".npz")
    pipeline, images, _ = begin(model, image, device, out)
    count_steps(pipeline, sampling)
    x_T, edited = editing.invert(pipeline, images, iterations=iterations, **vars(sampling), progress=True)
    finish(edited, out)
    if npz:
        save_npz(npz, edited.images, x_T=x_T.cpu().numpy())
        print(f"wrote {npz}: x_T {tuple(x_T.shape)}, and `images` drawn from it")


def vary(model: str, image: Given, strength: float, seeds: list[int], labels: Labels, sampling: Sampling, out: Path,
         device: torch.device) -> None:
    pipeline, images, _ = begin(model, image, device, out)
    count_steps(pipeline, sampling)
    finish(editing.vary(pipeline, images, strength, seeds, labels=turns(labels, seeds), **vars(sampling), progress=True), out)


def turns(labels: Labels, seeds: list[int]) -> list[int] | int:
    """A label for each result; none where none are asked for."""
    return in_turn(labels, len(seeds)) or -1


def begin(model: str, given: Given, device: torch.device, out: Path,
          other: Path | None = None) -> tuple[LatentDiffusion, Tensor, Fitted | None]:
    """(the model; the images that are given, as it draws them (N, C, S, S); how the first was fitted, if it is a file).

    Raises InputError before any work if `out` is no picture, or is one of the images or the `other` file of the command.
    """
    check_target(out, *pictures.FORMATS)
    files = [user_path(name) for name in given.names if not name.startswith("test:")]
    for file in [*files, other]:
        check_apart(file, out)
    pipeline = LatentDiffusion.from_pretrained(model, device)
    for file in files:
        open_visible(file)          # refused before any work
    look = cache(lambda: pipeline.generate(range(16), labels=-1, **pipeline.fast))
    fitted = [None if name.startswith("test:") else fit_image(user_path(name), look(), fit=given.fit, invert=given.invert)
              for name in given.names]
    for one in fitted:
        if one:
            print(one.done + (" (not as you want it? --no-fit, --invert)" if given == Given(given.names) else ""))
    images = [one.image if one else test_images(model, name) for one, name in zip(fitted, given.names, strict=True)]
    return pipeline, torch.cat(images) if images else torch.empty(0), next(iter(fitted), None)


def test_images(model: str, name: str) -> Tensor:
    """"test:3", "test:0-15": test images of the model's own data."""
    numbers = re.fullmatch(r"test:([0-9]{1,9})(?:-([0-9]{1,9}))?", name)
    if not numbers:
        raise InputError(f"{name}: give the number of a test image, such as test:3, or several, such as test:0-15")
    first, last = int(numbers[1]), int(numbers[2] or numbers[1])
    if last < first:
        raise InputError(f"{name}: count upwards, such as test:{last}-{first}")
    test = own_test_set(model).images
    if not first <= last < len(test):
        raise InputError(f"{name}: the model has test images 0 to {len(test) - 1}")
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
