"""Edit images with a trained model: image-to-image, inpainting, interpolation, inversion, variations.

Each function takes a LatentDiffusion first and images (1, C, S, S) or (N, C, S, S) in [0, 1], and returns `Edited`: images, and how far off
they are. Other settings (`sampler=`, `grid=`, ...) are those of `Sampling`. Models that know classes or cells are asked without
unless a label is given (`labels`, in `interpolate` `label`; `invert` takes none and returns x_T, too).
"""

from nanoldm.editing.edited import Edited
from nanoldm.editing.inpainting import Known, img2img, inpaint
from nanoldm.editing.interpolation import interpolate, invert, slerp, vary

__all__ = ["Edited", "Known", "img2img", "inpaint", "interpolate", "invert", "slerp", "vary"]
