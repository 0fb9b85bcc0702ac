"""A set of coloured shapes, which the program draws itself: nothing is downloaded."""

import math

import numpy as np
import torch
from PIL import Image, ImageDraw

from nanoldm.data.imageset import ImageSet

SIZE, FINE = 32, 4  # pixels; made FINE times as large, then averaged
TRAIN, TEST = 20_000, 2_000  # images
Points = list[tuple[float, float]]


def regular(corners: int, inner: float = 1.0) -> Points:
    """Corners of a regular polygon on the unit circle; of a star if `inner`, a radius, is below 1.
    """
    count = corners if inner == 1 else 2 * corners
    radii = [1.0 if k % 2 == 0 or inner == 1 else inner for k in range(count)]
    angles = [2 * math.pi * k / count for k in range(count)]
    return [(r * math.sin(a), -r * math.cos(a)) for r, a in zip(radii, angles, strict=True)]


def box(width: float, height: float) -> Points:
    return [(-width, -height), (width, -height), (width, height), (-width, height)]


DISC = regular(48)
ARROW = [(0, -1), (0.9, 0), (0.35, 0), (0.35, 1), (-0.35, 1), (-0.35, 0), (-0.9, 0)]
CROSS = [(-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1),
         (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)]
L_SHAPE = [(-0.8, -1), (-0.2, -1), (-0.2, 0.4), (0.8, 0.4), (0.8, 1), (-0.8, 1)]
# class -> (the outline, the outline of a hole), about the unit circle
CLASSES: dict[str, tuple[Points, Points]] = {
    "disc": (DISC, []), "ring": (DISC, [(0.55 * x, 0.55 * y) for x, y in DISC]),
    "triangle": (regular(3), []), "square": (box(0.8, 0.8), []), "bar": (box(0.3, 1), []),
    "frame": (box(0.85, 0.85), box(0.45, 0.45)), "pentagon": (regular(5), []),
    "star": (regular(5, 0.42), []), "spark": (regular(4, 0.35), []), "cross": (CROSS, []),
    "arrow": (ARROW, []), "corner": (L_SHAPE, []),
}


def load_shapes() -> tuple[ImageSet, ImageSet]:
    """(20,000 training images, 2,000 test images), 32x32 RGB, of 12 classes.

    Colours, place, size and a turn of at most 20 degrees are random, the same in every call with
    one version of Pillow and NumPy.
    """
    return draw_shapes(TRAIN, 0), draw_shapes(TEST, 1)


def draw_shapes(count: int, seed: int) -> ImageSet:
    """`count` images (N, 3, 32, 32) of the classes in turn."""
    rng, outlines = np.random.default_rng(seed), list(CLASSES.values())
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for k in range(count):
        images[k] = draw(*outlines[k % len(outlines)], rng)
    labels = torch.arange(count) % len(outlines)
    return ImageSet(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), labels,
                    tuple(CLASSES))


def draw(outline: Points, hole: Points, rng: np.random.Generator) -> Image.Image:
    """One image: a bright shape on a dark ground."""
    ground, colour = rng.integers(0, 80, 3), rng.integers(60, 256, 3)
    colour[rng.integers(3)] = rng.integers(200, 256)
    radius = FINE * rng.uniform(7, 12)
    centre = FINE * rng.uniform(13, 19, 2)
    angle = math.radians(rng.uniform(-20, 20))
    cos, sin = radius * math.cos(angle), radius * math.sin(angle)
    sheet = Image.new("RGB", (FINE * SIZE, FINE * SIZE), tuple(ground.tolist()))
    pen = ImageDraw.Draw(sheet)
    for points, fill in ((outline, colour), (hole, ground)):
        if points:
            pen.polygon([(centre[0] + cos * x - sin * y, centre[1] + sin * x + cos * y)
                         for x, y in points], fill=tuple(fill.tolist()))
    return sheet.reduce(FINE)
