"""Photos, scans, forms and crops of digits (the scenes of benchmarks/photos.py) become digits of
MNIST, and masks follow them.
"""

import numpy as np
import photos
import pytest
import torch
from PIL import Image

from nanoldm.data import load
from nanoldm.editing.masks import fit_mask
from nanoldm.editing.photo import fit_image
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.metrics import extract
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float

DIGITS = 10
AROUND = {"desk": "a frame around it left out", "white frame": "a frame around it left out",
          "scanner edge on one": "an edge around it left out",
          "printed box and": "a box around it left out"}


@pytest.fixture(scope="module")
def test_set():
    return load("mnist")[1]


@pytest.fixture(scope="module")
def examples(test_set):
    return to_float(test_set.images[-16:])


@pytest.mark.slow
@pytest.mark.parametrize("name", photos.SCENES)
def test_a_picture_of_a_digit_becomes_that_digit(name, test_set, examples, tmp_path):
    fitted, done = [], []
    for number in range(DIGITS):
        photos.picture(name, test_set.images[number], number).save(tmp_path / "picture.png")
        found = fit_image(tmp_path / "picture.png", examples)
        fitted.append(found.image)
        done.append(found.done)
    seen = extract(load_features("digits-v1").networks["classifier"],
                   torch.cat(fitted))[1].argmax(1)
    assert (seen == test_set.labels[:DIGITS]).sum() >= DIGITS - 2
    for part, words in AROUND.items():
        if part in name:
            assert sum(words in line for line in done) >= DIGITS - 2
    if name in ("paper, evenly lit", "blackboard", "cropped to the ink"):
        assert not [line for line in done if "left out" in line]


def test_the_polarity_can_be_reversed_and_fitting_left_out(test_set, examples, tmp_path):
    file = tmp_path / "picture.png"
    photos.picture("enlarged MNIST", test_set.images[0], 0).save(file)
    chosen, other = fit_image(file, examples), fit_image(file, examples, invert=True)
    assert "inverted" not in chosen.done
    assert "inverted, as asked" in other.done
    plain = fit_image(file, examples, fit=False)
    reversed_ = fit_image(file, examples, fit=False, invert=True)
    assert plain.done.endswith("112x112 grey -> resized to 28x28")
    assert torch.allclose(plain.image, 1 - reversed_.image, atol=2 / 255)
    assert (plain.image - chosen.image).abs().mean() < 0.2          # it was light on dark already
    photos.picture("enlarged MNIST, inverted", test_set.images[0], 0).save(file)
    assert "inverted: images of the model are light on dark" in fit_image(file, examples).done
    assert "not inverted, as asked" in fit_image(file, examples, invert=True).done


def test_colours_are_inverted_only_when_asked(tmp_path):
    Image.new("RGB", (20, 20), (200, 30, 0)).save(tmp_path / "red.png")
    colour = torch.rand(8, 3, 16, 16)
    inverted = fit_image(tmp_path / "red.png", colour, invert=True).image
    assert inverted.mul(255).round()[0, :, 0, 0].tolist() == [55, 225, 255]


@pytest.mark.parametrize("name",
                         ["paper, evenly lit", "blackboard", "dark desk around", "printed box",
                          "cropped to the ink"])
def test_a_mask_of_the_picture_paints_what_it_marks_there(name, test_set, examples, tmp_path):
    """The mask covers the ink itself: then what is masked must be where the fitted ink is, and
    nowhere else.
    """
    file = tmp_path / "picture.png"
    for number in (0, 2, 4):
        image = photos.picture(name, test_set.images[number], number)
        image.save(file)
        clean = np.asarray(image, float)
        fitted = fit_image(file, examples)
        left, top, right, bottom = (round(edge) for edge in fitted.box)
        inside = np.zeros(clean.shape, dtype=bool)
        inside[max(0, top + 2) : max(0, bottom - 2), max(0, left + 2) : max(0, right - 2)] = True
        ink = clean > 125 if name == "blackboard" else clean < 125
        Image.fromarray((ink & inside).astype(np.uint8) * 255).save(tmp_path / "mask.png")
        masked, done = fit_mask(str(tmp_path / "mask.png"), 28, fitted)
        assert done.endswith("its white pixels, cropped as the picture")
        bright = fitted.image > 0.6
        dark = torch.nn.functional.max_pool2d(fitted.image, 3, 1, 1) < 0.05
        assert masked[bright].float().mean() > 0.97
        # a part of the desk may be as dark and near
        assert masked[dark].float().mean() < 0.03 or "desk" in name


def test_a_mask_of_a_photo_for_other_models_is_cropped_to_the_same_square(tmp_path):
    Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (100, 1))).save(tmp_path / "wide.png")
    mask = np.zeros((100, 200), dtype=np.uint8)
    mask[:, 150:] = 255                                  # the crop keeps columns 50 to 149
    Image.fromarray(mask).save(tmp_path / "outside.png")
    mask[:, 100:] = 255
    Image.fromarray(mask).save(tmp_path / "half.png")
    Image.fromarray(mask).resize((100, 50)).save(tmp_path / "smaller.png")
    colour = torch.rand(8, 3, 16, 16)
    fitted = fit_image(tmp_path / "wide.png", colour)
    assert fitted.box == (50, 0, 150, 100)
    assert not fit_mask(str(tmp_path / "outside.png"), 16, fitted).masked.any()
    for name in ("half.png", "smaller.png"):
        masked = fit_mask(str(tmp_path / name), 16, fitted).masked[0, 0]
        assert masked[:, 8:].all()
        assert not masked[:, :8].any()


def test_masks_of_another_shape_or_of_the_models_size_are_laid_over_the_fitted_image(
    test_set, examples, tmp_path
):
    photos.picture("paper, evenly lit", test_set.images[0], 0).save(tmp_path / "picture.png")
    fitted = fit_image(tmp_path / "picture.png", examples)
    for size in ((28, 28), (56, 56)):
        mask = np.zeros(size, dtype=np.uint8)
        mask[:, size[1] // 2 :] = 255
        Image.fromarray(mask).save(tmp_path / "mask.png")
        masked, done = fit_mask(str(tmp_path / "mask.png"), 28, fitted)
        assert torch.equal(masked, fit_mask("right", 28).masked)
        assert "laid over the image as fitted" in done


def test_a_blank_page_on_a_desk_shows_no_ink(examples, tmp_path):
    page = np.full((200, 200), 30, dtype=np.uint8)
    page[30:170, 30:170] = 230
    page[:30] = 230
    page[170:] = page[:, :30] = page[:, 170:] = 230
    Image.fromarray(page).save(tmp_path / "blank.png")
    with pytest.raises(InputError, match=r"blank\.png shows no ink"):
        fit_image(tmp_path / "blank.png", examples)
