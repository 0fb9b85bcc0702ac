"""One image file of any usual kind, as Pillow reads it: upright, 8 bits, with its transparency."""

import io
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nanoldm.utils.errors import InputError
from nanoldm.utils.terminal import quiet

# Formats of Pillow's that are read. Others may start programs, as EPS does, or are no pictures.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP")
MOST_PIXELS = 64_000_000        # of one picture; a small file may claim any number
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL", b"fcTL", b"fdAT"}      # chunks that decide what is seen


@cache
def formats() -> list[str]:
    """Those of FORMATS that this Pillow knows."""
    Image.init()
    return [kind for kind in FORMATS if kind in Image.OPEN]


@cache
def suffixes() -> set[str]:
    """Endings of the files that are read, in small letters, such as .png."""
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in formats()}


def open_rgba(file: Path) -> tuple[Image.Image, str, int]:
    """(the first frame in RGBA, upright, with 8 bits; its mode in the file; number of frames). Raises InputError for a file of another
    kind than FORMATS, and for one that is damaged, in whatever way."""
    if file.exists() and not file.is_file():        # a pipe would never end
        raise InputError(f"{file} cannot be read as an image (it is no file): repair or remove it")
    try:
        with quiet():
            try:
                return decode(file)
            except Exception:       # Pillow may have stumbled over a PNG's texts or colour profile
                if (pixels := pixels_of(file)) is None:
                    raise
            return decode(pixels)
    except MemoryError:
        raise
    except Exception as error:      # of damaged files PIL raises a dozen kinds
        reason = "no image that is known here" if isinstance(error, Image.UnidentifiedImageError) else " ".join(str(error).split())[:150]
        raise InputError(f"{file} cannot be read as an image ({reason or type(error).__name__}): repair or remove it") from None


def decode(source: Path | io.BytesIO) -> tuple[Image.Image, str, int]:
    """As `open_rgba`, with whatever errors Pillow raises."""
    with Image.open(source, formats=formats()) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels are more than {MOST_PIXELS // 10**6} millions: scale it down")
        mode, frames = image.mode, getattr(image, "n_frames", 1)
        image.seek(0)
        return eight_bits(upright(image)).convert("RGBA"), mode, frames


def pixels_of(file: Path) -> io.BytesIO | None:
    """A PNG without the texts, colour profiles and other blocks beside its pixels; None for other files."""
    with open(file, "rb") as stream:
        if stream.read(8) != PNG_SIGNATURE:
            return None
        kept = [PNG_SIGNATURE]
        while len(head := stream.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind not in PNG_PIXELS:
                stream.seek(length + 4, io.SEEK_CUR)        # and the checksum
                continue
            body = stream.read(length + 4)
            if kind != b"eXIf" or zlib.crc32(kind + body[:-4]).to_bytes(4, "big") == body[-4:]:
                kept += [head, body]
    return io.BytesIO(b"".join(kept))


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its camera noted; as it is where that note cannot be read."""
    image.load()            # damaged pixels are an error, an odd EXIF block is none
    try:
        return ImageOps.exif_transpose(image)
    except Exception:       # PIL raises a dozen kinds
        return image


def eight_bits(image: Image.Image) -> Image.Image:
    """16 bits of grey scaled to 8, which PIL's own conversion would clip to white; floats too, from 0 to 1, or to 255 if any is above 1."""
    if image.mode[0] not in "IF":
        return image
    pixels = np.nan_to_num(np.asarray(image, dtype=np.float64))
    scale = 255 / 65535 if image.mode != "F" else 255 if pixels.max() <= 1 else 1
    return Image.fromarray((pixels * scale).clip(0, 255).round().astype(np.uint8))


def on_page(image: Image.Image, page: str) -> Image.Image:
    """An RGBA image in RGB, laid on a page of that colour."""
    sheet = Image.new("RGBA", image.size, page)
    sheet.alpha_composite(image)
    return sheet.convert("RGB")
