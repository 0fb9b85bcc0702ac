"""Images to files that people look at: grids, captioned rows, GIFs. Tensors in, files out."""

import math
from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import make_grid

from nanoldm.files import check_target, replacing

FORMATS = {".png": "PNG", ".gif": "GIF", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
SCALE = 3           # screen pixels for each pixel of a small image


def grid(images: Tensor, columns: int | None = None) -> Image.Image:
    """(N, C, S, S) in [0, 1] -> one picture, row by row, as square as possible unless `columns` is given."""
    sheet = make_grid(images.clamp(0, 1), nrow=columns or math.ceil(math.sqrt(len(images))), padding=1, pad_value=0.5)
    pixels = sheet.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    scale = max(1, round(SCALE * 28 / images.shape[-1]))
    return Image.fromarray(pixels).resize((sheet.shape[2] * scale, sheet.shape[1] * scale), Image.Resampling.NEAREST)


def captioned(parts: Iterable[tuple[str, Image.Image]], across: bool = False) -> Image.Image:
    """Pictures under their captions, one below the other (or side by side)."""
    parts, font, line, gap = list(parts), ImageFont.load_default(16), 24, 8
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
    path = check_target(Path(path), *FORMATS)
    with replacing(path) as temporary:
        picture.save(temporary, FORMATS[path.suffix.lower()])


def save_gif(frames: list[Image.Image], path: str | Path, milliseconds: int = 60, hold: int = 2000) -> None:
    """An endless animation; the last frame stays for `hold` milliseconds."""
    path = check_target(Path(path), ".gif")
    durations = [milliseconds] * (len(frames) - 1) + [hold]
    with replacing(path) as temporary:
        frames[0].save(temporary, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
