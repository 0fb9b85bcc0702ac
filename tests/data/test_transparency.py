"""Transparent images are put on a page on which they can be seen, and sets that show nothing give a
warning.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from nanoldm.data import load


def squares(folder, colours, alpha=255, opaque=()):
    """8x8 images, transparent but for a square of each colour; `opaque` images have one colour."""
    for k, colour in enumerate(colours):
        pixels = np.zeros((8, 8, 4), dtype=np.uint8)
        pixels[2:6, 2 + k % 2 : 6] = (*np.broadcast_to(colour, 3), alpha)
        Image.fromarray(pixels).save(folder / f"{k:02}.png")
    for k, colour in enumerate(opaque):
        Image.new("RGB", (8, 8),
                  tuple(np.broadcast_to(colour, 3).tolist())).save(folder / f"x{k}.png")
    return load(f"folder:{folder}", 8)[0]


def corners(data):
    return sorted(set(data.images[..., 0, 0].flatten().tolist()))


@pytest.mark.parametrize(("colours", "page", "name"),
                         [([255] * 6, 0, "black"), ([240] * 6, 0, "black"),
                          ([(250, 250, 235)] * 6, 0, "black"), ([0] * 6, 255, "white"),
                          ([128] * 6, 255, "white"), ([(255, 230, 0)] * 6, 255, "white"),
                          ([0, 255] * 3, 128, "grey")])
def test_the_page_is_one_on_which_the_images_can_be_seen(tmp_path, colours, page, name):
    data = squares(tmp_path, colours)
    assert corners(data) == [page]
    note = next(note for note in data.notes if "partly transparent" in note)
    assert note.startswith(f"6 images are partly transparent and were put on {name}")
    assert ("hardly be visible on white" in note) == (name != "white")


def test_paper_with_transparent_corners_is_its_own_page(tmp_path):
    for k in range(4):
        pixels = np.full((20, 20, 4), 255, dtype=np.uint8)
        pixels[::19, ::19, 3] = 0
        pixels[8:12, 4 + k : 6 + k, :3] = 0
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
    assert corners(load(f"folder:{tmp_path}", 20)[0]) == [255]


def test_one_image_in_twenty_does_not_decide_about_the_page_of_all(tmp_path):
    assert corners(squares(tmp_path, [0] * 19 + [255])) == [255]


def test_half_transparent_colours_mix_with_the_page(tmp_path):
    data = squares(tmp_path, [255] * 4, alpha=51)
    assert data.images[0, 0, 3, 3] == 51


def test_opaque_images_are_left_alone_without_a_note_about_a_page(tmp_path):
    data = squares(tmp_path, [], opaque=[(10, 20, 30), (40, 50, 60), (1, 2, 3)])
    assert data.images[0, :, 0, 0].tolist() == [10, 20, 30]
    assert not [note for note in data.notes if "partly transparent" in note]


def test_the_page_of_the_test_images_is_that_of_the_training_images(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        squares(tmp_path / part, [255 if part == "train" else 200] * 6)
    train, test = load(f"folder:{tmp_path}", 8)
    assert corners(train) == corners(test) == [0]


@pytest.mark.parametrize("colour", [(255, 255, 255), (200, 30, 30)])
def test_a_set_of_uniform_images_gives_a_warning(tmp_path, colour):
    data = squares(tmp_path, [], opaque=[colour] * 5)
    note = "warning: 4 of 4 training images show one uniform colour: look at the files"
    assert note in data.notes


def test_a_set_without_a_bright_pixel_gives_a_warning(tmp_path):
    for k in range(5):
        Image.fromarray(np.uint8(np.arange(64).reshape(8, 8) // 2 + k)).save(tmp_path / f"{k}.png")
    assert "warning: no pixel of all 4 training images is brighter than 34 of 255" in "\n".join(
        load(f"folder:{tmp_path}", 8)[0].notes
    )


@pytest.mark.parametrize(("top", "seen"), [(1.0, 255), (255.0, 255), (128.0, 128)])
def test_floats_go_to_1_or_to_255(tmp_path, top, seen):
    for k in range(2):
        Image.fromarray(np.full((8, 8), top, dtype=np.float32)).save(tmp_path / f"{k}.tif")
    assert corners(load(f"folder:{tmp_path}", 8)[0]) == [seen]


def test_a_set_of_equal_images_gives_a_warning_and_an_ordinary_one_is_not(tmp_path):
    (tmp_path / "same").mkdir()
    (tmp_path / "other").mkdir()
    noise = torch.randint(256, (8, 8),
                          generator=torch.Generator().manual_seed(0)).to(torch.uint8).numpy()
    for k in range(5):
        Image.fromarray(noise).save(tmp_path / "same" / f"{k}.png")
        Image.fromarray(np.roll(noise, k)).save(tmp_path / "other" / f"{k}.png")
    assert "warning: all 4 training images are the same" in "\n".join(
        load(f"folder:{tmp_path / 'same'}", 8)[0].notes
    )
    assert not load(f"folder:{tmp_path / 'other'}", 8)[0].notes
