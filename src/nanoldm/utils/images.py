"""Images to files that people look at: grids, captioned rows, GIFs. Tensors in, files out."""

import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from nanoldm.data import to_bytes
from nanoldm.utils.files import write_bytes
from nanoldm.utils.paths import check_target
from nanoldm.utils.text import plain

FORMATS = {".png": "PNG", ".gif": "GIF", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
SCALE = 3           # screen pixels for each pixel of a small image


def grid(images: Tensor, columns: int | None = None, rows: int | None = None) -> Image.Image:
    """(N, C, S, S) in [0, 1] -> one picture, row by row, as square as possible unless `columns` is given.

    With `rows` the images are dealt to that many rows in turn: image k lies in row k % rows.
    """
    # Not torchvision's make_grid (the tests compare with it): its import takes a second, a quarter of a whole `nanoldm sample`.
    count, size = len(images), images.shape[-1]
    columns = math.ceil(count / rows) if rows else min(count, columns or math.ceil(math.sqrt(count)))
    across, rows = not rows, rows or math.ceil(count / columns)
    step = size + 1                                                                           # a grey line between images and around
    sheet = np.full((rows * step + 1, columns * step + 1, 3), 128, dtype=np.uint8)
    for k, image in enumerate(to_bytes(images).permute(0, 2, 3, 1).numpy()):
        row, column = divmod(k, columns) if across else divmod(k, rows)[::-1]
        top, left = 1 + row * step, 1 + column * step
        sheet[top : top + size, left : left + size] = image                                   # grey becomes RGB
    scale = max(1, round(SCALE * 28 / size))
    return Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1))


def captioned(parts: Iterable[tuple[str, Image.Image]], across: bool = False) -> Image.Image:
    """Pictures under their captions, one below the other (or side by side)."""
    parts, font, line, gap = [(plain(caption), picture) for caption, picture in parts], ImageFont.load_default(16), 24, 8
    widths = [max(picture.width, int(font.getlength(caption))) for caption, picture in parts]
    heights = [picture.height + line for _, picture in parts]
    ends = (sum(widths) + gap * (len(parts) - 1), max(heights)) if across else (max(widths), sum(heights) + gap * (len(parts) - 1))
    sheet, x, y = Image.new("RGB", ends, "white"), 0, 0
    draw = ImageDraw.Draw(sheet)
    for (caption, picture), width, height in zip(parts, widths, heights, strict=True):
        draw.text((x, y + 2), caption, fill="black", font=font)
        sheet.paste(picture, (x, y + line))
        x, y = (x + width + gap, y) if across else (x, y + height + gap)
    return sheet


def save(picture: Image.Image, path: str | Path) -> None:
    path, content = check_target(Path(path), *FORMATS), io.BytesIO()
    picture.save(content, FORMATS[path.suffix.lower()])
    write_bytes(path, content.getbuffer())


def save_gif(frames: list[Image.Image], path: str | Path, milliseconds: int = 60, hold: int = 2000) -> None:
    """An endless animation; the last frame stays for `hold` milliseconds."""
    path, content = check_target(Path(path), ".gif"), io.BytesIO()
    durations = [milliseconds] * (len(frames) - 1) + [hold]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    write_bytes(path, content.getbuffer())
