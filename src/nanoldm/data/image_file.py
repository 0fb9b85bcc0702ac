"""One image file of any usual format: upright, 8 bits, with its transparency."""

import io
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from nanoldm.utils.errors import InputError
from nanoldm.utils.terminal import quiet
from nanoldm.utils.text import one_line

# Other formats of Pillow may start programs (EPS), or are not images.
FORMATS = ["AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF",
           "WEBP"]
MOST_PIXELS = 64_000_000  # of one image; a small file may claim any number
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# PNG chunks that decide how the image looks
PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf", b"acTL", b"fcTL", b"fdAT"}


@cache
def formats() -> list[str]:
    """Those of FORMATS that this Pillow reads."""
    Image.init()
    return [kind for kind in FORMATS if kind in Image.OPEN]


@cache
def suffixes() -> set[str]:
    """File name endings of these formats in lower case, such as .png."""
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in formats()}


def open_rgba(file: Path) -> tuple[Image.Image, str, int]:
    """(the first frame in RGBA, upright, 8 bits; its mode in the file; number of frames).

    Raises InputError for a damaged file, and for formats that are not in FORMATS.
    """
    what = f"{file} cannot be read as an image"
    if file.exists() and not file.is_file():  # reading a pipe may never end
        raise InputError(f"{what} (not a file): repair or remove it")
    try:
        with quiet():
            try:
                return decode(file)
            except Exception:  # perhaps because of the texts or the colour profile of a PNG
                if (pixels := png_pixels(file)) is None:
                    raise
            return decode(pixels)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many kinds
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = "unknown format" if unknown else one_line(error) or type(error).__name__
        raise InputError(f"{what} ({reason}): repair or remove it") from None


def decode(source: Path | io.BytesIO) -> tuple[Image.Image, str, int]:
    """Like `open_rgba`, with the errors of Pillow."""
    with Image.open(source, formats=formats()) as image:
        if image.width * image.height > MOST_PIXELS:
            size, most = f"{image.width}x{image.height}", MOST_PIXELS // 10**6
            raise ValueError(f"{size} pixels are more than {most} million: scale it down")
        mode, frames = image.mode, getattr(image, "n_frames", 1)
        image.seek(0)
        return eight_bits(upright(image)).convert("RGBA"), mode, frames


def png_pixels(file: Path) -> io.BytesIO | None:
    """A PNG with only the chunks that decide how it looks; None for other formats."""
    with open(file, "rb") as stream:
        if stream.read(8) != PNG_SIGNATURE:
            return None
        kept = [PNG_SIGNATURE]
        while len(head := stream.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind not in PNG_PIXELS:
                stream.seek(length + 4, io.SEEK_CUR)  # content and checksum
                continue
            body = stream.read(length + 4)
            if kind != b"eXIf" or zlib.crc32(kind + body[:-4]).to_bytes(4, "big") == body[-4:]:
                kept += [head, body]
    return io.BytesIO(b"".join(kept))


def upright(image: Image.Image) -> Image.Image:
    """Apply the orientation in the EXIF block, unless it is damaged."""
    image.load()  # damaged pixels are an error, a damaged EXIF block is not
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises many kinds
        return image


def eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey and floats to 8 bits. Floats range from 0 to 1, or to 255 if any is > 1."""
    if image.mode[0] not in "IF":
        return image
    pixels = np.nan_to_num(np.asarray(image, dtype=np.float64))
    scale = 255 / 65535 if image.mode != "F" else 255 if pixels.max() <= 1 else 1
    return Image.fromarray((pixels * scale).clip(0, 255).round().astype(np.uint8))


def on_background(image: Image.Image, colour: str) -> Image.Image:
    """An RGBA image on a background of this colour, in RGB."""
    sheet = Image.new("RGBA", image.size, colour)
    sheet.alpha_composite(image)
    return sheet.convert("RGB")


def is_grey(image: Image.Image) -> bool:
    return image.mode in ("1", "L", "LA") or image.mode[0] in "IF"


def opaque(image: Image.Image, mode: str) -> Image.Image:
    """An image of any mode in "L" or "RGB", 8 bits; transparent parts on white."""
    image = eight_bits(image)
    if image.has_transparency_data:
        image = on_background(image.convert("RGBA"), "white")
    return image.convert(mode)
