"""Edit a test image: inpainting, variations, and interpolation with another image.

python examples/edit_digits.py
"""

import torch

from nanoldm import LatentDiffusion
from nanoldm.data import load
from nanoldm.editing import inpaint, interpolate, vary
from nanoldm.utils.images import captioned, grid, save, to_float

model = LatentDiffusion.from_pretrained("mnist-fast")
digits = to_float(load("mnist")[1].images[:2])
mask = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
mask[..., 14:] = True  # the right half

edits = {"inpainted right half": inpaint(model, digits[:1], mask, 8),
         "variations": vary(model, digits[:1], strength=0.15, seeds=8),
         "interpolation": interpolate(model, digits, frames=8)}
rows = [(name, grid(edited.images, 8)) for name, edited in edits.items()]
save(captioned([("input", grid(digits)), *rows]), "edit_digits.png")
print("wrote edit_digits.png")
