"""Files in the world: written by two at once, left by a kill, on full disks and on Windows; weights
that are none.
"""

import errno
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from nanoldm.utils.atomic import TEMPORARY, replacing
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import load_module, load_tensors, read_json, save_tensors, write_text
from nanoldm.utils.paths import cache_folder, check_apart, user_path


def test_the_files_of_others_are_never_taken_for_ours(tmp_path):
    names = ["report.txt.tmp", "other.tmp", ".report.txt.tmp", f"{TEMPORARY}not-a-process.tmp",
             f"{TEMPORARY}{os.getpid()}-ab.tmp"]
    for name in names:
        (tmp_path / name).write_text("a user's own")
    write_text(tmp_path / "report.txt", "new")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*names, "report.txt"])


def test_what_a_killed_process_left_goes_when_the_folder_is_next_written_to(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"{TEMPORARY}{dead.pid}-0123.tmp").write_text("half")
    (tmp_path / f"{TEMPORARY}{dead.pid}-4567.tmp").mkdir()
    (tmp_path / f"{TEMPORARY}{dead.pid}-4567.tmp" / "half").touch()
    write_text(tmp_path / "report.txt", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["report.txt"]


def test_two_who_write_one_file_at_once_both_write_it_whole(tmp_path):
    path = tmp_path / "report.txt"
    with replacing(path) as first, replacing(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"          # renamed last
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_writing_names_the_file_and_not_a_temporary_one(tmp_path):
    with pytest.raises(OSError, match="No space left") as error, replacing(tmp_path / "report.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(tmp_path / "report.txt")


def test_equal_tensors_make_equal_files(tmp_path):
    for name in "ab":
        code = ("import sys, torch; from pathlib import Path; from nanoldm.utils.files import "
                "save_tensors;save_tensors(Path(sys.argv[1]), {'w': torch.arange(3.0), 'b': "
                "torch.ones(2, dtype=torch.bfloat16)}, step='1', more='ü')")
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert load_tensors(tmp_path / "a")[1]["more"] == "ü"


@pytest.mark.parametrize("weights", [
    {"weight": torch.full((2, 3), float("nan")), "bias": torch.zeros(2)},
    {"weight": torch.ones(2, 3), "bias": torch.tensor([0, float("inf")])},
    # infinite in float32
    {"weight": torch.full((2, 3), 1e300, dtype=torch.float64), "bias": torch.zeros(2)},
    {"weight": torch.ones(2, 3, dtype=torch.complex64), "bias": torch.zeros(2)},
    {"weight": torch.ones(2, 3, dtype=torch.int8), "bias": torch.zeros(2)},
    {"weight": torch.ones(2, 3, dtype=torch.bool), "bias": torch.zeros(2)},
])
def test_numbers_that_are_no_weights_are_rejected(tmp_path, weights):
    save_tensors(tmp_path / "layer.safetensors", weights)
    with pytest.raises(InputError, match=r"layer\.safetensors does not fit"):
        load_module(nn.Linear(3, 2), tmp_path / "layer.safetensors")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_converted(tmp_path, kind):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    save_tensors(tmp_path / "layer.safetensors",
                 {name: tensor.to(kind) for name, tensor in source.state_dict().items()})
    load_module(target, tmp_path / "layer.safetensors")
    torch.testing.assert_close(target.weight, source.weight, atol=1e-2, rtol=1e-2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("read", [read_json, load_tensors])
def test_a_pipe_in_the_place_of_a_file_is_rejected_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe is a device or a pipe, not a file"):
        read(tmp_path / "pipe")


def test_json_nested_without_end_is_an_error_with_its_name(tmp_path):
    (tmp_path / "plan.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"plan\.json"):
        read_json(tmp_path / "plan.json")


def test_on_windows_a_file_that_somebody_reads_is_replaced_a_little_later(tmp_path, monkeypatch):
    tried = []

    def replace(source, target):
        tried.append(source)
        if len(tried) < 3:
            raise PermissionError(13, "The process cannot access the file", str(target))
        os.rename(source, target)

    monkeypatch.setattr("nanoldm.utils.atomic.os.replace", replace)
    monkeypatch.setattr("nanoldm.utils.atomic.sys.platform", "win32")
    write_text(tmp_path / "report.txt", "new")
    assert (len(tried), (tmp_path / "report.txt").read_text()) == (3, "new")


def test_on_windows_only_a_file_that_is_open_for_writing_can_be_flushed(tmp_path, monkeypatch):
    def fsync(number):
        assert fcntl.fcntl(number, fcntl.F_GETFL) & (os.O_RDWR | os.O_WRONLY)

    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr("nanoldm.utils.atomic.os.fsync", fsync)
    write_text(tmp_path / "report.txt", "new")
    assert (tmp_path / "report.txt").read_text() == "new"


def test_tensors_that_were_read_do_not_hold_their_file(tmp_path):
    """On Windows it could then not be replaced, as every checkpoint after a resume is."""
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {"count": torch.arange(5000)})
    tensors, _ = load_tensors(path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert torch.equal(tensors["count"], torch.arange(5000))


def test_two_files_of_one_command_must_be_two(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    check_apart(tmp_path / "a.png", None, tmp_path / "b.png")
    for other in ("a.png", "link.png", "new/../a.png"):
        with pytest.raises(InputError, match="given twice"):
            check_apart(tmp_path / "a.png", tmp_path / other)


def test_a_missing_home_is_an_error_for_paths_and_not_for_the_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("NANOLDM_DATA")
    # as where neither $HOME nor a user is known
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(InputError, match=r"~/photo\.png: there is no such home folder"):
        user_path("~/photo.png")
    assert cache_folder().name == "nanoldm-cache"
