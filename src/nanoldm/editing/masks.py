"""Masks for inpainting: a half by its name, or an image file."""

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

HALVES = ("left", "right", "top", "bottom")
SAME_SHAPE = 0.02  # relative difference of width / height below which two shapes are the same


class Mask(NamedTuple):
    """masked: bool (1, 1, S, S), the masked pixels. done: how they were found, in words."""

    masked: Tensor
    done: str


def fit_mask(mask: str, size: int, picture: Fitted | None = None) -> Mask:
    """The name of a half or an image file -> the masked pixels of an image of size x size.

    A file masks pixels as described in `read_mask`. If it has the shape of `picture`, it is cropped
    like it; other files, and files of size x size, cover the whole image. A pixel is masked if a
    masked pixel of the file covers any part of it, so that thin lines stay.
    Raises InputError for a file that is missing or not an image.
    """
    if mask in HALVES:
        rows, columns = np.ogrid[:size, :size]
        place = columns if mask in ("left", "right") else rows
        masked = np.broadcast_to((place < size // 2) == (mask in ("left", "top")), (size, size))
        how = f"the {mask} half"
    else:
        masked, what = read_mask(mask)
        height, width = masked.shape
        box, where = (0, 0, width, height), "laid over the image as fitted"
        if picture and made_for((width, height), picture.size, size):
            scale = [a / b for a, b in zip((width, height), picture.size, strict=True)] * 2
            box = tuple(edge * factor for edge, factor in zip(picture.box, scale, strict=True))
            where = "cropped as the picture"
        masked, how = any_in_cells(masked, box, size), f"{what}, {where}"
    share = f"{masked.mean():.0%} of the pixels are masked"
    return Mask(torch.tensor(masked)[None, None], f"mask {mask}: {share}, {how}")


def made_for(mask: tuple[int, int], picture: tuple[int, int], size: int) -> bool:
    """Whether a mask belongs to the picture, and not to the fitted image of size x size.

    mask, picture: (width, height).
    """
    if mask == picture:
        return True
    ratio = mask[0] * picture[1] / (mask[1] * picture[0])
    return mask != (size, size) and abs(ratio - 1) < SAME_SHAPE


def any_in_cells(masked: np.ndarray, box: Box, size: int) -> np.ndarray:
    """bool (height, width) -> (size, size): any masked pixel in each cell of a grid over `box`.

    The box may be larger than the array.
    """
    for low, high in ((box[1], box[3]), (box[0], box[2])):  # rows, then columns
        edges = [round(low + (high - low) * k / size, 6) for k in range(size + 1)]
        cells = [masked[max(0, math.floor(a)) : max(0, math.ceil(b))].any(0)
                 for a, b in itertools.pairwise(edges)]
        masked = np.stack(cells).T
    return masked


def read_mask(mask: str) -> tuple[np.ndarray, str]:
    """An image file -> (bool (height, width): the pixels that it masks; which these are, in words).

    White pixels are masked, also on a transparent layer. If the visible pixels are no mask (all
    dark, a photograph, or a white page with holes), transparent pixels are masked, as in the masks
    of editors and web services.
    """
    if not user_path(mask).is_file():
        raise InputError(f"there is no mask {mask}: give an image file that is white where "
                         f"pixels are to be generated, or {', '.join(HALVES)}")
    image = open_rgba(user_path(mask))[0]
    grey, alpha = np.asarray(image.convert("RGB").convert("L")), np.asarray(image.getchannel("A"))
    white, visible = grey > 127, alpha > 127
    edge = np.concatenate([visible[0], visible[-1], visible[:, 0], visible[:, -1]])
    shades = grey[visible]
    photograph = shades.size and ((shades > 16) & (shades < 240)).mean() > 0.1
    holes = white[visible].all() and edge.mean() >= 0.5
    if not visible.all() and (not white[visible].any() or photograph or holes):
        return ~visible, "its transparent pixels"
    return white & visible, "its white pixels"
