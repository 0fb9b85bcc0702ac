"""The picture of docs/editing.md: five edits of one test digit by the bundled model.

    python benchmarks/editing.py [OUT]

Each row is what its command writes.
"""

import sys
from pathlib import Path

import torch

from nanoldm.data import load
from nanoldm.editing import img2img, inpaint, interpolate, invert, vary
from nanoldm.editing.masks import fit_mask
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.images import captioned, grid, save, to_float

COLUMNS = 10


def main(out: Path = Path("docs/editing.png")) -> None:
    prepare_torch("cpu")
    model = LatentDiffusion.from_pretrained("mnist-fast")
    images = to_float(load("mnist")[1].images[:10])
    digit, other, seeds = images[:1], images[4:5], range(8)
    copy, mask = model.reconstruct(digit), fit_mask("right", 28).masked
    sketch = torch.where(mask, torch.full_like(digit, 0.5), digit)
    edited = img2img(model, digit, 60, seeds)
    inpainted, varied = inpaint(model, digit, mask, seeds), vary(model, digit, 0.2, seeds)
    between = interpolate(model, torch.cat([digit, other]), COLUMNS)
    rows = {
        "img2img mnist-fast test:0 --t 60: input, reconstruction, results":
            [digit, copy, edited.images],
        "inpaint mnist-fast test:0 --mask right: input, mask, results":
            [digit, sketch, inpainted.images],
        "vary mnist-fast test:0 --strength 0.2: input, reconstruction, variations":
            [digit, copy, varied.images],
        "interpolate mnist-fast --images test:0 test:4 --frames 10": [between.images],
        "invert mnist-fast test:0-9: there and back": [invert(model, images)[1].images],
    }
    parts = ((caption, grid(torch.cat(row), COLUMNS)) for caption, row in rows.items())
    save(captioned(parts), out)
    print(f"wrote {out}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
