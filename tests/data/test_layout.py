"""How people sort their folders of images, and the notes about them."""

import itertools

import pytest
from PIL import Image

from nanoldm.data import load
from nanoldm.data.image_file import FORMATS, formats, suffixes
from nanoldm.data.layout import in_order
from nanoldm.utils.errors import InputError


def put(folder, *names, level=0):
    """A small picture under each name, the k-th with the grey level `level` + k."""
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), level + k).save(folder / name, format="PNG")


def read(folder):
    return load(f"folder:{folder}", 8)


def levels(data):
    return sorted(data.images[:, 0, 0, 0].tolist())


def notes(data):
    return "\n".join(data.notes)


def test_folders_called_by_numbers_are_numbered_as_numbers(tmp_path):
    put(tmp_path, *(f"{name}/{k}.png" for name in (0, 1, 2, 10, 11) for k in range(2)))
    train, _ = read(tmp_path)
    assert train.class_names == ("0", "1", "2", "10", "11")
    assert "5 classes (training images): 0 (2), 1 (2), 2 (1), 3: 10 (2), 4: 11 (2)" in notes(train)


@pytest.mark.parametrize(("names", "order"),
                         [(["b", "a", "B"], ["B", "a", "b"]),
                          (["class10", "class2", "class1"], ["class1", "class2", "class10"]),
                          (["10", "-1", "2.5", "2"], ["-1", "2", "2.5", "10"]),
                          (["010", "10", "9"], ["9", "010", "10"]),
                          (["x", "10", "9"], ["9", "10", "x"])])
def test_numbers_count_as_numbers_in_any_name(names, order):
    assert in_order(names) == order


def test_an_empty_class_folder_keeps_its_number(tmp_path):
    put(tmp_path, *(f"{name}/{k}.png" for name in (0, 1, 3) for k in range(4)))
    (tmp_path / "2").mkdir()
    train, test = read(tmp_path)
    assert sorted({*train.labels.tolist(), *test.labels.tolist()}) == [0, 1, 3]
    assert train.names() == {0: "0", 1: "1", 3: "3"}
    assert "without training images, and so never generated: 2" in notes(train)


def test_a_class_folder_without_images_counts_among_numbers_and_not_among_names(tmp_path):
    put(tmp_path, "0/a.png", "2/a.png", "2/b.png")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "photo.heic").write_bytes(b"heic")
    assert read(tmp_path)[0].class_names == ("0", "1", "2")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "all.json").write_text("{}")
    assert read(tmp_path)[0].class_names == ("0", "2")


def test_skipped_files_are_noted_with_number_and_ending(tmp_path):
    put(tmp_path, "a.png", "b.png", "__c.png", ".hidden.png", "._a.png")
    for name in ("x.heic", "y.HEIC", "notes.txt", "README", "Thumbs.db", "desktop.ini",
                 ".DS_Store"):
        (tmp_path / name).write_text("no image")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    train, test = read(tmp_path)
    assert len(train) + len(test) == 3
    for part in ("5 files are not images that can be read: 2 .heic", "1 .txt",
                 "1 without an ending", "1 broken links"):
        assert part in notes(train)


def test_folders_that_systems_make_are_no_classes(tmp_path):
    put(tmp_path, "cat/a.png", "dog/a.png", "__MACOSX/cat/a.png", ".git/a.png", "@eaDir/thumb.png",
        "cat/@eaDir/a.png", "__pet/a.png")
    train, test = read(tmp_path)
    assert train.class_names == ("__pet", "cat", "dog")
    assert len(train) + len(test) == 3


def test_every_format_that_is_documented_is_read(tmp_path):
    known = sorted(Image.registered_extensions().items())
    kinds = [kind for kind in formats() if kind in Image.SAVE]
    endings = {kind: next(suffix for suffix, other in known if other == kind) for kind in kinds}
    assert {".jfif", ".ppm", ".pgm", ".jp2", ".apng", ".tif"} <= suffixes()
    for k, (kind, suffix) in enumerate(endings.items()):
        file = tmp_path / f"{k}{suffix.upper() if k % 2 else suffix}"
        Image.new("RGB", (8, 8), (40, 40, 40)).save(file, format=kind)
    train, test = read(tmp_path)
    # Pillow may be built without AVIF and JPEG 2000
    assert len(train) + len(test) == len(endings) >= len(FORMATS) - 2
    assert not train.notes or not [note for note in train.notes if "not images" in note]
    assert all(abs(level - 40) <= 2 for level in itertools.chain(levels(train), levels(test)))


SPLITS = [("train", "test"), ("Train", "Test"), ("training", "testing"), ("TRAIN", "VAL"),
          ("train", "validation"), ("training_set", "test_set"), ("seg_train", "seg_test"),
          ("train", "test1"), ("trainval", "test"), ("train", "valid"), ("trainset", "testset"),
          ("train-images", "test-images")]


@pytest.mark.parametrize(("first", "second"), SPLITS)
@pytest.mark.parametrize("outer", ["", "mnist_png/"])
def test_usual_names_of_training_and_test_sets_are_recognised(tmp_path, first, second, outer):
    put(tmp_path, *(f"{outer}{first}/{name}/{k}.png" for name in "ab" for k in range(2)))
    put(tmp_path, *(f"{outer}{second}/{name}/0.png" for name in "ab"), level=100)
    train, test = read(tmp_path)
    assert (levels(train), levels(test)) == ([0, 1, 2, 3], [100, 101])
    assert (train.class_names, train.labels.tolist(), test.labels.tolist()) == (
        ("a", "b"), [0, 0, 1, 1], [0, 1]
    )
    assert f"training images: {first}, test images: {second}" in notes(train)


