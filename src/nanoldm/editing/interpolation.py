"""Interpolation and variation: change x_T, then generate with a deterministic sampler."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nanoldm.diffusion.schedule import expand
from nanoldm.editing.edited import Edited, check_one, difference
from nanoldm.editing.inversion import deterministic_settings, invert_images
from nanoldm.pipeline.labels import Labels
from nanoldm.pipeline.latent_diffusion import LatentDiffusion, Seeds
from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import within

MOST_FRAMES = 10_000


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Spherical interpolation between rows (Shoemake 1985, section 3.3).

        sin((1 - share) angle) / sin(angle) a + sin(share angle) / sin(angle) b

    a, b: (B, ...) -> (B, ...). share: 0 is a, 1 is b. angle: between a and b. If a and b are from
    N(0, I), so is every result; a straight line would give shorter vectors.
    """
    if share in (0, 1):
        return a if share == 0 else b
    rows = (x.flatten(1).cpu().double() for x in (a, b))  # Apple GPUs have no float64
    angle = F.cosine_similarity(*rows, dim=1).clamp(-1, 1).acos()
    straight = angle.sin() < 1e-6

    def weight(part: float) -> Tensor:
        """sin(part angle) / sin(angle), or its limit where the angle is 0."""
        found = torch.where(straight, part, (part * angle).sin() / angle.sin())
        return expand(found.to(a), a)

    return weight(1 - share) * a + weight(share) * b


def interpolate(model: LatentDiffusion, ends: Sequence[int] | Tensor, frames: int = 9,
                label: int | str = -1, progress: bool = False, **settings: Any) -> Edited:
    """Images between two ends by slerp of their x_T (DDIM: arXiv 2010.02502, section 5.3).

    ends: two seeds, or two images (2, C, S, S), which are inverted without a label.
    frames: 2 or more, both ends included.
    label: of all frames.
    settings: sampling settings (default: all timesteps of ddim).
    Raises InputError for other ends and frames, and for samplers that add noise.
    """
    if len(ends) != 2:
        raise InputError(f"{len(ends)} ends: give two seeds, such as 3 and 7, or two images")
    within("frames", frames, 2, MOST_FRAMES)
    inverting = isinstance(ends, Tensor)
    chosen = deterministic_settings(model, inverting, **settings)
    x_T = (invert_images(model, ends, chosen, progress=progress) if inverting
           else model.noise(ends))
    path = torch.cat([slerp(x_T[:1], x_T[1:], k / (frames - 1)) for k in range(frames)])
    images = model.generate(frames, label, x_T=path, progress=progress, settings=chosen)
    moved = (images[1:] - images[:-1]).square().mean((1, 2, 3))
    errors = {"from frame to frame, mean": moved.mean().item(),
              "from frame to frame, largest": moved.max().item(),
              "largest / mean (1: even)": (moved.max() / moved.mean()).item()}
    if inverting:
        for name, k in (("first", 0), ("last", -1)):
            errors[f"{name} frame, from its input"] = difference(images[k], ends[k])
        copies = model.reconstruct(ends)
        errors["reconstruction of the inputs (the floor)"] = difference(copies, ends)
    return Edited(images, errors, {"from one end to the other": images})


def vary(model: LatentDiffusion, image: Tensor, strength: float, seeds: Seeds, labels: Labels = -1,
         progress: bool = False, **settings: Any) -> Edited:
    """Variations of one image: its x_T, moved by slerp towards the x_T of each seed.

    img2img keeps coarse shapes and generates details; here all features change together.
    strength: 0 is the image, 1 is the image of the seed.
    labels: of the variations; the inversion has none.
    settings: sampling settings (default: all timesteps of ddim).
    """
    check_one(image)
    if not 0 <= strength <= 1:
        raise InputError(f"strength {strength:g}: choose a number from 0 (the image itself) to 1 "
                         "(another image)")
    chosen = deterministic_settings(model, **settings)
    x_T, fresh = invert_images(model, image, chosen, progress=progress), model.noise(seeds)
    start = slerp(x_T.expand_as(fresh), fresh, strength)
    images = model.generate(seeds, labels, x_T=start, progress=progress, settings=chosen)
    copy = model.reconstruct(image)
    errors = {"variations, from the input": difference(images, image),
              "variations, from their mean (spread)": images.var(0, correction=0).mean().item(),
              "reconstruction, from the input (the floor)": difference(copy, image)}
    shown = {"input": image, "reconstruction": copy}
    return Edited(images, errors, shown | {f"variations of strength {strength:g}": images})
