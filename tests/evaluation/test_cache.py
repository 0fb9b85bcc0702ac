"""What can be computed again is kept, and a cache in any state costs time, never a result."""

import pytest
import torch

from nanoldm.utils.files import cached, save_tensors


class Compute:
    """Counts how often it was asked."""

    def __init__(self, value: float = 1.0):
        self.value, self.calls = value, 0

    def __call__(self) -> dict[str, torch.Tensor]:
        self.calls += 1
        return {"features": torch.full((1000,), self.value)}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NANOLDM_DATA", str(tmp_path))
    return tmp_path / "features"


def same(tensors, value):
    return tensors.keys() == {"features"} and torch.equal(
        tensors["features"], torch.full((1000,), value)
    )


def test_what_was_computed_once_is_read_from_then_on(folder):
    compute = Compute()
    assert same(cached("a", compute), 1)
    assert same(cached("a", compute), 1)
    assert compute.calls == 1
    assert [file.name for file in folder.iterdir()] == ["a.safetensors"]


def test_a_stored_result_counts_only_under_its_own_key(folder):
    save_tensors(folder / "a.safetensors", Compute(5)())
    compute = Compute()
    assert same(cached("a", compute), 5)
    assert compute.calls == 0
    assert same(cached("b", compute), 1)


@pytest.mark.parametrize("damage",
                         [lambda content: content[:-1], lambda content: content[:-1] + b"\xff",
                          lambda content: b""])
def test_a_damaged_file_is_computed_again_and_replaced(folder, damage):
    compute, file = Compute(), folder / "a.safetensors"
    cached("a", compute)
    file.write_bytes(damage(file.read_bytes()))
    assert same(cached("a", compute), 1)
    assert compute.calls == 2
    assert same(cached("a", compute), 1)
    assert compute.calls == 2


def test_a_file_in_the_place_of_the_cache_folder_costs_nothing_but_time(folder):
    folder.write_text("not a folder")
    compute = Compute()
    assert [same(cached("a", compute), 1) for _ in range(2)] == [True] * 2
    assert compute.calls == 2
    assert folder.read_text() == "not a folder"


def test_a_disk_without_room_costs_nothing_but_time(folder):
    """A limit on the size of files stands for the full disk: it holds for root too."""
    resource, compute = pytest.importorskip("resource"), Compute()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        assert same(cached("a", compute), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert compute.calls == 1
    assert not list(folder.iterdir())


def test_an_error_of_the_computation_itself_is_not_hidden(folder):
    def fail():
        raise OSError("the images are gone")

    with pytest.raises(OSError, match="the images are gone"):
        cached("a", fail)
    assert not folder.exists()
