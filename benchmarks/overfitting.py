"""Does a model know its training images better than others? Its denoising error on both.

    python benchmarks/overfitting.py mnist-fast-conditional RUN ...

Prints the error of test images over that of as many training images, both of MNIST with their
labels, at each log-SNR. A model of clusters gets no labels.
"""

import torch
import tyro

from nanoldm import LatentDiffusion
from nanoldm.data import ImageSet, load
from nanoldm.diffusion import LOG_SNRS
from nanoldm.pipeline.latent_diffusion import ERROR_LATENTS
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import generator

IMAGES = 4096


def errors(model: LatentDiffusion, images: ImageSet) -> torch.Tensor:
    """The denoising error at each of LOG_SNRS."""
    parts = torch.arange(IMAGES).split(ERROR_LATENTS)
    found = [model.denoising_error(model.encode(to_float(images.images[part])), images.labels[part])
             for part in parts]
    return torch.tensor(found).mean(0)


def main(models: tyro.conf.Positional[tuple[str, ...]]) -> None:
    train, test = load("mnist")
    order = torch.randperm(len(train), generator=generator(1))
    train, test = train.select(order[:IMAGES]), test.select(slice(IMAGES))
    print("log-SNR", *(f"{level:6g}" for level in LOG_SNRS))
    for name in models:
        model = LatentDiffusion.from_pretrained(name)
        ratios = errors(model, test) / errors(model, train)
        print(name, *(f"{ratio:6.3f}" for ratio in ratios))


if __name__ == "__main__":
    with torch.inference_mode():
        tyro.cli(main, description=__doc__)
