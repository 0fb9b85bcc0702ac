"""An image file of any kind -> the size, channels and polarity of the images of a model."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageChops, ImageOps
from torch import Tensor

from nanoldm.data.folder import choose_background
from nanoldm.data.image_file import on_background, open_rgba
from nanoldm.editing.ink import INK, Box, centre, cut_out, thicken
from nanoldm.editing.surroundings import filled, find_sheet, paper_is_light, reaches_border
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float

MODES = {"1": "black and white", "L": "grey", "LA": "grey with transparency", "P": "palette",
         "I;16": "16-bit grey", "I": "32-bit grey"}
PLAIN = 0.1  # a background is plain if most of the border is within this of its median
WORKING_SIZE = 280  # pixels: larger images of strokes are reduced to this
STROKE = 1.6  # pixels: thinner strokes are thickened


class Fitted(NamedTuple):
    """An image for a model.

    image: (1, C, S, S) in [0, 1].
    done: what was done to the file, in words.
    box: the part of the file's picture that the image shows, in pixels; it may be larger than the
        picture.
    size: width and height of that picture.
    """

    image: Tensor
    done: str
    box: Box
    size: tuple[int, int]


class Part(NamedTuple):
    """An image and the box of the file's picture that it shows."""

    image: Image.Image
    box: Box

    def at(self, inner: Box) -> Box:
        """A box of the image -> the same box of the picture."""
        left, top, right, bottom = self.box
        x, y = (right - left) / self.image.width, (bottom - top) / self.image.height
        return left + inner[0] * x, top + inner[1] * y, left + inner[2] * x, top + inner[3] * y

    def reduced(self, side: int) -> "Part":
        """The part with a longer side of at most `side` pixels."""
        small = self.image.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        return Part(small, self.box)


def fit_image(file: Path, examples: Tensor, *, fit: bool = True, invert: bool = False) -> Fitted:
    """Fit an image file to a model. examples: (N, C, S, S), images like those of the model.

    If the examples have a plain dark (or light) background and the file the opposite, it is
    inverted. If they are light strokes with a dark margin (MNIST) and the file has another size,
    surroundings of the paper are removed, the ink is cut out, fitted into a box of 20/28 of the
    side and centred by its mass, as in MNIST. Other files are cropped to a square and resized.
    fit: False only crops and resizes. invert: the opposite of the chosen polarity.
    Raises InputError for a file that is missing or not an image, and if no ink is found.
    """
    picture, kind = open_visible(file)
    channels, size = examples.shape[1], examples.shape[-1]
    exact = picture.size == (size, size)
    grey = picture.convert("L")
    coloured = ImageChops.difference(picture, grey.convert("RGB")).getbbox()
    done = ["grey"] if channels == 1 and coloured else []
    part = Part(grey if channels == 1 else picture, (0, 0, *picture.size))
    ring = border(examples)
    background = round(ring.median().item())
    plain = channels == 1 and fit and ((ring - background).abs() < PLAIN).float().mean() > 0.5
    as_ink = plain and not background and are_strokes(examples) and not exact
    if as_ink:
        part, around = without_surroundings(part)
        done += [f"{what} around it left out" for what in around]
    part, polarity = with_polarity(part, background if plain else None, invert)
    done += polarity
    if as_ink:
        part, steps = fit_strokes(part, size, file)
        done += steps
    elif not exact:
        part, steps = fit_square(part, size)
        done += steps
    pixels = torch.from_numpy(np.array(part.image)).reshape(size, size, channels)
    what = f"input {file}: {kind} -> {', '.join(done) or 'taken as it is'}"
    return Fitted(to_float(pixels.permute(2, 0, 1)[None]), what, part.box, picture.size)


def with_polarity(part: Part, background: int | None, invert: bool) -> tuple[Part, list[str]]:
    """Invert a part if its background is not `background` (0 dark, 1 light, None any).

    invert: do the opposite.
    """
    small = np.asarray(part.reduced(WORKING_SIZE).image) / 255
    wrong = background is not None and paper_is_light(small) != bool(background)
    if wrong == invert:
        return part, ["not inverted, as asked"] * invert
    model = "dark on light" if background else "light on dark"
    words = "inverted, as asked" if invert else f"inverted: images of the model are {model}"
    return part._replace(image=ImageOps.invert(part.image)), [words]


