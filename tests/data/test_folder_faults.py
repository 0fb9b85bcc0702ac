"""Folders and pictures of strangers: links, damaged files, formats that start programs."""

import io
import random

import numpy as np
import pytest
from PIL import Image

from nanoldm.data import load
from nanoldm.data.image_file import open_rgba
from nanoldm.utils.errors import InputError


def save(folder, name, value=0):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), value).save(folder / name)


def test_class_folders_that_are_links_are_read_and_loops_end(tmp_path):
    for label in range(3):
        for k in range(4):
            save((tmp_path / "elsewhere" / "c") if label == 2 else tmp_path / "set" / "ab"[label],
                 f"{k}.png", 50 * label)
    (tmp_path / "set" / "c").symlink_to(tmp_path / "elsewhere" / "c")
    (tmp_path / "set" / "a" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "itself").symlink_to(tmp_path / "set" / "itself")
    train, test = load(f"folder:{tmp_path / 'set'}", 8)
    assert len(train) + len(test) == 12
    assert sorted({*train.labels.tolist(), *test.labels.tolist()}) == [0, 1, 2]


@pytest.mark.parametrize("name", ["folder:", "folder: "])
def test_a_folder_without_a_name_is_not_the_current_one(name, tmp_path, monkeypatch):
    save(tmp_path, "a.png")
    save(tmp_path, "b.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"folder:\. for the current one"):
        load(name, 8)


def test_a_format_that_starts_a_program_is_not_opened(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.eps")
    (tmp_path / "picture.eps").rename(tmp_path / "picture.png")
    with pytest.raises(InputError,
                       match=r"picture\.png cannot be read as an image \(unknown format\)"):
        open_rgba(tmp_path / "picture.png")


FORMATS = {"PNG": {}, "GIF": {}, "BMP": {}, "WEBP": {}, "JPEG": {},
           "TIFF": {"compression": "tiff_lzw"}}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_picture_is_read_or_rejected_by_name_without_other_output(kind, tmp_path, capfd):
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, kind, **FORMATS[kind])
    chance, file = random.Random(0), tmp_path / "picture.png"
    rejected = []
    for _ in range(150):
        damaged = bytearray(content.getvalue())
        for _ in range(chance.randint(1, 5)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        file.write_bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])])
        try:
            assert open_rgba(file)[0].mode == "RGBA"
        except InputError as error:
            rejected.append(str(error))
    assert rejected
    assert all(message.startswith(f"{file} cannot be read as an image (") and "\n" not in message
               for message in rejected)
    assert capfd.readouterr().err == ""


def test_images_that_need_more_memory_than_there_is_are_rejected_before_they_are_made(monkeypatch):
    monkeypatch.setattr("nanoldm.utils.limits.free_memory", lambda: 1e9)
    needed = "about 140.0 GB needed, 1.0 GB free: choose a smaller size"
    with pytest.raises(InputError,
                       match=r"memory for 70,000 images of 1000x1000 pixels: " + needed):
        load("mnist", 1000)
