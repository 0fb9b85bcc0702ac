"""A folder of the user's own images becomes the same kind of set as MNIST."""

import numpy as np
import pytest
import torch
from PIL import Image

from nanoldm.data import load
from nanoldm.utils.errors import InputError


def put(path, colour, size=(28, 28), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def put_grey(folder, names, **options):
    """One even grey image for each name; the k-th has the grey level k."""
    for k, name in enumerate(names):
        put(folder / name, (k, k, k), **options)


def put_pixels(path, pixels):
    Image.fromarray(np.asarray(pixels)).save(path)


def read(folder, size=None):
    return load(f"folder:{folder}", size)


def levels(data):
    """The grey level of each image, all of which must be even."""
    assert (data.images == data.images[:, :1, :1, :1]).all()
    return data.images[:, 0, 0, 0].tolist()


def pixel(folder):
    """The colour of the even image a.png, read with another one."""
    image = read(folder)[0].images[0]
    assert (image == image[:, :1, :1]).all()
    return image[:, 0, 0].tolist()


def test_every_tenth_image_in_order_of_name_is_for_testing(tmp_path):
    put_grey(tmp_path, [f"{k:03}.png" for k in range(25)])
    train, test = read(tmp_path)
    assert levels(test) == [9, 19]
    assert levels(train) == [k for k in range(25) if k not in (9, 19)]


def test_with_fewer_than_ten_images_the_last_one_is_for_testing(tmp_path):
    put_grey(tmp_path, ["c.png", "a.png", "b.png"])
    assert [levels(data) for data in read(tmp_path)] == [[1, 2], [0]]


def test_images_are_bytes_of_28_pixels_unless_a_size_is_given(tmp_path):
    put_grey(tmp_path, ["a.png", "b.png"], size=(50, 50))
    for size, expected in ((None, 28), (16, 16)):
        for data in read(tmp_path, size):
            assert data.images.shape == (1, 1, expected, expected)
            assert data.images.dtype == torch.uint8
            assert data.labels.dtype == torch.int64


def test_subfolders_are_classes_numbered_in_order_of_name(tmp_path):
    put_grey(tmp_path, ["cat/1.png", "bird/1.png", "dog/1.png", "bird/deeper/2.png", "cat/2.png"])
    train, test = read(tmp_path)
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert levels(train) == [1, 3, 0, 4]
    assert test.labels.tolist() == [2]


def test_images_that_lie_in_no_subfolder_have_no_label(tmp_path):
    put_grey(tmp_path, ["dog/1.png", "loose.png", "cat/1.png"])
    train, test = read(tmp_path)
    assert train.labels.tolist() == [0, 1]
    assert test.labels.tolist() == [-1]


def test_subfolders_train_and_test_are_the_two_sets(tmp_path):
    put_grey(tmp_path,
             ["train/six/a.png", "train/seven/a.png", "test/six/b.png", "test/seven/b.png",
              "test/eight/b.png"])
    train, test = read(tmp_path)
    assert (levels(train), train.labels.tolist()) == ([1, 0], [0, 1])
    # what training has not seen has no number
    assert (levels(test), test.labels.tolist()) == ([4, 3, 2], [-1, 0, 1])


def test_train_without_test_is_an_ordinary_class(tmp_path):
    put_grey(tmp_path, ["car/1.png", "train/1.png", "train/2.png"])
    train, test = read(tmp_path)
    assert train.labels.tolist() == [0, 1]
    assert test.labels.tolist() == [1]


def test_every_usual_format_is_read_and_other_files_are_ignored(tmp_path):
    names = ["a.png", "b.JPG", "c.jpeg", "d.bmp", "e.gif", "f.webp", "g.tif", "h.TIFF"]
    for name in names:
        put(tmp_path / name, (100, 100, 100))
    (tmp_path / "notes.txt").write_text("not an image")
    train, test = read(tmp_path)
    assert len(train) + len(test) == len(names)
    # JPEG and WebP round
    assert (torch.cat((train.images, test.images)).int() - 100).abs().max() <= 2


def test_one_coloured_image_makes_the_whole_set_coloured(tmp_path):
    put_grey(tmp_path, ["a.png", "b.png"])
    assert read(tmp_path)[0].images.shape[1] == 1
    put(tmp_path / "c.png", (10, 20, 30))
    train, test = read(tmp_path)
    assert train.images.shape == (2, 3, 28, 28)
    assert test.images[0, :, 0, 0].tolist() == [10, 20, 30]


def test_train_and_test_have_as_many_channels_even_if_one_of_them_is_grey(tmp_path):
    put_grey(tmp_path, ["train/a.png", "train/b.png"])
    put(tmp_path / "test" / "a.png", (10, 20, 30))
    train, test = read(tmp_path)
    assert train.images[1, :, 0, 0].tolist() == [1, 1, 1]
    assert test.images[0, :, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize(("colour", "seen"),
                         [((255, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((0, 0, 0, 51), 204)])
def test_transparency_lets_white_paper_through(tmp_path, colour, seen):
    put(tmp_path / "a.png", colour, mode="RGBA")
    put(tmp_path / "b.png", (0, 0, 0))
    assert pixel(tmp_path) == [seen]


def test_a_palette_becomes_its_colours(tmp_path):
    Image.new(
        "RGB", (28, 28), (10, 200, 30)
    ).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.png")
    put(tmp_path / "b.png", (0, 0, 0))
    assert pixel(tmp_path) == [10, 200, 30]


def test_a_transparent_palette_entry_becomes_white(tmp_path):
    picture = Image.new("P", (28, 28), 0)
    picture.putpalette([10, 200, 30])
    picture.save(tmp_path / "a.png", transparency=0)
    put(tmp_path / "b.png", (0, 0, 0))
    assert pixel(tmp_path) == [255]


def test_black_and_white_images_of_one_bit_are_0_and_255(tmp_path):
    put_pixels(tmp_path / "a.png", np.ones((28, 28), dtype=bool))
    put_pixels(tmp_path / "b.png", np.zeros((28, 28), dtype=bool))
    assert [levels(data) for data in read(tmp_path)] == [[255], [0]]


@pytest.mark.parametrize(("level", "seen"), [(0, 0), (65535, 255), (128 * 257, 128), (257, 1)])
def test_16_bits_of_grey_are_scaled_to_8(tmp_path, level, seen):
    put_pixels(tmp_path / "a.png", np.full((28, 28), level, dtype=np.uint16))
    put(tmp_path / "b.png", (0, 0, 0))
    assert pixel(tmp_path) == [seen]


@pytest.mark.parametrize("upright", [False, True])
def test_an_oblong_image_keeps_its_centred_square(tmp_path, upright):
    pixels = np.full((28, 48), 255, dtype=np.uint8)
    centre = np.arange(28 * 28, dtype=np.uint8).reshape(28, 28) // 4
    pixels[:, 10:38] = centre
    put_pixels(tmp_path / "a.png", pixels.T if upright else pixels)
    put_pixels(tmp_path / "b.png", centre)
    image = read(tmp_path)[0].images[0, 0]
    assert torch.equal(image.T if upright else image, torch.from_numpy(centre))


@pytest.mark.parametrize("side", [57, 112])
def test_a_large_image_is_shrunk_with_all_its_parts_in_place(tmp_path, side):
    quarters = np.kron(
        [[0, 80], [160, 240]], np.ones((side // 2 + 1, side // 2 + 1))
    )[:side, :side].astype(np.uint8)
    put_pixels(tmp_path / "a.png", quarters)
    put_pixels(tmp_path / "b.png", quarters)
    image = read(tmp_path)[0].images[0, 0]
    assert [[image[y, x].item() for x in (5, 22)] for y in (5, 22)] == [[0, 80], [160, 240]]


def test_the_rotation_that_a_camera_notes_is_applied(tmp_path):
    picture, exif = Image.new("L", (28, 28), 0), Image.Exif()
    picture.paste(200, (0, 0, 28, 14))                      # the upper half
    exif[0x0112] = 3                                        # orientation: upside down
    picture.save(tmp_path / "a.png", exif=exif)
    picture.save(tmp_path / "b.png")
    image = read(tmp_path)[0].images[0, 0]
    assert (image[:14].max(), image[14:].min()) == (0, 200)


@pytest.mark.parametrize("content", [b"", b"this is no image", "half"])
def test_a_damaged_image_is_an_error_with_its_name(tmp_path, content):
    put_grey(tmp_path, ["a.png", "broken.png", "c.png"])
    file = tmp_path / "broken.png"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if content == "half"
                     else content)
    with pytest.raises(InputError,
                       match=r"broken\.png cannot be read as an image .*: repair or remove it"):
        read(tmp_path)


def test_a_folder_without_images_is_an_error_with_what_belongs_there(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(InputError, match=rf"{tmp_path.name} holds no images: put .*\.png"):
        read(tmp_path)


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_train_or_test_folder_is_named(tmp_path, part):
    put_grey(tmp_path, ["train/a.png", "test/a.png"])
    (tmp_path / part / "a.png").unlink()
    with pytest.raises(InputError, match=f"{part} holds no images"):
        read(tmp_path)


def test_one_image_is_too_few(tmp_path):
    put_grey(tmp_path, ["a.png"])
    with pytest.raises(InputError, match=f"{tmp_path.name} holds 1 image: at least 2"):
        read(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for path in (tmp_path / "absent", tmp_path / "file"):
        (tmp_path / "file").write_text("a file")
        with pytest.raises(InputError, match=f"there is no folder .*{path.name}.*folder:PATH"):
            read(path)
