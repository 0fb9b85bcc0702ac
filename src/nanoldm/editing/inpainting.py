"""Edits that keep what an image shows, or a part of it, and draw the rest anew."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nanoldm.diffusion import Estimate
from nanoldm.diffusion.schedule import expand
from nanoldm.editing.edited import Edited, check_one, difference
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.errors import InputError

STEPS = 20      # of inpainting


def img2img(model: LatentDiffusion, image: Tensor, t: int, seeds: Sequence[int], steps: int | None = None, **sampling: Any) -> Edited:
    """Noise one image's latents to timestep t and denoise them, once for each seed (SDEdit: Meng et al. 2021, arXiv 2108.01073).

    labels=7 (or one for each seed) turns it towards a class, if the model knows classes.
    """
    check_one(image)
    noised, images = model.denoise_from(image.expand(len(seeds), -1, -1, -1), t, seeds, steps, **sampling)
    copy = model.reconstruct(image)
    return Edited(images, {"results, from the input": difference(images, image), "reconstruction (the floor)": difference(copy, image)},
                  {"input": image, "reconstruction": copy, f"noised to t = {t}": noised, "results": images})


class Known(nn.Module):
    """A denoiser that is told some pixels: its x0 is decoded, the known pixels are pasted, and what the encoder makes of that is x0.

    Only tokens that see a known pixel are replaced; eps is re-derived, so that x_t = alpha x0 + sigma eps still holds and any sampler
    works. As in RePaint (Lugmayr et al. 2022, arXiv 2201.09865, eq. 8) known latents follow the forward process, but with one noise all
    the way instead of a fresh one at each step. Tokens on the edge of the mask get latents that fit both of its sides; to replace
    only tokens whose pixels are all known, by latents made beforehand, fits much worse (benchmarks/RESULTS.md).
    """

    def __init__(self, denoiser: nn.Module, model: LatentDiffusion, image: Tensor, mask: Tensor):
        super().__init__()
        self.denoiser, self.schedule, self.autoencoder = denoiser, denoiser.schedule, model.autoencoder
        self.image, self.mask = image.to(model.device), mask.to(model.device)
        self.touched = self.autoencoder.sees(~self.mask)                                      # (1, tokens, 1)

    def forward(self, x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        x0 = self.denoiser(x_t, t).x0
        pasted = torch.where(self.mask, self.autoencoder.decode(x0).sigmoid(), self.image)
        x0 = torch.where(self.touched, self.autoencoder.encode(pasted), x0)
        return Estimate(x0, (x_t - alpha * x0) / sigma)


def inpaint(model: LatentDiffusion, image: Tensor, mask: Tensor, seeds: Sequence[int], steps: int | None = None,
            sampler: str | None = None, grid: str = "shifted", labels: int | Sequence[int] = -1, **sampling: Any) -> Edited:
    """Paint new pixels where `mask` (1, 1, S, S) is True; the others come out bit for bit as they went in. One seed for each result.

    labels: of the results, if the model knows classes (default: none).

    By default 20 steps of ddpm-repaint: better than as many passes of single steps (benchmarks/RESULTS.md). Where the schedule ends
    without signal: ddim.
    Raises InputError for a mask of another shape, or one that leaves nothing to paint or nothing known.
    """
    check_one(image)
    if mask.dtype != torch.bool or mask.shape != (1, 1, *image.shape[-2:]):
        raise InputError(f"the mask is {mask.dtype} {tuple(mask.shape)}: give bool (1, 1, {image.shape[-2]}, {image.shape[-1]})")
    if mask.all() or not mask.any():
        raise InputError("the mask covers everything: leave some pixels black, or draw whole images with nanoldm sample" if mask.any()
                         else "the mask covers nothing: make the pixels white that are to be painted anew")
    schedule = model.denoiser.schedule
    sampling |= {"sampler": sampler or ("ddpm-repaint" if schedule.alpha.all() else "ddim"), "grid": grid,
                 "steps": min(STEPS, schedule.timesteps) if steps is None else steps}
    own = model.generate(seeds, labels=labels, around=lambda denoise: Known(denoise, model, image, mask), **sampling)
    images = torch.where(mask, own, image)
    known, painted = (torch.broadcast_to(part, own.shape) for part in (~mask, mask))
    original = image.expand_as(own)
    copy = model.reconstruct(image)
    return Edited(images, {"known pixels before they are pasted, from the input": difference(own[known], original[known]),
                           "their reconstruction (the floor)": difference(copy[known[:1]], image[known[:1]]),
                           "painted pixels, from the input": difference(own[painted], original[painted])},
                  {"input": image, "to be painted": torch.where(mask, torch.full_like(image, 0.5), image), "results": images})
