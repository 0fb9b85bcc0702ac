"""Images as .npz: round trips, and every wrong file is an error with its name."""

import zipfile

import numpy as np
import pytest
import torch

from nanoldm.data.npz import load_images, save_npz
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator

GOOD = np.zeros((3, 8, 8), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_and_labels_come_back(channels, tmp_path):
    images = torch.randint(256, (4, channels, 8, 8), dtype=torch.uint8, generator=generator(0))
    save_npz(tmp_path / "a.npz", images, labels=np.arange(4))
    found = load_images(tmp_path / "a.npz")
    assert torch.equal(found.images, images)
    assert found.labels.tolist() == [0, 1, 2, 3]
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["images"].shape == ((4, 8, 8) if channels == 1 else (4, 8, 8, 3))


def test_images_without_labels_have_label_minus_1(tmp_path):
    save_npz(tmp_path / "a.npz", torch.rand(2, 1, 4, 4))
    assert load_images(tmp_path / "a.npz").labels.tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [({"pictures": GOOD}, "has no array `images`"), ({}, "has no array `images`"),
     ({"images": GOOD / 255}, r"float64 \(3, 8, 8\): give uint8"),
     ({"images": GOOD[0]}, "give uint8"), ({"images": GOOD[:, :4]}, "give uint8"),
     ({"images": GOOD[:, None]}, "give uint8"), ({"images": GOOD[:0]}, "holds no images"),
     ({"images": GOOD, "labels": np.arange(2)}, "one whole number for each of 3 images"),
     ({"images": GOOD, "labels": np.arange(3) / 2}, "one whole number"),
     ({"images": np.array([{}], dtype=object)}, "not a readable .npz")]
)
def test_other_arrays_are_errors_with_the_name_of_the_file(arrays, message, tmp_path):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=message) as error:
        load_images(tmp_path / "bad.npz")
    assert "bad.npz" in str(error.value)


def test_files_that_are_no_archives_are_rejected(tmp_path):
    np.savez(tmp_path / "whole.npz", images=GOOD)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    np.savez_compressed(tmp_path / "deflated.npz",
                        images=np.arange(6400, dtype=np.uint8).reshape(100, 8, 8))
    damaged = bytearray((tmp_path / "deflated.npz").read_bytes())
    damaged[80:120] = bytes(40)  # within the member: the directory at the end stays whole
    (tmp_path / "damaged.npz").write_bytes(damaged)
    (tmp_path / "text.npz").write_text("digits")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", GOOD)
    with pytest.raises(InputError, match="is a folder, not a file"):
        load_images(tmp_path)
    for name in ("cut.npz", "damaged.npz", "text.npz", "empty.npz", "array.npy"):
        with pytest.raises(InputError, match=r"not a readable \.npz archive"):
            load_images(tmp_path / name)
    with pytest.raises(InputError, match=r"absent\.npz is missing: write it with"):
        load_images(tmp_path / "absent.npz")


def forged(path, header: bytes, content: bytes = b"", compression: int = zipfile.ZIP_STORED,
           name: str = "images.npy") -> None:
    """An archive whose array has this `header`."""
    padded = header.ljust(118) + b"\n"
    with zipfile.ZipFile(path, "a", compression) as archive:
        archive.writestr(name,
                         b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded
                         + content)


def test_an_array_that_claims_more_than_the_file_holds_is_rejected_before_it_is_made(tmp_path):
    forged(tmp_path / "a.npz",
           b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 28, 28), }")
    with pytest.raises(InputError, match=r"a\.npz is not a readable \.npz archive"):
        load_images(tmp_path / "a.npz")


def test_an_array_that_nobody_asked_for_is_not_read(tmp_path):
    np.savez(tmp_path / "a.npz", images=GOOD)
    forged(tmp_path / "a.npz", b"no header at all", name="bomb.npy")
    assert len(load_images(tmp_path / "a.npz")) == len(GOOD)


def test_labels_that_are_a_bomb_are_rejected_by_their_size(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=GOOD, labels=np.zeros(10**7, dtype=np.int64))
    with pytest.raises(InputError, match=r"labels\.npy` is not an array"):
        load_images(tmp_path / "a.npz")


def test_an_array_for_which_there_is_no_memory_is_rejected(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", images=GOOD)
    monkeypatch.setattr("nanoldm.utils.limits.free_memory", lambda: 10.0)
    with pytest.raises(InputError, match="give a file of fewer images"):
        load_images(tmp_path / "a.npz")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_damaged_in_another_compression_is_rejected(tmp_path, compression):
    forged(tmp_path / "a.npz", b"{'descr': '|u1', 'fortran_order': False, 'shape': (40, 8, 8), }",
           bytes(2560), compression)
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[50:60] = b"\xff" * 10
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz is not a readable \.npz archive"):
        load_images(tmp_path / "a.npz")
