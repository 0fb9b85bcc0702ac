"""Inpainting: generate some pixels of an image and keep the others."""

from typing import Any

import torch
from torch import Tensor, nn

from nanoldm.diffusion import Estimate
from nanoldm.diffusion.schedule import expand
from nanoldm.editing.edited import Edited, check_one, difference
from nanoldm.pipeline.labels import Labels
from nanoldm.pipeline.latent_diffusion import LatentDiffusion, Seeds
from nanoldm.pipeline.settings import inpainting_settings
from nanoldm.utils.errors import InputError


class Known(nn.Module):
    """A denoiser whose x0 agrees with known pixels.

    It decodes x0, replaces the known pixels, and encodes the result. Tokens that depend on a known
    pixel take the new latents, and eps is derived from them, so that any sampler can use it. Known
    latents follow the forward process as in RePaint (Lugmayr et al. 2022, arXiv 2201.09865, eq. 8),
    with one noise for all steps. Tokens at the edge of the mask get latents that fit both sides
    (docs/ablations.md compares this with replacing latents).
    image: (1, C, S, S). mask: bool (1, 1, S, S), True where pixels are unknown.
    """

    def __init__(self, denoiser: nn.Module, model: LatentDiffusion, image: Tensor, mask: Tensor):
        super().__init__()
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.autoencoder = model.autoencoder
        self.image, self.mask = image.to(model.device), mask.to(model.device)
        self.covered = self.autoencoder.tokens_covering(~self.mask)   # (1, tokens, 1)

    def forward(self, x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        x0 = self.denoiser(x_t, t).x0
        pixels = torch.where(self.mask, self.autoencoder.decode(x0).sigmoid(), self.image)
        x0 = torch.where(self.covered, self.autoencoder.encode(pixels), x0)
        return Estimate.from_x0(x0, x_t, alpha, sigma)


def inpaint(model: LatentDiffusion, image: Tensor, mask: Tensor, seeds: Seeds, labels: Labels = -1,
            progress: bool = False, **settings: Any) -> Edited:
    """Generate the pixels where `mask` (1, 1, S, S) is True, once per seed.

    The other pixels are unchanged, bit for bit.
    settings: sampling settings (default: `inpainting_settings`).
    Raises InputError for a mask of another shape, and for one without masked or known pixels.
    """
    check_one(image)
    copy = model.reconstruct(image)  # also checks the image
    check_mask(mask, image)
    chosen = model.settings_for(inpainting_settings(model.denoiser.schedule)).changed(**settings)
    own = model.generate(seeds, labels, wrap=lambda denoise: Known(denoise, model, image, mask),
                         progress=progress, settings=chosen)
    images = torch.where(mask, own, image)
    known, masked = (torch.broadcast_to(part, own.shape) for part in (~mask, mask))
    original = image.expand_as(own)
    replaced, generated = (difference(own[part], original[part]) for part in (known, masked))
    errors = {"known pixels before they are replaced, from the input": replaced,
              "their reconstruction (the floor)": difference(copy[known[:1]], image[known[:1]]),
              "generated pixels, from the input": generated}
    grey = torch.where(mask, torch.full_like(image, 0.5), image)
    return Edited(images, errors, {"input": image, "mask (grey)": grey, "results": images})


def check_mask(mask: Tensor, image: Tensor) -> None:
    """Raise InputError unless `mask` fits `image` and has masked and known pixels."""
    shape = (1, 1, *image.shape[-2:])
    if mask.dtype != torch.bool or mask.shape != shape:
        raise InputError(f"the mask is {mask.dtype} {tuple(mask.shape)}: give bool {shape}")
    if mask.all():
        raise InputError("the mask covers everything: leave some pixels black, or generate whole "
                         "images with nanoldm sample")
    if not mask.any():
        raise InputError("the mask covers nothing: make the pixels white that are to be generated")
