"""How should a denoiser use known pixels? Test digits with masks, inpainted in four ways.

    python benchmarks/inpainting.py [IMAGES]

All with the bundled model and 50 steps of ddpm, spacing shifted; each image has its own x_T:

    whole field     latents of tokens whose 10x10 field is known replace x0 at every step
    own pixels      the same for tokens whose 4x4 pixels are known; masked pixels are black
    by the pixels   editing.Known: x0 is decoded, known pixels are replaced, and encoded again
    resampled       by the pixels, with 20 steps of ddpm-repaint

Prints the accuracy of the classifier of digits-v1 on the results, and the squared error of known
and of generated pixels before known pixels are replaced.
"""

import sys
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nanoldm.data import load
from nanoldm.diffusion import SAMPLERS, Estimate, ddpm, sampling_timesteps
from nanoldm.diffusion.schedule import expand
from nanoldm.editing import Known
from nanoldm.editing.masks import fit_mask
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.metrics import extract
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import generator


class Replaced(nn.Module):
    """A denoiser with known x0 for some tokens."""

    def __init__(self, denoiser: nn.Module, latents: Tensor, tokens: Tensor):
        super().__init__()
        self.denoiser, self.schedule = denoiser, denoiser.schedule
        self.latents, self.tokens = latents, tokens[None, :, None]

    def forward(self, x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = (expand(level, x_t) for level in self.schedule(t))
        x0 = torch.where(self.tokens, self.latents, self.denoiser(x_t, t).x0)
        return Estimate.from_x0(x0, x_t, alpha, sigma)


def ways(model: LatentDiffusion, images: Tensor, mask: Tensor) -> dict[str, nn.Module]:
    """{name: denoiser}"""
    denoise, hole = model.conditioned(model.choose()), mask.float()
    field = F.max_pool2d(F.pad(hole, [3] * 4), 10, 4).flatten() == 0
    own = F.max_pool2d(hole, 4).flatten() == 0
    return {"whole field": Replaced(denoise, model.encode(images), field),
            "own pixels": Replaced(denoise, model.encode(images * ~mask), own),
            "by the pixels": Known(denoise, model, images, mask),
            "resampled": Known(denoise, model, images, mask)}


@torch.no_grad()
def main(count: int = 96) -> None:
    prepare_torch("cpu")
    model, test = LatentDiffusion.from_pretrained("mnist"), load("mnist")[1]
    images, labels = to_float(test.images[:count]), test.labels[:count]
    classifier = load_features("digits-v1").networks["classifier"]
    schedule = model.denoiser.schedule
    box = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
    box[..., 9:19, 9:19] = True
    for name, mask in {"right half": fit_mask("right", 28).masked, "box of 10x10": box}.items():
        for way, denoise in ways(model, images, mask).items():
            noise = partial(torch.randn, count, 49, 6, generator=generator(1))
            sampler, steps = ddpm, 50
            if way == "resampled":
                sampler, steps = SAMPLERS["ddpm-repaint"], 20
            timesteps = sampling_timesteps(schedule, steps, spacing="shifted")
            *_, (x, _) = sampler(denoise, noise(), schedule, timesteps, noise)
            made = model.decode(x)
            predicted = extract(classifier, torch.where(mask, made, images))[1].argmax(1)
            right, error = (predicted == labels).float().mean(), (made - images).square()
            known, masked = (error[part.expand_as(error)].mean() for part in (~mask, mask))
            print(f"| {name} | {way} | {right:.2f} | {known:.4f} | {masked:.3f} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
