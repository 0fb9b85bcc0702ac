"""Image files with odd blocks in addition to their pixels, as generators, editors and cameras write
them.
"""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from nanoldm.data.image_file import PNG_SIGNATURE, open_rgba
from nanoldm.utils.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)


def chunk(kind, body):
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(file, *chunks):
    """A PNG of PIXELS with more chunks after its header."""
    Image.fromarray(PIXELS).save(file)
    content = file.read_bytes()
    end = len(PNG_SIGNATURE) + 25
    file.write_bytes(content[:end] + b"".join(chunks) + content[end:])
    return file


ODD = {
    "a text of many megabytes": chunk(b"zTXt",
                                      b"prompt\0\0" + zlib.compress(b"a cat " * 3_000_000)),
    "many large texts": b"".join(chunk(b"zTXt", b"k%d\0\0" % k + zlib.compress(b"word" * 250_000))
                                 for k in range(80)),
    "an international text": chunk(b"iTXt",
                                   b"XML:com.adobe.xmp\0\1\0\0\0"
                                   + zlib.compress(b"<x/>" * 2_000_000)),
    "a text without a key": chunk(b"tEXt", b"\0\0\xff\xfe"),
    "a broken compressed text": chunk(b"zTXt", b"key\0\0not zlib"),
    "a large colour profile": chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"\0" * 8_000_000)),
    "a broken colour profile": chunk(b"iCCP", b"icc\0\0nothing"),
    "no EXIF block": chunk(b"eXIf", b"Exif\0\0nothing"),
    "a damaged EXIF block": chunk(b"eXIf", b"MM\0*\0\0\0\x08")[:-4] + b"\0\0\0\0",
    "an odd EXIF block": chunk(b"eXIf",
                               b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\xff\0\0\0\x99\0\0\0\0"),
    "an unknown chunk with a wrong checksum": chunk(b"vpAg", b"12345678")[:-4] + b"\0\0\0\0",
    "a gamma of 0": chunk(b"gAMA", b"\0\0\0\0")
}


@pytest.mark.parametrize("kind", ODD)
def test_a_png_is_read_with_any_other_chunks(kind, tmp_path):
    image, mode, frames = open_rgba(with_chunks(tmp_path / "a.png", ODD[kind]))
    assert (np.asarray(image)[..., :3] == PIXELS).all()
    assert (mode, frames) == ("RGB", 1)


def test_what_does_decide_about_pixels_is_kept(tmp_path):
    palette = Image.fromarray(PIXELS).quantize(4)
    palette.save(tmp_path / "palette.png", transparency=2)
    image, mode, _ = open_rgba(tmp_path / "palette.png")
    assert mode == "P"
    assert ((np.asarray(image)[..., 3] == 0) == (np.asarray(palette) == 2)).all()
    exif = Image.Exif()
    exif[0x0112] = 6                                        # to be turned by a quarter
    Image.fromarray(PIXELS).save(tmp_path / "turned.png", exif=exif)
    assert (np.asarray(open_rgba(tmp_path / "turned.png")[0])[..., :3]
            == np.rot90(PIXELS, -1)).all()
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    image, _, count = open_rgba(tmp_path / "moving.png")
    assert count == 2
    assert (np.asarray(image)[..., :3] == PIXELS).all()


@pytest.mark.parametrize("cut", [9, 40, -100])
def test_a_png_that_ends_early_is_an_error_with_its_name(cut, tmp_path):
    file = with_chunks(tmp_path / "a.png", chunk(b"tEXt", b"key\0text"))
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"a\.png cannot be read as an image"):
        open_rgba(file)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_odd_exif_and_colour_profiles_of_other_formats_do_no_harm(kind, tmp_path):
    file = tmp_path / "a.img"
    Image.fromarray(PIXELS).save(file, kind,
                                 **({} if kind == "TIFF"
                                    else {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x09"}),
                                 icc_profile=b"\0" * 300_000)
    assert np.abs(np.asarray(open_rgba(file)[0])[..., :3].astype(int) - PIXELS).mean() < 60


def test_a_photo_of_several_pictures_in_one_file_shows_the_first(tmp_path):
    first, second = (Image.new("RGB", (9, 6), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[second])
    assert np.asarray(open_rgba(tmp_path / "phone.jpg")[0])[0, 0, 0] > 200


def test_an_orientation_that_lies_in_a_text_is_applied(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    file = with_chunks(tmp_path / "a.png", chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    assert (np.asarray(open_rgba(file)[0])[..., :3] == np.rot90(PIXELS, -1)).all()
