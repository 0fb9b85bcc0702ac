"""Images as .npz: round trips, and every wrong file refused by name."""

import numpy as np
import pytest
import torch

from nanoldm.arrays import load_images, save_npz
from nanoldm.errors import InputError
from nanoldm.seeding import generator

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


@pytest.mark.parametrize(("arrays", "message"), [
    ({"pictures": GOOD}, "has no array `images`"),
    ({}, "has no array `images`"),
    ({"images": GOOD / 255}, r"float64 \(3, 8, 8\): give uint8"),
    ({"images": GOOD[0]}, "give uint8"),
    ({"images": GOOD[:, :4]}, "give uint8"),
    ({"images": GOOD[:, None]}, "give uint8"),
    ({"images": GOOD[:0]}, "holds no images"),
    ({"images": GOOD, "labels": np.arange(2)}, "one whole number for each of 3 images"),
    ({"images": GOOD, "labels": np.arange(3) / 2}, "one whole number"),
    ({"images": np.array([{}], dtype=object)}, "not a readable .npz"),
])
def test_other_arrays_are_refused_by_name(arrays, message, tmp_path):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=message) as error:
        load_images(tmp_path / "bad.npz")
    assert "bad.npz" in str(error.value)


def test_files_that_are_no_archives_are_refused(tmp_path):
    np.savez(tmp_path / "whole.npz", images=GOOD)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    np.savez_compressed(tmp_path / "deflated.npz", images=np.arange(6400, dtype=np.uint8).reshape(100, 8, 8))
    damaged = bytearray((tmp_path / "deflated.npz").read_bytes())
    damaged[80:120] = bytes(40)                                 # within the member: the directory at the end stays whole
    (tmp_path / "damaged.npz").write_bytes(damaged)
    (tmp_path / "text.npz").write_text("digits")
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "array.npy", GOOD)
    with pytest.raises(InputError, match="is a folder, not a file"):
        load_images(tmp_path)
    for name in ("cut.npz", "damaged.npz", "text.npz", "empty.npz", "array.npy"):
        with pytest.raises(InputError, match=r"not a readable \.npz archive"):
            load_images(tmp_path / name)
    with pytest.raises(InputError, match="there is no file"):
        load_images(tmp_path / "absent.npz")
