"""Edits by way of x_T: back to the noise that an image would have come from, from there somewhere else, and forward again.

Deterministic samplers only, since what belongs to one x_T must be one image; ddim alone where an image is inverted.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from nanoldm.diffusion import ANCESTRAL
from nanoldm.diffusion.inversion import invert as climb
from nanoldm.diffusion.schedule import expand
from nanoldm.editing.edited import Edited, check_one, difference
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import short, within

MOST_ITERATIONS, MOST_FRAMES = 1000, 10_000
ITERATIONS = 3              # of the fixed point in each step of an inversion


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Spherical interpolation between rows (Shoemake 1985, section 3.3); share 0 is a, 1 is b. (B, ...), (B, ...) -> (B, ...)

        sin((1 - share) angle) / sin(angle) a + sin(share angle) / sin(angle) b        angle: between a and b

    Where a and b are draws from N(0, I), so is every point on the way; a straight line would pass through shorter vectors.
    """
    cosine = F.cosine_similarity(*(x.flatten(1).cpu().double() for x in (a, b)), dim=1).clamp(-1, 1)      # Apple's GPUs have no float64
    angle = cosine.acos()
    if share in (0, 1):
        return a if share == 0 else b
    straight = angle.sin() < 1e-6
    weights = (torch.where(straight, part, (part * angle).sin() / angle.sin()) for part in (1 - share, share))
    return sum(expand(weight.to(x), x) * x for weight, x in zip(weights, (a, b), strict=True))


def deterministic(sampling: dict[str, Any], inverting: bool = True) -> dict[str, Any]:
    """The settings, with ddim where no sampler is named. Raises InputError for a sampler that draws noise on the way, and for any but ddim
    where an image is inverted, which undoes steps of ddim."""
    sampling = {**sampling, "sampler": sampling.get("sampler") or "ddim"}
    if sampling["sampler"] in ANCESTRAL or sampling.get("eta"):
        raise InputError(f"{sampling['sampler']} draws noise on the way, and one x_T must lead to one image: "
                         "choose ddim (with eta 0), heun, dpm++2m or ab4")
    if inverting and sampling["sampler"] != "ddim":
        raise InputError(f"inversion undoes steps of ddim, and {sampling['sampler']} would not lead back: leave out --sampler and --fast")
    return sampling


def bare(steps: int | None, sampling: dict[str, Any]) -> Sampling:
    """The settings of a way without labels, on which guidance has nothing to do."""
    settings = {name: value for name, value in sampling.items() if name not in ("progress", "batch_size")}
    return Sampling(steps=steps, **settings | {"guidance": 1.0, "guidance_interval": None})


@torch.no_grad()
def inverted(model: LatentDiffusion, images: Tensor, steps: int | None, sampling: dict[str, Any], iterations: int = ITERATIONS) -> Tensor:
    """The x_T (N, tokens, channels) from which ddim, with the same steps and grid, leads back to the images (`diffusion/inversion.py`).

    x0 is clamped, as in sampling, so that both ways follow one field. Without it the fixed point diverges: at the noisiest timestep an
    error of eps becomes one of x0 that is 2,000 times as large. The price: a latent beyond the clamp cannot come back.
    """
    if iterations < 1:
        raise InputError(f"--iterations {short(iterations)}: at least 1 is needed")
    within("--iterations", iterations, 1, MOST_ITERATIONS)
    settings, found = bare(steps, sampling), []
    timesteps = model.timesteps(settings)
    with tqdm(desc="inverting", total=len(timesteps) * len(images), unit="step", delay=1, disable=not sampling.get("progress")) as bar:
        for part in model.encode(images).split(model.batch_size):
            denoise = model.prepared(settings, model.labels(range(len(part)), -1))
            for x_t in climb(denoise, part, model.denoiser.schedule, timesteps, iterations):
                bar.update(len(x_t))
            found.append(x_t)
    return torch.cat(found)


