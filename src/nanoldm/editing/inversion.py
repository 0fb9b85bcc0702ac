"""Inversion: the x_T from which deterministic sampling returns to an image."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.diffusion import ANCESTRAL
from nanoldm.diffusion.inversion import ITERATIONS
from nanoldm.diffusion.inversion import invert as ddim_inversion
from nanoldm.editing.edited import Edited, difference
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling, inversion_settings
from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import within

MOST_ITERATIONS = 1000


def deterministic_settings(model: LatentDiffusion, inverting: bool = True,
                           **settings: Any) -> Sampling:
    """All timesteps of ddim, changed by `settings`.

    Raises InputError for a sampler that adds noise, because one x_T must give one image; and for
    any sampler except ddim if `inverting`, because inversion reverses steps of ddim.
    """
    chosen = model.settings_for(inversion_settings()).changed(**settings)
    if chosen.sampler in ANCESTRAL or chosen.eta:
        raise InputError(f"{chosen.name} adds noise, and one x_T must give one image: choose ddim "
                         "(with eta 0), heun, dpm++2m or ab4")
    if inverting and chosen.sampler != "ddim":
        raise InputError(f"inversion reverses steps of ddim, which {chosen.name} does not follow: "
                         "leave out the sampler")
    return chosen


@torch.no_grad()
def invert_images(model: LatentDiffusion, images: Tensor, settings: Sampling,
                  iterations: int = ITERATIONS, progress: bool = False) -> Tensor:
    """Images (N, C, S, S) -> x_T (N, tokens, channels), without labels and guidance.

    x0 is clamped as in sampling: both directions follow one vector field, and the fixed point does
    not diverge at the noisiest timestep. A latent beyond the clamp cannot be recovered.
    """
    within("iterations", iterations, 1, MOST_ITERATIONS)
    if model.student:
        raise InputError("inversion needs many small steps, and this model is a student: use its "
                         "teacher")
    settings = model.choose(replace(settings, guidance=1.0, guidance_interval=None))
    total, found = len(settings.timesteps) * len(images), []
    options = dict(desc="inverting", unit="step", delay=1, disable=not progress)
    with tqdm(total=total, **options) as bar:
        for part in model.encode(images).split(model.images_per_batch):
            denoise = model.conditioned(settings, model.no_labels(len(part)))
            schedule = model.denoiser.schedule
            for x_t in ddim_inversion(denoise, part, schedule, settings.timesteps, iterations):
                bar.update(len(x_t))
            found.append(x_t)
    return torch.cat(found)


@torch.no_grad()
def invert(model: LatentDiffusion, images: Tensor, iterations: int = ITERATIONS,
           progress: bool = False, **settings: Any) -> tuple[Tensor, Edited]:
    """Images (N, C, S, S) -> (x_T (N, tokens, channels), the images generated from it).

    Both directions are without labels. The errors measure how exact the inversion is.
    iterations: network evaluations per step; more than 3 rarely help (docs/editing.md).
    settings: sampling settings (default: all timesteps of ddim).
    """
    chosen = deterministic_settings(model, **settings)
    if chosen.guidance != 1:
        raise InputError("inversion uses no labels, so guidance has no effect: remove guidance")
    x_T = invert_images(model, images, chosen, iterations, progress)
    chosen, parts = model.choose(chosen), []
    for part in x_T.split(model.images_per_batch):
        *_, (x, _) = model.sample(range(len(part)), model.no_labels(len(part)), chosen, part)
        parts.append(x)
    latents = torch.cat(parts)
    back, copy = model.decode(latents), model.reconstruct(images)
    errors = {"there and back, latents": difference(latents, model.encode(images)),
              "there and back, from the reconstruction": difference(back, copy),
              "there and back, from the input": difference(back, images),
              "reconstruction, from the input (the floor)": difference(copy, images)}
    return x_T, Edited(back, errors,
                       {"input": images, "reconstruction": copy, "there and back": back})