def fit_square(part: Part, size: int) -> tuple[Part, list[str]]:
    """The centred square of a whole picture at size x size pixels, and what was done."""
    width, height = part.image.size
    left, top = (max(0, side - min(width, height)) / 2 for side in (width, height))
    image = ImageOps.fit(part.image, (size, size), Image.Resampling.LANCZOS)
    done = [*["cropped to a square"] * (width != height), f"resized to {size}x{size}"]
    return Part(image, (left, top, width - left, height - top)), done


def without_surroundings(part: Part) -> tuple[Part, list[str]]:
    """A picture of strokes without a desk, scanner edge or printed box, and what was found.

    Its longer side has at most WORKING_SIZE pixels.
    """
    small = part.reduced(WORKING_SIZE)
    region, found = find_sheet(np.asarray(small.image) / 255)
    if not found:
        return small, []
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    inner = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    scale = [a / b for a, b in zip(part.image.size, small.image.size, strict=True)] * 2
    box = tuple(round(edge * factor) for edge, factor in zip(inner, scale, strict=True))
    cut = Part(part.image.crop(box), part.at(box)).reduced(WORKING_SIZE)
    mask = Image.fromarray(region).crop(inner).resize(cut.image.size, Image.Resampling.NEAREST)
    image = Image.fromarray(filled(np.asarray(cut.image), np.asarray(mask)))
    return cut._replace(image=image), found


def fit_strokes(part: Part, size: int, file: Path) -> tuple[Part, list[str]]:
    """Light strokes on dark -> size x size pixels as in MNIST, and what was done."""
    grey = np.asarray(part.image) / 255
    if reaches_border(grey):  # cut_out needs paper around the ink
        margin = max(part.image.size) // 2
        wide = ImageOps.expand(part.image, margin, round(255 * float(np.quantile(grey, 0.1))))
        box = -margin, -margin, part.image.width + margin, part.image.height + margin
        part = Part(wide, part.at(box))
    if (cut := cut_out(part.image)) is None:
        problem = "shows no ink that stands out from its paper"
        raise InputError(f"{file} {problem}: give an image with more contrast")
    ink = Part(cut[0], part.at(cut[1]))
    wide, covered, thickened = thicken(ink.image, round(STROKE / (INK * size), 3))
    left, top, right, bottom = ink.at(covered)
    image, place = centre(wide, size)
    # The box of the whole image: the box of the ink, extended to the border.
    x, y = (right - left) / (place[2] - place[0]), (bottom - top) / (place[3] - place[1])
    left, top = left - place[0] * x, top - place[1] * y
    done = ["light evened out", "cropped to the ink", *["strokes thickened"] * thickened]
    done.append(f"centred in {size}x{size} as in MNIST")
    return Part(image, (left, top, left + size * x, top + size * y)), done


def open_visible(file: Path) -> tuple[Image.Image, str]:
    """(RGB image, its size and kind in words). Transparent images get `choose_background`."""
    if not file.is_file():
        what = "a folder" if file.is_dir() else "no file"
        fix = "give the path of an image, or test:K for a test image of the model"
        raise InputError(f"{file} is {what}: {fix}")
    whole, mode, frames = open_rgba(file)
    small = np.array(Part(whole, (0, 0, *whole.size)).reduced(WORKING_SIZE).image)
    image = on_background(whole, choose_background(torch.from_numpy(small).permute(2, 0, 1)[None]))
    kind = f"{image.width}x{image.height} {MODES.get(mode, mode)}"
    return image, kind + (f", the first of {frames} frames" if frames > 1 else "")


def border(images: Tensor) -> Tensor:
    """The pixels of the outermost ring. (N, C, S, S) -> (C, any)"""
    ring = torch.ones(images.shape[-2:], dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    return images.transpose(0, 1)[..., ring].flatten(1)


def are_strokes(images: Tensor) -> bool:
    """Whether a margin of 1/14 of the side is dark, as around digits and not around clothes."""
    margin = max(1, images.shape[-1] // 14)
    inside = images[..., margin:-margin, margin:-margin]
    return bool(images.sum() - inside.sum() < 0.02 * images.sum())
