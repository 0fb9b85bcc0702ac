"""Edits of images with a trained model.

img2img, inpaint, vary and interpolate take a LatentDiffusion and an image, or two ends, and return
an `Edited`; invert also returns x_T. Images are (N, C, S, S) in [0, 1]. `settings` are sampling
settings, as in `LatentDiffusion.generate`. Labels are -1 (none) unless given.
"""

from nanoldm.editing.edited import Edited
from nanoldm.editing.img2img import img2img
from nanoldm.editing.inpainting import Known, inpaint
from nanoldm.editing.interpolation import interpolate, slerp, vary
from nanoldm.editing.inversion import invert

__all__ = ["Edited", "Known", "img2img", "inpaint", "interpolate", "invert", "slerp", "vary"]
