"""The denoising error of a model on held-out latents."""

import torch
from torch import Tensor

from nanoldm.diffusion import Guided, denoising_error
from nanoldm.pipeline.labels import known_labels
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.seeding import Stream, generator

LATENTS = 128


def model_denoising_error(model: LatentDiffusion, latents: Tensor, labels: Tensor) -> list[float]:
    """MSE of x0 at each of `diffusion.LOG_SNRS`, on the first 128 of `latents`.

    latents: (N, tokens, channels) normalised, held out. labels: (N,) of the latents, for a model
    with classes. The noise is the same for every model.
    """
    x0 = latents[:LATENTS]
    stream = generator(0, Stream.TEST_LOSS, 1)
    eps = torch.randn(x0.shape, generator=stream).to(x0.device)
    denoiser = model.denoiser
    if model.classes:
        label = known_labels(labels[:LATENTS], model.classes).to(x0.device)
        denoiser = Guided(denoiser, label)
    return denoising_error(denoiser, x0, eps, model.clip_sample_range)
