"""Any image file into the size, channels and polarity of what a model draws, with a sentence that says what was done to it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageFilter, ImageOps
from torch import Tensor

from nanoldm.data import to_float
from nanoldm.data.image_file import on_page, open_rgba
from nanoldm.errors import InputError
from nanoldm.paths import user_path

MODES = {"1": "black and white", "L": "grey", "LA": "grey with transparency", "P": "palette", "I;16": "16-bit grey", "I": "32-bit grey"}
PLAIN = 0.1             # a background is plain black (or white) where most of the border is within this
WORKING_SIZE = 280      # pixels: larger images of strokes are reduced to this before they are looked at
PAPER_SIZE = 70         # the same for the light on the paper
INK = 20 / 28           # of the side: the box into which MNIST fits its digits (LeCun et al. 1998, section III.A)
STROKE = 1.6            # pixels: thinner strokes are thickened
GRAIN = 0.3             # of the ink's contrast: what a paper's own texture stays below
FAINT = 0.15            # contrast of ink below which a paper is taken to be empty


def fit_image(file: Path, drawn: Tensor) -> tuple[Tensor, str]:
    """An image file -> (image (1, C, S, S) in [0, 1], what was done). drawn: (N, C, S, S), images as the model draws them.

    Where those have a plain dark (or light) background and the file the opposite, it is inverted. Where they are light strokes
    with a dark margin (MNIST) and the file is not of their size already, the light on the paper is evened out, the ink cut out, fitted
    into a box of 20/28 of the side and its centre of mass put into the middle, as MNIST does. Everything else is cropped to a
    centred square and resized. Raises InputError for a file that is missing, is no image, or shows nothing where ink is looked for.
    """
    image, kind = open_visible(file)
    channels, size = drawn.shape[1], drawn.shape[-1]
    done, exact = [], image.size == (size, size)
    if channels == 1 and ImageChops.difference(image, image.convert("L").convert("RGB")).getbbox():
        done.append("grey")
    image = image.convert("L" if channels == 1 else "RGB")
    ring = border(drawn)
    background = round(ring.median().item())
    plain = ((ring - background).abs() < PLAIN).float().mean() > 0.5
    light = np.median(frame(image)) > 127
    if channels == 1 and plain and light != background:
        image = ImageOps.invert(image)
        done.append(f"inverted: the model draws {'dark on light' if background else 'light on dark'}")
    if channels == 1 and not background and strokes(drawn) and not exact:
        ink, thickened = thicken(cut_out(image, file), round(STROKE / (INK * size), 3))
        image = centre(ink, size)
        done += ["light evened out", "cropped to the ink"] + ["strokes thickened"] * thickened + [f"centred in {size}x{size} as in MNIST"]
    elif not exact:
        done += ["cropped to a square"] * (image.width != image.height) + [f"resized to {size}x{size}"]
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(image)).reshape(size, size, channels).permute(2, 0, 1)[None]
    return to_float(pixels), f"input {file}: {kind} -> {', '.join(done) or 'taken as it is'}"


def fit_mask(mask: str, size: int) -> Tensor:
    """The name of a half (left, right, top, bottom) or an image file -> bool (1, 1, size, size): the pixels to be painted.

    Of a file the white pixels are painted; where only transparency says something, the transparent ones (`read_mask`). Brought to another
    size, a pixel is painted if any painted pixel of the file lies in it, at least in part: thin lines stay.
    Raises InputError for a file that is missing or no image.
    """
    if mask in HALVES:
        painted = torch.zeros(1, 1, size, size, dtype=torch.bool)
        painted[HALVES[mask](size // 2)] = True
        return painted
    marked = read_mask(mask)[0]
    for _ in range(2):          # rows, then columns
        edges = [(k * len(marked) // size, -(-(k + 1) * len(marked) // size)) for k in range(size)]
        marked = np.stack([marked[low:high].any(0) for low, high in edges]).T
    return torch.from_numpy(marked.copy())[None, None]


HALVES = {"left": lambda middle: (..., slice(0, middle)), "right": lambda middle: (..., slice(middle, None)),
          "top": lambda middle: (..., slice(0, middle), slice(None)), "bottom": lambda middle: (..., slice(middle, None), slice(None))}


def read_mask(mask: str) -> tuple[np.ndarray, str]:
    """An image file -> (bool (height, width): what it marks, what that is, in words).

    White marks, also white strokes on a transparent layer. Where the visible colours are no mask - all dark, a photograph, or a white page
    with transparent holes - what is transparent marks, as in masks that editors and web services export.
    """
    if not user_path(mask).is_file():
        raise InputError(f"there is no mask {mask}: give an image file, white where it is to be painted, or {', '.join(HALVES)}")
    image = open_rgba(user_path(mask))[0]
    grey, alpha = np.asarray(image.convert("RGB").convert("L")), np.asarray(image.getchannel("A"))
    white, visible = grey > 127, alpha > 127
    edge = np.concatenate([visible[0], visible[-1], visible[:, 0], visible[:, -1]])
    shades = grey[visible]
    photograph = ((shades > 16) & (shades < 240)).mean() > 0.1 if shades.size else False        # a mask is black and white
    holes = white[visible].all() and edge.mean() >= 0.5
    if not visible.all() and (not white[visible].any() or photograph or holes):
        return ~visible, "its transparent pixels"
    return white & visible, "its white pixels"


def open_visible(file: Path) -> tuple[Image.Image, str]:
    """(RGB image, its size and kind in words). Transparency is laid on white, or on black where white leaves nothing to be seen."""
    if not file.is_file():
        raise InputError(f"{file} is {'a folder' if file.is_dir() else 'no file'}: give the path of an image, or test:K for one of the "
                         "model's test images")
    whole, mode, frames = open_rgba(file)
    image = on_page(whole, "white")
    if all(low == high for low, high in image.getextrema()):
        image = on_page(whole, "black")
    kind = f"{image.width}x{image.height} {MODES.get(mode, mode)}"
    return image, kind + (f", the first of {frames} frames" if frames > 1 else "")


def border(images: Tensor) -> Tensor:
    """The pixels of the outermost ring. (N, C, S, S) -> (C, any)"""
    ring = torch.ones(images.shape[-2:], dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    return images.transpose(0, 1)[..., ring].flatten(1)


def frame(image: Image.Image) -> np.ndarray:
    """The brightness of an image's outermost tenth on each side, as one row."""
    grey = np.asarray(image.convert("L"))
    height, width = (max(1, side // 10) for side in grey.shape)
    return np.concatenate([part.ravel() for part in (grey[:height], grey[-height:], grey[:, :width], grey[:, -width:])])


def strokes(drawn: Tensor) -> bool:
    """Whether images on a dark background keep a margin of a fourteenth of the side empty, as MNIST's digits do, and clothes do not."""
    margin = max(1, drawn.shape[-1] // 14)
    inside = drawn[..., margin:-margin, margin:-margin]
    return bool(drawn.sum() - inside.sum() < 0.02 * drawn.sum())


def cut_out(image: Image.Image, file: Path) -> Image.Image:
    """Light ink on dark, unevenly lit paper -> the ink alone on black, cropped to it."""
    image.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.LANCZOS)
    image = image.filter(ImageFilter.MedianFilter(3))                                         # specks
    small = image.reduce(max(1, max(image.size) // PAPER_SIZE))
    reach = max(small.size) // 4 | 1                                                          # wider than any stroke
    paper = small.filter(ImageFilter.MinFilter(reach)).filter(ImageFilter.MaxFilter(reach)).filter(ImageFilter.GaussianBlur(reach / 4))
    ink = np.asarray(ImageChops.subtract(image, paper.resize(image.size, Image.Resampling.BICUBIC))) / 255
    if ink.max(initial=0) < FAINT:
        raise InputError(f"{file} shows no ink that stands out from its paper: give an image with more contrast")
    ink = (ink / np.quantile(ink[ink > 0.5 * ink.max()], 0.5)).clip(0, 1)
    low = max(otsu(ink), GRAIN)
    ink = ((ink - 0.5 * low) / (1 - 0.5 * low)).clip(0, 1)
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis)) for axis in (1, 0))
    return Image.fromarray((ink * 255).round().astype(np.uint8)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def thicken(ink: Image.Image, least: float) -> tuple[Image.Image, bool]:
    """Ink whose strokes are at least `least` of its longer side wide, and whether they had to be thickened."""
    reach = max(ink.size) // 10
    wide, thickened = ImageOps.expand(ink, reach), False
    for _ in range(reach):
        shape = wide.point(lambda value: 255 * (value > 127))
        area, inside = (np.count_nonzero(part) for part in (shape, shape.filter(ImageFilter.MinFilter(3))))
        if 2 * area >= least * max(ink.size) * (area - inside):     # width = 2 area / edge
            break
        wide, thickened = wide.filter(ImageFilter.MaxFilter(3)), True
    return wide.crop(wide.point(lambda value: 255 * (value > 64)).getbbox()), thickened


def otsu(values: np.ndarray) -> float:
    """The threshold that parts values in [0, 1] into two groups that differ most (Otsu 1979)."""
    counts, edges = np.histogram(values, 64, (0, 1))
    weight, total = counts.cumsum(), (counts * (edges[1:] + edges[:-1]) / 2).cumsum()
    below, above = weight[:-1], weight[-1] - weight[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (total[:-1] / below - (total[-1] - total[:-1]) / above) ** 2
    return float(edges[1 + np.nanargmax(between)])


def centre(ink: Image.Image, size: int) -> Image.Image:
    """Fit ink into a box of 20/28 of the side, keeping its proportions, and put its centre of mass into the middle."""
    scale = INK * size / max(ink.size)
    ink = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.LANCZOS)
    mass = np.asarray(ink, dtype=float)
    sheet = Image.new("L", (size, size), 0)
    offset = []
    for axis, side in ((0, ink.width), (1, ink.height)):
        middle = (mass.sum(axis) * (np.arange(side) + 0.5)).sum() / mass.sum()
        offset.append(min(max(round(size / 2 - middle), 0), size - side))
    sheet.paste(ink, tuple(offset))
    return sheet
