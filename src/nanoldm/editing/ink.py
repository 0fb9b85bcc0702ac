"""Ink on paper -> strokes as in MNIST: cut out, thickened, fitted into a box, centred."""

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps

Box = tuple[float, float, float, float]  # left, top, right, bottom

PAPER_SIZE = 70  # pixels: the light on the paper is estimated at this size
INK = 20 / 28  # of the side: the box of MNIST's digits (LeCun et al. 1998, section III.A)
GRAIN = 0.3  # of the contrast of the ink: the texture of paper is below
FAINT = 0.15  # contrast below which a paper is empty


def cut_out(image: Image.Image) -> tuple[Image.Image, Box] | None:
    """Light ink on dark, unevenly lit paper -> (ink on black, cropped; the box of the crop).

    None if there is no ink.
    """
    image = image.filter(ImageFilter.MedianFilter(3))  # removes specks
    small = image.reduce(max(1, max(image.size) // PAPER_SIZE))
    reach = max(small.size) // 4 | 1  # wider than any stroke
    opened = small.filter(ImageFilter.MinFilter(reach)).filter(ImageFilter.MaxFilter(reach))
    paper = opened.filter(ImageFilter.GaussianBlur(reach / 4))
    paper = paper.resize(image.size, Image.Resampling.BICUBIC)
    ink = np.asarray(ImageChops.subtract(image, paper)) / 255
    if ink.max(initial=0) < FAINT:
        return None
    ink = (ink / np.median(ink[ink > 0.5 * ink.max()])).clip(0, 1)
    low = max(otsu(ink), GRAIN)
    ink = ((ink - 0.5 * low) / (1 - 0.5 * low)).clip(0, 1)
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis)) for axis in (1, 0))
    box = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return Image.fromarray((ink * 255).round().astype(np.uint8)).crop(box), box


def thicken(ink: Image.Image, least: float) -> tuple[Image.Image, Box, bool]:
    """(ink with strokes of at least `least` of its longer side; its box; whether it was changed).

    The box is in pixels of the given ink.
    """
    reach = max(ink.size) // 10
    wide, thickened = ImageOps.expand(ink, reach), False
    for _ in range(reach):
        shape = wide.point(lambda value: 255 * (value > 127))
        inner = shape.filter(ImageFilter.MinFilter(3))
        area, inside = np.count_nonzero(shape), np.count_nonzero(inner)
        if 2 * area >= least * max(ink.size) * (area - inside):  # width = 2 area / edge
            break
        wide, thickened = wide.filter(ImageFilter.MaxFilter(3)), True
    box = wide.point(lambda value: 255 * (value > 64)).getbbox()
    return wide.crop(box), tuple(edge - reach for edge in box), thickened


def otsu(values: np.ndarray) -> float:
    """The threshold between two groups of values in [0, 1] that differ most (Otsu 1979)."""
    counts, edges = np.histogram(values, 64, (0, 1))
    weight, total = counts.cumsum(), (counts * (edges[1:] + edges[:-1]) / 2).cumsum()
    below, above = weight[:-1], weight[-1] - weight[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = total[:-1] / below, (total[-1] - total[:-1]) / above
        between = below * above * (means[0] - means[1]) ** 2
    return float(edges[1 + np.nanargmax(between)]) if np.isfinite(between).any() else 0.5


def centre(ink: Image.Image, size: int) -> tuple[Image.Image, Box]:
    """Fit ink into a box of 20/28 of the side, with its centre of mass in the middle.

    -> (image of size x size, the box of the ink)
    """
    scale = INK * size / max(ink.size)
    shape = [max(1, round(side * scale)) for side in ink.size]
    ink = ink.resize(shape, Image.Resampling.LANCZOS)
    mass = np.asarray(ink, dtype=float)
    sheet, offset = Image.new("L", (size, size), 0), []
    for axis, side in enumerate(shape):
        middle = (mass.sum(axis) * (np.arange(side) + 0.5)).sum() / mass.sum()
        offset.append(min(max(round(size / 2 - middle), 0), size - side))
    sheet.paste(ink, tuple(offset))
    return sheet, (*offset, offset[0] + ink.width, offset[1] + ink.height)
