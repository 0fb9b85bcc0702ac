"""Image-to-image by noising and denoising (SDEdit: Meng et al. 2021, arXiv 2108.01073)."""

from typing import Any

from torch import Tensor

from nanoldm.editing.edited import Edited, check_one, difference
from nanoldm.pipeline.labels import Labels
from nanoldm.pipeline.latent_diffusion import LatentDiffusion, Seeds
from nanoldm.utils.ranges import seed_list


def img2img(model: LatentDiffusion, image: Tensor, t: int, seeds: Seeds, labels: Labels = -1,
            **settings: Any) -> Edited:
    """Noise the latents of one image to timestep t and denoise them, once per seed.

    settings: sampling settings and `progress` (default: the model's own settings).
    """
    check_one(image)
    seeds = seed_list(seeds)
    copies = image.expand(len(seeds), -1, -1, -1)
    noised, images = model.denoise_from(copies, t, seeds, labels, **settings)
    copy = model.reconstruct(image)
    errors = {"results, from the input": difference(images, image),
              "reconstruction (the floor)": difference(copy, image)}
    shown = {"input": image, "reconstruction": copy, f"noised to t = {t}": noised}
    return Edited(images, errors, shown | {"results": images})
