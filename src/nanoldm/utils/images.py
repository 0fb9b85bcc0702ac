"""Images as tensors (checks, types) and as pictures in files (grids, captions, GIFs)."""

import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nanoldm.utils.errors import InputError, TrainingError
from nanoldm.utils.files import write_bytes
from nanoldm.utils.paths import check_target
from nanoldm.utils.text import plain

FORMATS = {".png": "PNG", ".gif": "GIF", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LARGEST = {"GIF": 65535, "JPEG": 65500, "WEBP": 16383}  # pixels of a side
SCALE = 3  # screen pixels per pixel of a small image


def check_images(images: Tensor) -> None:
    """Raise InputError unless images are uint8 (N, C, S, S) with one or three channels."""
    if not isinstance(images, Tensor):
        kind = type(images).__name__
        raise InputError(f"images are a {kind}: give a tensor, such as torch.from_numpy(images)")
    square = images.dim() == 4 and images.shape[2] == images.shape[3] > 0
    if images.dtype != torch.uint8 or not square or images.shape[1] not in (1, 3):
        convert, add = "to_bytes(images) converts floats", "images[:, None] adds a channel"
        raise InputError(f"images are {images.dtype} {tuple(images.shape)}: give uint8 (N, C, S, "
                         "S) from 0 to 255 with 1 or 3 channels "
                         f"({convert if images.is_floating_point() else add})")


def check_floats(images: Tensor, channels: int, size: int) -> None:
    """Raise InputError unless images are float32 (N, channels, size, size) in [0, 1]."""
    if images.shape[1:] != (channels, size, size):
        needed, given = f"(N, {channels}, {size}, {size})", tuple(images.shape)
        raise InputError(f"images of shape {given} do not fit: this model needs {needed}")
    if images.dtype != torch.float32:
        raise InputError(f"images are {images.dtype}: give float32 in [0, 1] (to_float(images))")
    if len(images) and not (images.min() >= -0.01 and images.max() <= 1.01):  # also for nan
        low, high = images.min(), images.max()
        raise InputError(f"images range from {low:g} to {high:g}: give pixels from 0 to 1")


def chunk_size(side: int) -> int:
    """How many images of this side to process at a time: 1,000, or fewer above 64x64 pixels."""
    return max(1, min(1000, 1000 * 64**2 // side**2))


def chunks(images: Tensor) -> tuple[Tensor, ...]:
    """Images (N, C, S, S) in parts of `chunk_size`."""
    return images.split(chunk_size(images.shape[-1]))


def to_bytes(images: Tensor) -> Tensor:
    """Floats, clamped to [0, 1] -> uint8 0 ... 255. Raises TrainingError for NaN."""
    if images.isnan().any():
        raise TrainingError("the images contain NaN: the weights are damaged, or far too large")
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def to_float(images: Tensor) -> Tensor:
    """uint8 0 ... 255 -> float in [0, 1]."""
    return images.float() / 255


def pictures(images: Tensor) -> list[Image.Image]:
    """(N, C, S, S) in [0, 1] -> N pictures of S x S pixels, grey or RGB."""
    pixels = to_bytes(images).permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
            for image in pixels]


def grid(images: Tensor, columns: int | None = None, rows: int | None = None) -> Image.Image:
    """(N, C, S, S) in [0, 1] -> one picture, row by row, with grey lines in between.

    columns: default as square as possible. rows: fill this many rows from left to right instead,
    image k in row k % rows.
    """
    # torchvision's make_grid gives the same pixels, but its import takes a second.
    count, size = len(images), images.shape[-1]
    columns = min(count, columns or math.ceil(count / rows if rows else math.sqrt(count)))
    lines, step = rows or math.ceil(count / columns), size + 1
    sheet = np.full((lines * step + 1, columns * step + 1, 3), 128, dtype=np.uint8)
    for k, image in enumerate(to_bytes(images).permute(0, 2, 3, 1).numpy()):
        row, column = (k % rows, k // rows) if rows else divmod(k, columns)
        top, left = 1 + row * step, 1 + column * step
        sheet[top : top + size, left : left + size] = image  # grey becomes RGB
    scale = max(1, round(SCALE * 28 / size))
    return Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1))


def captioned(parts: Iterable[tuple[str, Image.Image]], across: bool = False) -> Image.Image:
    """Pictures under their captions, one below the other, or side by side if `across`."""
    parts = [(plain(caption), picture) for caption, picture in parts]
    font, line, gap = ImageFont.load_default(16), 24, 8
    widths = [max(picture.width, int(font.getlength(caption))) for caption, picture in parts]
    heights = [picture.height + line for _, picture in parts]
    gaps = gap * (len(parts) - 1)
    ends = (sum(widths) + gaps, max(heights)) if across else (max(widths), sum(heights) + gaps)
    sheet, x, y = Image.new("RGB", ends, "white"), 0, 0
    canvas = ImageDraw.Draw(sheet)
    for (caption, picture), width, height in zip(parts, widths, heights, strict=True):
        canvas.text((x, y + 2), caption, fill="black", font=font)
        sheet.paste(picture, (x, y + line))
        x, y = (x + width + gap, y) if across else (x, y + height + gap)
    return sheet


def save(picture: Image.Image, path: str | Path) -> None:
    """Write a picture in the format of its ending.

    Raises InputError for others than FORMATS, and for a picture that is too large for its format.
    """
    path = check_target(Path(path), *FORMATS)
    write_picture(picture, path, FORMATS[path.suffix.lower()], "fewer images, or a .png file")


def save_gif(frames: list[Image.Image], path: str | Path, milliseconds: int = 60,
             hold: int = 2000) -> None:
    """Write an endless animation. The last frame stays for `hold` milliseconds.

    Raises InputError for another ending, and for frames that are too large.
    """
    path = check_target(Path(path), ".gif")
    durations = [milliseconds] * (len(frames) - 1) + [hold]
    options = dict(save_all=True, append_images=frames[1:], duration=durations, loop=0)
    write_picture(frames[0], path, "GIF", "fewer images", **options)


def write_picture(picture: Image.Image, path: Path, kind: str, fix: str, **options: Any) -> None:
    """Write a picture to a file. Raises InputError if it is too large for `kind`.

    fix: what to write instead. options: of Pillow.
    """
    if max(picture.size) > LARGEST.get(kind, math.inf):
        raise InputError(f"{path}: {picture.width} x {picture.height} pixels are too many for "
                         f"{kind}: write {fix}")
    content = io.BytesIO()
    picture.save(content, kind, **options)
    write_bytes(path, content.getbuffer())
