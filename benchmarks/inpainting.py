"""How should a denoiser be told what is known? Test digits, masked by a half or a box, painted by the bundled model in four ways.

    python benchmarks/inpainting.py [IMAGES]

Every way in 50 steps of ddpm on the shifted grid (38 timesteps), each image its own x_T:

    whole field     latents of tokens all of whose 10x10 field is known replace x0 at every step
    own pixels      the same for tokens whose own 4x4 pixels are known; the hole is black where they are encoded
    by the pixels   editing.Known: x0 is decoded, the known pixels are pasted, and encoded again
    resampled       by the pixels, ddpm-repaint: 19 timesteps, each but the last visited 5 times

Figures: the share that the classifier of digits-v1 takes for the digit it was; squared error before pasting, known and painted pixels.
"""

import sys
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from nanoldm.data import load
from nanoldm.diffusion import SAMPLERS, Estimate, ddpm
from nanoldm.diffusion.schedule import expand
from nanoldm.editing import Known
from nanoldm.editing.masks import fit_mask
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.metrics import extract
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import generator

N = int(sys.argv[1]) if len(sys.argv) > 1 else 96


class Replaced(torch.nn.Module):
    """x0 of some tokens is what it is known to be."""

    def __init__(self, denoiser, latents: Tensor, tokens: Tensor):
        super().__init__()
        self.denoiser, self.schedule, self.latents, self.tokens = denoiser, denoiser.schedule, latents, tokens[None, :, None]

    def forward(self, x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        x0 = torch.where(self.tokens, self.latents, self.denoiser(x_t, t).x0)
        return Estimate(x0, (x_t - alpha * x0) / sigma)


@torch.no_grad()
def main() -> None:
    prepare_torch("cpu", None)
    model, test = LatentDiffusion.from_pretrained("mnist"), load("mnist")[1]
    images, labels = to_float(test.images[:N]), test.labels[:N]
    classifier, schedule = load_features("digits-v1").networks["classifier"], model.denoiser.schedule
    box = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
    box[..., 9:19, 9:19] = True
    for name, mask in {"right half": fit_mask("right", 28).painted, "box of 10x10": box}.items():
        denoise, hole = model.prepared(Sampling()), mask.float()
        field = F.max_pool2d(F.pad(hole, [3] * 4), 10, 4).flatten() == 0
        own = F.max_pool2d(hole, 4).flatten() == 0
        ways = {"whole field": Replaced(denoise, model.encode(images), field),
                "own pixels": Replaced(denoise, model.encode(images * ~mask), own),
                "by the pixels": Known(denoise, model, images, mask), "resampled": Known(denoise, model, images, mask)}
        for way, told in ways.items():
            stream = generator(1)
            noise = partial(torch.randn, N, 49, 6, generator=stream)
            sampler, steps = (SAMPLERS["ddpm-repaint"], 20) if way == "resampled" else (ddpm, 50)
            *_, (x, _) = sampler(told, noise(), schedule, sampling_timesteps(schedule, steps, None, "shifted"), noise)
            made = model.decode(x)
            right = (extract(classifier, torch.where(mask, made, images))[1].argmax(1) == labels).float().mean()
            error = (made - images).square()
            known, painted = (error[part.expand_as(error)].mean() for part in (~mask, mask))
            print(f"| {name} | {way} | {right:.2f} | {known:.4f} | {painted:.3f} |", flush=True)


main()