def test_a_validation_set_next_to_a_test_set_is_left_out_and_named(tmp_path):
    put(tmp_path, "train/a/0.png", "val/a/0.png", "test/a/0.png", "loose.png")
    train, test = read(tmp_path)
    assert (levels(train), levels(test)) == ([0], [2])
    assert "not read: val, images outside of both" in notes(train)


def test_training_and_test_sets_may_lie_within_the_classes(tmp_path):
    put(tmp_path,
        *(f"{name}/{part}/{k}.png" for name in ("2", "10") for part in ("train", "test")
          for k in range(2)))
    train, test = read(tmp_path)
    assert (levels(train), levels(test)) == ([0, 1, 4, 5], [2, 3, 6, 7])
    assert (train.class_names, train.labels.tolist(), test.labels.tolist()) == (
        ("2", "10"), [0, 0, 1, 1], [0, 0, 1, 1]
    )


def test_of_split_classes_empty_ones_keep_their_number_and_others_must_be_split_alike(tmp_path):
    put(tmp_path,
        *(f"{name}/{part}/{k}.png" for name in "02" for part in ("train", "test", "val")
          for k in range(2)), "0/loose.png")
    (tmp_path / "1").mkdir()
    train, test = read(tmp_path)
    assert (train.class_names, train.labels.tolist(), test.labels.tolist()) == (
        ("0", "1", "2"), [0, 0, 2, 2], [0, 0, 2, 2]
    )
    assert "not read: val, images outside of both (in 0)\nnot read: val (in 2)" in notes(train)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.txt").write_text("no images")
    assert read(tmp_path)[0].class_names == ("0", "1", "2")
    put(tmp_path, "1/a.png")
    with pytest.raises(InputError,
                       match=r"1 holds images, but no training and test set like 0: sort all "
                       r"classes alike"):
        read(tmp_path)


def test_test_images_lie_as_deep_as_training_images(tmp_path):
    put(tmp_path, "train/images/a/0.png", "train/images/b/0.png", "test/images/b/0.png")
    train, test = read(tmp_path)
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 1], [1])


def test_a_lonely_set_is_read_as_a_class_with_a_note(tmp_path):
    put(tmp_path, "train/0.png", "train/1.png", "more/2.png")
    note = "train is read as a class, because no other folder is named as its test or training set"
    assert note in notes(read(tmp_path)[0])


@pytest.mark.parametrize("outer", ["train", "photos/train", "ILSVRC/Data/train"])
def test_a_training_set_alone_is_no_class(tmp_path, outer):
    put(tmp_path, *(f"{outer}/{name}/{k}.png" for name in "ab" for k in range(2)))
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text("<a/>")
    assert read(tmp_path)[0].class_names == ("a", "b")
    flat = tmp_path / "flat"
    put(flat, "train/0.png", "train/1.png", "train/2.png")
    (flat / "metadata.csv").write_text("file_name")
    assert read(flat)[0].class_names == ()


def test_long_chains_and_loops_of_folders_end(tmp_path):
    deep = tmp_path.joinpath(*"abcdefghijklmnopqrstuvwxyz" * 2)
    put(deep, "x/0.png", "y/0.png", "y/1.png")
    assert read(tmp_path)[0].class_names == ("x", "y")
    loop = tmp_path / "loop"
    loop.mkdir()
    (loop / "again").symlink_to(loop)
    with pytest.raises(InputError, match="loop holds no images"):
        read(loop)


def test_a_link_to_what_lies_above_is_not_followed(tmp_path):
    put(tmp_path, "other/secret.png", "set/cat/0.png", "set/dog/0.png")
    (tmp_path / "set" / "cat" / "up").symlink_to(tmp_path)
    train, test = read(tmp_path / "set")
    assert len(train) + len(test) == 2


@pytest.mark.parametrize("names",
                         [("train", "car"), ("train", "test_tube"), ("training", "valley"),
                          ("rain", "test"), ("train_a", "test_b")])
def test_classes_that_are_no_pair_stay_classes(tmp_path, names):
    put(tmp_path, *(f"{name}/{k}.png" for name in names for k in range(3)))
    train, _ = read(tmp_path)
    assert sorted(train.class_names) == sorted(names)


def test_two_outer_folders_are_looked_through_and_a_lonely_class_is_not(tmp_path):
    put(tmp_path / "one", "data/images/a/0.png", "data/images/b/0.png", "data/images/b/1.png")
    train, _ = read(tmp_path / "one")
    assert train.class_names == ("a", "b")
    assert "the images are in data/images" in notes(train).replace("\\", "/")
    put(tmp_path / "two", "cat/0.png", "cat/1.png", "cat/young/2.png")
    assert read(tmp_path / "two")[0].class_names == ("cat",)


def test_of_many_classes_the_first_and_the_last_are_named(tmp_path):
    put(tmp_path, *(f"{name}/{k}.png" for name in range(30) for k in range(2)))
    note = next(note for note in read(tmp_path)[0].notes if "classes" in note)
    assert note.startswith("30 classes")
    assert "18 (2), ..., 29 (2)" in note


def test_all_damaged_files_are_counted_and_the_first_is_named(tmp_path):
    put(tmp_path, *(f"{k}.png" for k in range(12)))
    for k in (3, 5, 7):
        (tmp_path / f"{k}.png").write_bytes(b"no image")
    with pytest.raises(InputError,
                       match=r"3\.png cannot be read as an image .* \(and 2 more of 12 cannot be "
                       r"read\)"):
        read(tmp_path)
