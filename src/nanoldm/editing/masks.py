"""Which pixels of an image are to be painted: a half by its name, or an image file."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nanoldm.data.image_file import open_rgba
from nanoldm.editing.ink import Box
from nanoldm.editing.photo import Fitted
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import user_path

HALVES = {"left": lambda middle: (..., slice(0, middle)), "right": lambda middle: (..., slice(middle, None)),
          "top": lambda middle: (..., slice(0, middle), slice(None)), "bottom": lambda middle: (..., slice(middle, None), slice(None))}
ALIKE = 0.02            # two pictures are of one shape where width / height differs less than this share


class Mask(NamedTuple):
    """painted: bool (1, 1, S, S), the pixels to be painted. done: how that was read, in words."""

    painted: Tensor
    done: str


def fit_mask(mask: str, size: int, picture: Fitted | None = None) -> Mask:
    """The name of a half (left, right, top, bottom) or an image file -> the pixels of an image of size x size that are to be painted.

    Of a file the white pixels are painted; where only transparency says something, the transparent ones (`read_mask`). A mask of the shape
    of the picture that was fitted goes through the same crop as the picture; others, and masks of size x size, are laid over the whole
    image. A pixel is painted if any painted pixel of the file lies in it, at least in part: thin lines stay.
    Raises InputError for a file that is missing or no image.
    """
    if mask in HALVES:
        painted = torch.zeros(1, 1, size, size, dtype=torch.bool)
        painted[HALVES[mask](size // 2)] = True
        return Mask(painted, f"mask {mask}: {share(painted)}, the {mask} half")
    marked, what = read_mask(mask)
    height, width = marked.shape
    box, where = (0, 0, width, height), "laid over the image as fitted"
    if picture and follows((width, height), picture.size, size):
        box = tuple(edge * mine / theirs for edge, mine, theirs in zip(picture.box, (width, height) * 2, picture.size * 2, strict=True))
        where = "cropped as the picture"
    painted = torch.from_numpy(sampled(marked, box, size))[None, None]
    return Mask(painted, f"mask {mask}: {share(painted)}, {what}, {where}")


def share(painted: Tensor) -> str:
    return f"{painted.float().mean():.0%} of the pixels to be painted"


def follows(mask: tuple[int, int], picture: tuple[int, int], size: int) -> bool:
    """Whether a mask was made for the picture and not for the fitted image: width and height of both, side of the fitted image."""
    if mask == picture:
        return True
    return mask != (size, size) and abs(mask[0] * picture[1] / (mask[1] * picture[0]) - 1) < ALIKE


def sampled(marked: np.ndarray, box: Box, size: int) -> np.ndarray:
    """bool (height, width) -> (size, size): whether anything is marked in each cell of a box, which may reach beyond what is marked."""
    for low, high in ((box[1], box[3]), (box[0], box[2])):          # rows, then columns
        edges = [low + (high - low) * k / size for k in range(size + 1)]
        cells = [(math.floor(round(a, 6)), math.ceil(round(b, 6))) for a, b in itertools.pairwise(edges)]
        marked = np.stack([marked[max(0, first) : max(0, last)].any(0) for first, last in cells]).T
    return marked.copy()


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
