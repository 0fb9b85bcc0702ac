"""Any image file into the size, channels and polarity of what a model draws, with a sentence that says what was done to it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageChops, ImageOps
from torch import Tensor

from nanoldm.data.folder import choose_page
from nanoldm.data.image_file import on_page, open_rgba
from nanoldm.editing.ink import INK, Box, centre, cut_out, thicken
from nanoldm.editing.surroundings import filled, find_drawing, paper_is_light, reaches_border
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float

MODES = {"1": "black and white", "L": "grey", "LA": "grey with transparency", "P": "palette", "I;16": "16-bit grey", "I": "32-bit grey"}
PLAIN = 0.1             # a background is plain black (or white) where most of the border is within this
WORKING_SIZE = 280      # pixels: larger images of strokes are reduced to this before they are looked at
STROKE = 1.6            # pixels: thinner strokes are thickened


class Fitted(NamedTuple):
    """image: (1, C, S, S) in [0, 1]. done: what was done to the file, in words. box: the part of the file's picture that the image shows
    (left, top, right, bottom, in pixels; it may reach beyond the picture). size: width and height of that picture."""

    image: Tensor
    done: str
    box: Box
    size: tuple[int, int]


class Part(NamedTuple):
    """An image, and the box of the file's picture that it shows."""

    image: Image.Image
    box: Box

    def at(self, inner: Box) -> Box:
        """A box of the image, as one of the picture."""
        left, top, right, bottom = self.box
        x, y = (right - left) / self.image.width, (bottom - top) / self.image.height
        return left + inner[0] * x, top + inner[1] * y, left + inner[2] * x, top + inner[3] * y

    def crop(self, inner: Box) -> "Part":
        return Part(self.image.crop(inner), self.at(inner))

    def reduced(self, side: int) -> "Part":
        """Reduced to a longer side of `side` pixels, if it has more."""
        small = self.image.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        return Part(small, self.box)


def fit_image(file: Path, drawn: Tensor, *, fit: bool = True, invert: bool = False) -> Fitted:
    """An image file as a model takes it. drawn: (N, C, S, S), images as the model draws them.

    Where those have a plain dark (or light) background and the file the opposite, it is inverted. Where they are light strokes with a dark
    margin (MNIST) and the file is not of their size already, a frame around the paper is left out, the light on the paper is evened out,
    the ink is cut out, fitted into a box of 20/28 of the side, and its centre of mass is put into the middle, as MNIST does. Everything
    else is cropped to a centred square and resized.
    fit: False only crops to a centred square and resizes. invert: the opposite polarity of what would be chosen.
    Raises InputError for a file that is missing, is no image, or shows nothing where ink is looked for.
    """
    picture, kind = open_visible(file)
    channels, size = drawn.shape[1], drawn.shape[-1]
    done, exact = [], picture.size == (size, size)
    if channels == 1 and ImageChops.difference(picture, picture.convert("L").convert("RGB")).getbbox():
        done.append("grey")
    part = Part(picture.convert("L" if channels == 1 else "RGB"), (0, 0, *picture.size))
    ring = border(drawn)
    background = round(ring.median().item())
    plain = channels == 1 and fit and ((ring - background).abs() < PLAIN).float().mean() > 0.5
    as_ink = plain and not background and strokes(drawn) and not exact
    if as_ink:
        part, around = without_surroundings(part)
        done += [f"{what} around it left out" for what in around]
    wrong = plain and paper_is_light(np.asarray(part.reduced(WORKING_SIZE).image) / 255) != bool(background)
    if wrong != invert:
        part = part._replace(image=ImageOps.invert(part.image))
        done.append("inverted, as asked" if invert else f"inverted: the model draws {'dark on light' if background else 'light on dark'}")
    elif invert:
        done.append("not inverted, as asked")
    if as_ink:
        part, said = as_strokes(part, size, file)
        done += said
    elif not exact:
        done += ["cropped to a square"] * (picture.width != picture.height) + [f"resized to {size}x{size}"]
        left, top = (max(0, side - min(picture.size)) / 2 for side in picture.size)
        box = (left, top, picture.width - left, picture.height - top)
        part = Part(ImageOps.fit(part.image, (size, size), Image.Resampling.LANCZOS), box)
    pixels = torch.from_numpy(np.array(part.image)).reshape(size, size, channels).permute(2, 0, 1)[None]
    return Fitted(to_float(pixels), f"input {file}: {kind} -> {', '.join(done) or 'taken as it is'}", part.box, picture.size)


