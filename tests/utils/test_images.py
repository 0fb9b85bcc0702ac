"""Pictures show the pixels that they were given."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.utils import make_grid

from nanoldm.utils import images as pictures
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator


def noise(count, channels=1, size=28):
    """Images with whole grey levels, so that nothing is lost to rounding."""
    return torch.randint(256, (count, channels, size, size), generator=generator(count)) / 255


def tile(picture, row, column, size, scale):
    """The image at (row, column) of a grid whose images have lines of one pixel around them: (size,
    size, 3) bytes.
    """
    pixels = np.asarray(picture)[::scale, ::scale]
    top, left = 1 + row * (size + 1), 1 + column * (size + 1)
    return pixels[top : top + size, left : left + size]


def as_bytes(image):
    return image.mul(255).round().byte().expand(3, -1, -1).permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("channels", "size", "scale"),
                         [(1, 28, 3), (3, 28, 3), (1, 12, 7), (3, 96, 1)])
def test_a_grid_holds_the_images_row_by_row_in_whole_multiples_of_their_size(channels, size, scale):
    images = noise(6, channels, size)
    picture = pictures.grid(images, columns=2)
    assert picture.size == ((2 * (size + 1) + 1) * scale, (3 * (size + 1) + 1) * scale)
    for k, image in enumerate(images):
        assert np.array_equal(tile(picture, k // 2, k % 2, size, scale), as_bytes(image))
    pixels = np.asarray(picture)
    assert np.array_equal(pixels,
                          np.kron(pixels[::scale, ::scale],
                                  np.ones((scale, scale, 1), dtype=np.uint8)))


@pytest.mark.parametrize(("count", "channels", "columns"), [(6, 1, 3), (7, 3, 4), (2, 1, 5)])
def test_a_grid_is_that_of_torchvision(count, channels, columns):
    images = noise(count, channels)
    theirs = make_grid(images, nrow=columns, padding=1,
                       pad_value=0.5).mul(255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(pictures.grid(images, columns))[::3, ::3], theirs)


@pytest.mark.parametrize(("count", "columns", "rows"),
                         [(4, 2, 2), (5, 3, 2), (16, 4, 4), (17, 5, 4)])
def test_a_grid_is_as_square_as_possible(count, columns, rows):
    width, height = pictures.grid(noise(count)).size
    assert (width // (29 * 3), height // (29 * 3)) == (columns, rows)


def test_one_image_alone_is_shown_too():
    image = noise(1)
    pixels = np.asarray(pictures.grid(image))[::3, ::3]
    margin = (len(pixels) - 28) // 2
    assert np.array_equal(pixels[margin : margin + 28, margin : margin + 28], as_bytes(image[0]))


def test_values_outside_0_to_1_are_cut_off_and_the_images_left_alone():
    images = torch.stack((torch.full((1, 28, 28), -0.5), torch.full((1, 28, 28), 1.5)))
    picture = pictures.grid(images)
    assert tile(picture, 0, 0, 28, 3).max() == 0
    assert tile(picture, 0, 1, 28, 3).min() == 255
    assert (images.min(), images.max()) == (-0.5, 1.5)


def test_values_between_two_grey_levels_go_to_the_nearer_one():
    images = torch.stack((torch.full((1, 28, 28), 99.6 / 255), torch.full((1, 28, 28), 99.4 / 255)))
    picture = pictures.grid(images)
    assert [np.unique(tile(picture, 0, k, 28, 3)).tolist() for k in range(2)] == [[100], [99]]


def find(sheet, picture):
    """(x, y) of a picture in a sheet."""
    sheet, picture = np.asarray(sheet), np.asarray(picture)
    height, width = picture.shape[:2]
    return [(x, y) for y in range(len(sheet) - height + 1)
            for x in range(sheet.shape[1] - width + 1)
            if np.array_equal(sheet[y : y + height, x : x + width], picture)]


@pytest.mark.parametrize("across", [False, True])
def test_captions_stand_over_their_pictures_and_nothing_overlaps(across):
    first, second = pictures.grid(noise(4)), pictures.grid(noise(2))
    sheet = pictures.captioned([("first", first), ("second", second)], across)
    [(x1, y1)], [(x2, y2)] = find(sheet, first), find(sheet, second)
    apart, along = (
        (x2 - x1, y2 - y1), (first.width, 0)
    ) if across else ((y2 - y1, x2 - x1), (first.height, 0))
    assert apart[0] > along[0]
    assert apart[1] == along[1]
    for x, y in ((x1, y1), (x2, y2)):
        above = np.asarray(sheet)[y - 16 : y, x : x + 40]
        assert above.min() < 100 < 255 == above.max()              # dark letters on white


def test_a_sheet_is_as_large_as_its_parts():
    part = Image.new("RGB", (200, 50), "red")
    one = pictures.captioned([("a", part)])
    below, across = (pictures.captioned([("a", part), ("b", part)], across=across)
                     for across in (False, True))
    assert one.width == below.width == 200
    assert one.height == across.height > 50
    assert below.height >= 2 * one.height
    assert across.width >= 2 * one.width


def test_a_caption_that_is_wider_than_its_picture_makes_room():
    narrow = pictures.captioned([("a", Image.new("RGB", (10, 10)))])
    wide = pictures.captioned([("a much longer caption than that", Image.new("RGB", (10, 10)))])
    assert wide.width > 5 * narrow.width


@pytest.mark.parametrize(("name", "kind"),
                         [("a.png", "PNG"), ("b.GIF", "GIF"), ("c.jpg", "JPEG"), ("d.jpeg", "JPEG"),
                          ("e.webp", "WEBP")])
def test_a_picture_is_saved_in_the_format_of_its_name(tmp_path, name, kind):
    pictures.save(pictures.grid(noise(4)), tmp_path / name)
    with Image.open(tmp_path / name) as picture:
        assert (picture.format, picture.size) == (kind, (59 * 3, 59 * 3))
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_png_keeps_every_pixel(tmp_path):
    picture = pictures.grid(noise(4, 3))
    pictures.save(picture, str(tmp_path / "new" / "a.png"))
    with Image.open(tmp_path / "new" / "a.png") as saved:
        assert np.array_equal(np.asarray(saved), np.asarray(picture))


@pytest.mark.parametrize("name", ["a.pdf", "a", "png"])
def test_an_unknown_ending_is_an_error_with_the_known_ones(tmp_path, name):
    with pytest.raises(InputError, match=rf"{name}: .*\.png"):
        pictures.save(pictures.grid(noise(4)), tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: .*\.gif"):
        pictures.save_gif([pictures.grid(noise(4))], tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.webp", "a.jpg", "a.gif"])
def test_a_picture_that_is_too_large_for_its_format_is_an_error(tmp_path, name):
    with pytest.raises(InputError, match=r"70000 x 1 pixels are too many for .*: write fewer"):
        pictures.save(Image.new("L", (70_000, 1)), tmp_path / name)
    with pytest.raises(InputError, match=r"too many for GIF: write fewer images$"):
        pictures.save_gif([Image.new("L", (70_000, 1))], tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())
    largest = pictures.LARGEST[pictures.FORMATS[f".{name[2:]}"]]
    pictures.save(Image.new("L", (largest, 1)), tmp_path / name)


def test_a_gif_has_the_frames_in_order_and_holds_the_last(tmp_path):
    greys = [0, 120, 255]
    pictures.save_gif([Image.new("RGB", (20, 10), (grey, grey, grey)) for grey in greys],
                      tmp_path / "a.gif", milliseconds=50, hold=700)
    with Image.open(tmp_path / "a.gif") as animation:
        # 0: for ever
        assert (animation.n_frames, animation.size, animation.info["loop"]) == (3, (20, 10), 0)
        for k, (grey, duration) in enumerate(zip(greys, [50, 50, 700], strict=True)):
            animation.seek(k)
            assert animation.info["duration"] == duration
            assert np.unique(np.asarray(animation.convert("RGB"))).tolist() == [grey]