@torch.no_grad()
def invert(model: LatentDiffusion, images: Tensor, steps: int | None = None, iterations: int = ITERATIONS,
           **sampling: Any) -> tuple[Tensor, Edited]:
    """Images (N, C, S, S) -> (x_T (N, tokens, channels), what comes back from it). Without labels, both ways.

    The way back is `generate` of x_T=x_T with labels=-1 and the same settings.
    The errors say how exact it is, beside what the autoencoder alone loses.
    iterations: network passes in each step of the inversion; few and many are worse than 3 (README, "Editing").
    """
    sampling = deterministic(sampling)
    if sampling.get("guidance", 1.0) != 1:
        raise InputError("inversion goes without labels, on which guidance has nothing to do: leave out the guidance scale")
    x_T = inverted(model, images, steps, sampling, iterations)
    settings, schedule, parts = bare(steps, sampling), model.denoiser.schedule, []
    for part in x_T.split(model.batch_size):
        denoise = model.prepared(settings, model.labels(range(len(part)), -1))
        *_, (x, _) = settings.function(schedule)(denoise, part, schedule, model.timesteps(settings), lambda: x_T)     # asked for no noise
        parts.append(x)
    latents = torch.cat(parts)
    back, copy = model.decode(latents), model.reconstruct(images)
    return x_T, Edited(back, {"there and back, latents": difference(latents, model.encode(images)),
                              "there and back, from the reconstruction": difference(back, copy),
                              "there and back, from the input": difference(back, images),
                              "reconstruction, from the input (the floor)": difference(copy, images)},
                       {"input": images, "reconstruction": copy, "there and back": back})


def interpolate(model: LatentDiffusion, ends: Sequence[int] | Tensor, frames: int = 9, steps: int | None = None, label: int = -1,
                **sampling: Any) -> Edited:
    """From one image to another by slerp of their x_T (DDIM: arXiv 2010.02502, section 5.3).

    ends: two seeds, whose x_T `generate` draws; or two images (2, C, S, S), which are inverted, without label. label: the class of all
    frames, if the model knows classes (default: none). Raises InputError for anything but two ends and two or more frames.
    """
    if len(ends) != 2:
        raise InputError(f"{len(ends)} ends: an interpolation has two, such as --seeds 3,7")
    if frames < 2:
        raise InputError(f"--frames {short(frames)}: at least 2 are needed, the two ends")
    within("--frames", frames, 2, MOST_FRAMES)
    given = isinstance(ends, Tensor)
    sampling = deterministic(sampling, inverting=given)
    x_T = inverted(model, ends, steps, sampling) if given else model.noise(ends)
    way = torch.cat([slerp(x_T[:1], x_T[1:], k / (frames - 1)) for k in range(frames)])
    images = model.generate(range(frames), steps, labels=label, x_T=way, **sampling)
    moved = (images[1:] - images[:-1]).square().mean((1, 2, 3))
    errors = {"from frame to frame, mean": moved.mean().item(), "from frame to frame, largest": moved.max().item(),
              "largest / mean (1: even)": (moved.max() / moved.mean()).item()}
    if given:
        both = images[[0, -1]]
        errors |= {f"{name} frame, from its input": difference(frame, end)
                   for name, frame, end in zip(("first", "last"), both, ends, strict=True)}
        errors["reconstruction of the inputs (the floor)"] = difference(model.reconstruct(ends), ends)
    return Edited(images, errors, {"from one to the other": images})


def vary(model: LatentDiffusion, image: Tensor, strength: float, seeds: Sequence[int], steps: int | None = None,
         labels: int | Sequence[int] = -1, **sampling: Any) -> Edited:
    """Variations of one image: its x_T, turned by `strength` (0: the image, 1: quite another) of the way to each seed's own x_T.

    Where img2img keeps the coarse shape and redraws what noise t has hidden, here all of x_T turns a little: shape, slant and stroke change
    together, and continuously with `strength`. labels: of the variations, if the model knows classes (default: none); the way back to
    x_T has none.
    """
    check_one(image)
    if not 0 <= strength <= 1:
        raise InputError(f"--strength {strength:g}: choose a number from 0 (the image itself) to 1 (another image)")
    sampling = deterministic(sampling)
    x_T, fresh = inverted(model, image, steps, sampling), model.noise(seeds)
    images = model.generate(seeds, steps, labels=labels, x_T=slerp(x_T.expand_as(fresh), fresh, strength), **sampling)
    copy = model.reconstruct(image)
    return Edited(images, {"variations, from the input": difference(images, image),
                           "variations, from their mean (spread)": images.var(0, correction=0).mean().item(),
                           "reconstruction, from the input (the floor)": difference(copy, image)},
                  {"input": image, "reconstruction": copy, f"variations of strength {strength:g}": images})