def without_surroundings(part: Part) -> tuple[Part, list[str]]:
    """A picture of strokes without the desk, scanner's edge or printed box around them -> (at most WORKING_SIZE large, what was found)."""
    small = part.reduced(WORKING_SIZE)
    region, found = find_drawing(np.asarray(small.image) / 255)
    if not found:
        return small, []
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    inner = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    scale = [whole / reduced for whole, reduced in zip(part.image.size, small.image.size, strict=True)] * 2
    cut = part.crop(tuple(round(edge * factor) for edge, factor in zip(inner, scale, strict=True))).reduced(WORKING_SIZE)
    mask = np.asarray(Image.fromarray(region).crop(inner).resize(cut.image.size, Image.Resampling.NEAREST))
    return cut._replace(image=Image.fromarray(filled(np.asarray(cut.image), mask))), found


def as_strokes(part: Part, size: int, file: Path) -> tuple[Part, list[str]]:
    """Light strokes on dark, of any width and place, as MNIST has them -> (size x size, what was done)."""
    if reaches_border(grey := np.asarray(part.image) / 255):       # cut_out must see paper around the ink
        margin = max(part.image.size) // 2
        paper = round(255 * float(np.quantile(grey, 0.1)))
        part = Part(ImageOps.expand(part.image, margin, paper),
                    part.at((-margin, -margin, part.image.width + margin, part.image.height + margin)))
    if (cut := cut_out(part.image)) is None:
        raise InputError(f"{file} shows no ink that stands out from its paper: give an image with more contrast")
    ink = Part(cut[0], part.at(cut[1]))
    wide, covered, thickened = thicken(ink.image, round(STROKE / (INK * size), 3))
    ink = Part(wide, ink.at(covered))
    image, place = centre(ink.image, size)
    # The whole image, in the picture: what the ink covers, extended to the image's border.
    x, y = (ink.box[2] - ink.box[0]) / (place[2] - place[0]), (ink.box[3] - ink.box[1]) / (place[3] - place[1])
    left, top = ink.box[0] - place[0] * x, ink.box[1] - place[1] * y
    return Part(image, (left, top, left + size * x, top + size * y)), [
        "light evened out", "cropped to the ink", *["strokes thickened"] * thickened, f"centred in {size}x{size} as in MNIST"]


def open_visible(file: Path) -> tuple[Image.Image, str]:
    """(RGB image, its size and kind in words). Transparency is laid on white, or on black or grey where white leaves little to be seen."""
    if not file.is_file():
        raise InputError(f"{file} is {'a folder' if file.is_dir() else 'no file'}: give the path of an image, or test:K for one of the "
                         "model's test images")
    whole, mode, frames = open_rgba(file)
    small = Part(whole, (0, 0, *whole.size)).reduced(WORKING_SIZE).image         # a photo has millions of pixels
    image = on_page(whole, choose_page(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None]))
    kind = f"{image.width}x{image.height} {MODES.get(mode, mode)}"
    return image, kind + (f", the first of {frames} frames" if frames > 1 else "")


def border(images: Tensor) -> Tensor:
    """The pixels of the outermost ring. (N, C, S, S) -> (C, any)"""
    ring = torch.ones(images.shape[-2:], dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    return images.transpose(0, 1)[..., ring].flatten(1)


def strokes(drawn: Tensor) -> bool:
    """Whether images on a dark background keep a margin of a fourteenth of the side empty, as MNIST's digits do, and clothes do not."""
    margin = max(1, drawn.shape[-1] // 14)
    inside = drawn[..., margin:-margin, margin:-margin]
    return bool(drawn.sum() - inside.sum() < 0.02 * drawn.sum())
