"""Any image file becomes an image of a model: photos, transparency, odd kinds of files."""

import numpy as np
import pytest
import torch
from PIL import Image

from nanoldm.data import load
from nanoldm.editing.masks import fit_mask, read_mask
from nanoldm.editing.photo import fit_image
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.metrics import extract
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float


@pytest.fixture(scope="module")
def test_set():
    return load("mnist")[1]


@pytest.fixture(scope="module")
def examples(test_set):
    """Images like those of a model of MNIST."""
    return to_float(test_set.images[100:132])


def big(image, side):
    return np.asarray(
        Image.fromarray(image[0].numpy()).resize((side, side), Image.Resampling.BICUBIC)
    ) / 255


def photo(image, side=140, at=(120, 380), size=(480, 640), thin=1.0):
    """Dark ink on paper that is lit from the lower right, with grain and a warm tint."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    paper = 100 + 130 * (0.6 * x / width + 0.4 * y / height)
    ink = np.zeros(size)
    ink[at[0] : at[0] + side, at[1] : at[1] + side] = big(image, side) ** thin
    grey = paper * (1 - 0.7 * ink) + np.random.default_rng(0).normal(0, 5, size)
    return Image.fromarray((grey[..., None] * [1, 0.97, 0.88]).clip(0, 255).astype(np.uint8))


def recognised(images, labels):
    """The share that a classifier, trained on MNIST alone, takes for what they are."""
    return (extract(load_features("digits-v1").networks["classifier"], images)[1].argmax(1)
            == labels).float().mean()


PLACES = {"small": {}, "large": {"side": 300, "at": (100, 20)},
          "tiny": {"side": 60, "at": (400, 30)}, "tall": {"size": (900, 300), "at": (600, 90)}}


@pytest.mark.parametrize("place", PLACES)
def test_a_photo_of_a_digit_becomes_a_digit_of_mnist(test_set, examples, tmp_path, place):
    fitted = []
    for k in range(6):
        photo(test_set.images[k], **PLACES[place]).save(tmp_path / f"{k}.png")
        image, done, *_ = fit_image(tmp_path / f"{k}.png", examples)
        assert all(word in done
                   for word in ("RGB -> grey", "inverted: images of the model are light on dark",
                                "cropped to the ink"))
        fitted.append(image)
    fitted = torch.cat(fitted)
    assert fitted.shape == (6, 1, 28, 28)
    assert recognised(fitted, test_set.labels[:6]) > 0.8
    assert fitted[..., :2, :].max() < 0.05          # nothing of the paper is left


def test_ink_is_fitted_into_the_box_and_its_centre_of_mass_into_the_middle(
    test_set, examples, tmp_path
):
    photo(test_set.images[2]).save(tmp_path / "one.png")
    image = fit_image(tmp_path / "one.png", examples)[0][0, 0]
    rows, columns = (torch.nonzero((image > 0.05).any(axis)).flatten() for axis in (1, 0))
    assert 19 <= max(rows.max() - rows.min(), columns.max() - columns.min()) + 1 <= 21
    middle = [(image.sum(axis) * (torch.arange(28) + 0.5)).sum() / image.sum() for axis in (0, 1)]
    assert middle == pytest.approx([14, 14], abs=0.7)


def test_thin_lines_are_thickened_until_they_can_be_seen(examples, tmp_path):
    sheet = Image.new("L", (600, 600), 230)
    sheet.paste(40, (300, 100, 304, 500))
    sheet.paste(40, (200, 100, 300, 104))
    sheet.save(tmp_path / "line.png")
    image, done, *_ = fit_image(tmp_path / "line.png", examples)
    assert "strokes thickened" in done
    assert image.max() > 0.8
    assert 1 <= image[0, 0, 16].sum() <= 3           # the width of the line, in pixels


def test_what_has_the_models_size_and_polarity_is_taken_as_it_is(test_set, examples, tmp_path):
    Image.fromarray(test_set.images[0, 0].numpy()).save(tmp_path / "digit.png")
    image, done, *_ = fit_image(tmp_path / "digit.png", examples)
    assert torch.equal(image, to_float(test_set.images[:1]))
    assert done == f"input {tmp_path / 'digit.png'}: 28x28 grey -> taken as it is"
    Image.fromarray(255 - test_set.images[0, 0].numpy()).save(tmp_path / "digit.png")
    assert torch.equal(fit_image(tmp_path / "digit.png", examples)[0], image)


def test_transparency_16_bits_and_animations_show_the_same_digit(test_set, examples, tmp_path):
    original = test_set.images[0]
    bits = (big(original, 112) * 255).clip(0, 255).astype(np.uint8)
    shape = np.zeros((112, 112, 4), dtype=np.uint8)
    shape[..., 3] = bits
    Image.fromarray(shape).save(tmp_path / "black_on_nothing.png")
    shape[..., :3] = 255
    Image.fromarray(shape).save(tmp_path / "white_on_nothing.png")
    Image.fromarray(65535 - bits.astype(np.uint16) * 200).save(tmp_path / "deep.png")
    frames = [Image.fromarray(255 - bits), Image.fromarray(255 - bits.T)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    kinds = {"black_on_nothing.png": "RGBA", "white_on_nothing.png": "RGBA",
             "deep.png": "16-bit grey", "moving.gif": "the first of 2 frames"}
    for name, kind in kinds.items():
        image, done, *_ = fit_image(tmp_path / name, examples)
        assert kind in done
        assert recognised(image, test_set.labels[:1]) == 1, name


def test_other_data_is_cropped_and_resized_and_inverted_only_against_a_plain_background(tmp_path):
    Image.fromarray(np.full((60, 90, 3), (200, 30, 30), dtype=np.uint8)).save(tmp_path / "red.png")
    colour = torch.rand(8, 3, 16, 16)
    image, done, *_ = fit_image(tmp_path / "red.png", colour)
    assert image.mul(255).round()[0, :, 5, 5].tolist() == [200, 30, 30]
    assert done.endswith("90x60 RGB -> cropped to a square, resized to 16x16")
    image, done, *_ = fit_image(tmp_path / "red.png", torch.rand(8, 1, 16, 16))
    assert "inverted" not in done
    assert image.shape == (1, 1, 16, 16)
    clothes = torch.zeros(8, 1, 28, 28)
    clothes[..., :, 4:24] = 0.7             # dark background, but no margin above and below
    page = Image.new("L", (56, 56), 255)
    page.paste(100, (10, 0, 46, 56))
    page.save(tmp_path / "shirt.png")
    image, done, *_ = fit_image(tmp_path / "shirt.png", clothes)
    assert done.endswith("inverted: images of the model are light on dark, resized to 28x28")
    assert (image[0, 0, 14, 0], image[0, 0, 14, 14]) == pytest.approx((0, 155 / 255), abs=0.01)
    dark_on_light = 1 - clothes
    assert "inverted" not in fit_image(tmp_path / "shirt.png", dark_on_light)[1]


def test_what_is_no_usable_image_is_an_error_of_one_line(examples, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    Image.new("RGB", (50, 50), "white").save(tmp_path / "blank.png")
    for name, message in {"text.png": "cannot be read as an image", "none.png": "is no file",
                          "dot.png": "shows no ink", "blank.png": "shows no ink"}.items():
        with pytest.raises(InputError, match=message) as raised:
            fit_image(tmp_path / name, examples)
        assert "\n" not in str(raised.value)
        assert name in str(raised.value)


def test_a_single_pixel_fills_the_image_of_a_model_without_ink(tmp_path):
    Image.new("RGB", (1, 1), "red").save(tmp_path / "dot.png")
    image, done, *_ = fit_image(tmp_path / "dot.png", torch.rand(8, 3, 16, 16))
    assert torch.equal(image, torch.tensor([1.0, 0, 0])[None, :, None, None].expand(1, 3, 16, 16))
    assert done.endswith("1x1 RGB -> resized to 16x16")


def test_a_mask_is_white_where_it_is_to_be_painted(tmp_path):
    rows, columns = torch.meshgrid(torch.arange(28), torch.arange(28), indexing="ij")
    expected = {"left": columns < 14, "right": columns >= 14, "top": rows < 14,
                "bottom": rows >= 14}
    for half, masked in expected.items():
        assert torch.equal(fit_mask(half, 28).masked[0, 0], masked)
    Image.fromarray(np.uint8([[0, 255], [0, 0]])).save(tmp_path / "corner.png")
    assert torch.equal(fit_mask(str(tmp_path / "corner.png"), 28).masked[0, 0],
                       expected["right"] & expected["top"])
    # as image editors export it: all white, most of it transparent
    layer = Image.new("RGBA", (2, 2), (255, 255, 255, 0))
    layer.putpixel((1, 0), (255, 255, 255, 255))
    layer.save(tmp_path / "layer.png")
    assert torch.equal(fit_mask(str(tmp_path / "layer.png"), 28).masked[0, 0],
                       expected["right"] & expected["top"])
    with pytest.raises(InputError,
                       match=r"there is no mask middle: .* or left, right, top, bottom"):
        fit_mask("middle", 28)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match=r"text\.png cannot be read"):
        fit_mask(str(tmp_path / "text.png"), 28)


def layered(colour, alpha, hole=None) -> Image.Image:
    """28x28 of one colour (or an array of greys) with transparency `alpha`, and `hole` in the
    columns 14 to 27.
    """
    grey = np.full((28, 28), colour, dtype=np.uint8) if isinstance(colour, int) else colour
    opacity = np.full((28, 28), alpha, dtype=np.uint8)
    opacity[8:20, 14:20] = alpha if hole is None else hole
    return Image.fromarray(np.dstack([grey, grey, grey, opacity]), "RGBA")


PHOTOGRAPH = np.tile(np.arange(0, 252, 9, dtype=np.uint8), (28, 1))


@pytest.mark.parametrize(("layer", "words"), [
    (layered(0, 255, hole=0), "its transparent pixels"),                # black with a hole
    (layered(255, 255, hole=0), "its transparent pixels"),              # a white page with a hole
    # the photograph itself with a hole, as web services want it
    (layered(PHOTOGRAPH, 255, hole=0), "its transparent pixels"),
    # white strokes on a transparent layer
    (layered(255, 0, hole=255), "its white pixels"),
])
def test_a_mask_in_transparency_alone_is_read_as_editors_and_services_mean_it(
    tmp_path, layer, words
):
    layer.save(tmp_path / "mask.png")
    expected = torch.zeros(28, 28, dtype=torch.bool)
    expected[8:20, 14:20] = True
    assert torch.equal(fit_mask(str(tmp_path / "mask.png"), 28).masked[0, 0], expected)
    assert read_mask(str(tmp_path / "mask.png"))[1] == words


@pytest.mark.parametrize("side", [1400, 1403, 29, 14, 3])
def test_a_pixel_is_painted_where_any_painted_pixel_touches_it(tmp_path, side):
    pixels = np.zeros((side, side), dtype=np.uint8)
    pixels[side // 2, :] = 255                                          # a line one pixel wide
    Image.fromarray(pixels).save(tmp_path / "line.png")
    rows = fit_mask(str(tmp_path / "line.png"), 28).masked[0, 0].all(1)
    touched = [k for k in range(28) if k * side < (side // 2 + 1) * 28 and (k + 1) * side
               > side // 2 * 28]
    assert rows.nonzero()[:, 0].tolist() == touched


def test_light_strokes_on_nothing_is_seen_in_spite_of_a_speck(test_set, examples, tmp_path):
    for level, speck in ((255, True), (250, False), (230, True)):
        pixels = np.full((112, 112, 4), level, dtype=np.uint8)
        pixels[..., 3] = big(test_set.images[0], 112) * 255
        if speck:
            pixels[104:108, 104:108] = (120, 120, 120, 255)
        Image.fromarray(pixels).save(tmp_path / "light.png")
        fitted = fit_image(tmp_path / "light.png", examples)
        assert fitted.box[0] < 30           # where the strokes are, not the speck
        if not speck:
            assert recognised(fitted.image, test_set.labels[:1]) == 1
