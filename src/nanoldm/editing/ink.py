"""Ink on paper into strokes as MNIST has them: cut out, thickened, fitted into a box, centred."""

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

Box = tuple[float, float, float, float]     # left, top, right, bottom

PAPER_SIZE = 70         # pixels: larger images are reduced to this before the light on the paper is looked at
INK = 20 / 28           # of the side: the box into which MNIST fits its digits (LeCun et al. 1998, section III.A)
GRAIN = 0.3             # of the ink's contrast: what a paper's own texture stays below
FAINT = 0.15            # contrast of ink below which a paper is taken to be empty


def cut_out(image: Image.Image) -> tuple[Image.Image, Box] | None:
    """Light ink on dark, unevenly lit paper -> (the ink alone on black, cropped to it; the box of the image that it was cropped to); None
    where there is no ink."""
    image = image.filter(ImageFilter.MedianFilter(3))                                         # specks
    small = image.reduce(max(1, max(image.size) // PAPER_SIZE))
    reach = max(small.size) // 4 | 1                                                          # wider than any stroke
    paper = small.filter(ImageFilter.MinFilter(reach)).filter(ImageFilter.MaxFilter(reach)).filter(ImageFilter.GaussianBlur(reach / 4))
    ink = np.asarray(ImageChops.subtract(image, paper.resize(image.size, Image.Resampling.BICUBIC))) / 255
    if ink.max(initial=0) < FAINT:
        return None
    ink = (ink / np.quantile(ink[ink > 0.5 * ink.max()], 0.5)).clip(0, 1)
    low = max(otsu(ink), GRAIN)
    ink = ((ink - 0.5 * low) / (1 - 0.5 * low)).clip(0, 1)
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis)) for axis in (1, 0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    return Image.fromarray((ink * 255).round().astype(np.uint8)).crop(box), box


def thicken(ink: Image.Image, least: float) -> tuple[Image.Image, Box, bool]:
    """(ink whose strokes are at least `least` of its longer side wide; the box of the given ink that it covers now; whether they had to be
    thickened)."""
    reach = max(ink.size) // 10
    wide, thickened = ImageOps.expand(ink, reach), False
    for _ in range(reach):
        shape = wide.point(lambda value: 255 * (value > 127))
        area, inside = (np.count_nonzero(part) for part in (shape, shape.filter(ImageFilter.MinFilter(3))))
        if 2 * area >= least * max(ink.size) * (area - inside):     # width = 2 area / edge
            break
        wide, thickened = wide.filter(ImageFilter.MaxFilter(3)), True
    box = wide.point(lambda value: 255 * (value > 64)).getbbox()
    return wide.crop(box), tuple(edge - reach for edge in box), thickened


def otsu(values: np.ndarray) -> float:
    """The threshold that parts values in [0, 1] into two groups that differ most (Otsu 1979)."""
    counts, edges = np.histogram(values, 64, (0, 1))
    weight, total = counts.cumsum(), (counts * (edges[1:] + edges[:-1]) / 2).cumsum()
    below, above = weight[:-1], weight[-1] - weight[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total[:-1] / below - (total[-1] - total[:-1]) / above) ** 2
    return float(edges[1 + np.nanargmax(between)]) if np.isfinite(between).any() else 0.5


def centre(ink: Image.Image, size: int) -> tuple[Image.Image, Box]:
    """Fit ink into a box of 20/28 of the side, keeping its proportions, and put its centre of mass into the middle -> (image of size x
    size, the box in which the ink is)."""
    scale = INK * size / max(ink.size)
    ink = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.LANCZOS)
    mass = np.asarray(ink, dtype=float)
    sheet = Image.new("L", (size, size), 0)
    offset = []
    for axis, side in ((0, ink.width), (1, ink.height)):
        middle = (mass.sum(axis) * (np.arange(side) + 0.5)).sum() / mass.sum()
        offset.append(min(max(round(size / 2 - middle), 0), size - side))
    sheet.paste(ink, tuple(offset))
    return sheet, (*offset, offset[0] + ink.width, offset[1] + ink.height)
