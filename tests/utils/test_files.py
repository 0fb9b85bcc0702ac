"""File writes are atomic, and a damaged file is an error with its name."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nanoldm.utils.errors import InputError
from nanoldm.utils.files import (
    digest,
    load_module,
    load_tensors,
    read_json,
    replacing,
    save_tensors,
    write_json,
    write_text,
)
from nanoldm.utils.paths import check_target

TENSORS = {"matrix": torch.tensor([[1.5, -0.0, float("inf")], [1e-45, float("nan"), 2.0]]),
           "count": torch.arange(5), "half": torch.tensor([1 / 3, -2.5], dtype=torch.bfloat16),
           "mask": torch.tensor([True, False]), "scalar": torch.tensor(7.0),
           "empty": torch.empty(0, 3)}


def raw(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_tensors(path, TENSORS, step="17", stage="denoiser")
    return path


def test_tensors_come_back_bit_for_bit_with_their_metadata(saved):
    tensors, metadata = load_tensors(saved)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert tensors[name].shape == tensor.shape
        assert torch.equal(raw(tensors[name]), raw(tensor))
    assert (metadata["step"], metadata["stage"]) == ("17", "denoiser")


def test_whoever_may_read_the_users_other_files_may_read_tensors(saved):
    (saved.parent / "other.txt").touch()
    assert saved.stat().st_mode == (saved.parent / "other.txt").stat().st_mode


def test_a_transposed_view_is_saved_with_its_values_in_place(tmp_path):
    view = torch.arange(6.0).view(2, 3).T
    save_tensors(tmp_path / "view.safetensors", {"view": view})
    assert torch.equal(load_tensors(tmp_path / "view.safetensors")[0]["view"], view)


def test_a_safetensors_file_of_another_program_is_read(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "foreign.safetensors")
    assert torch.equal(load_tensors(tmp_path / "foreign.safetensors")[0]["a"], torch.ones(2))


@pytest.mark.parametrize("fraction", [0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_an_error_with_its_name(saved, fraction):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(InputError, match=r"weights\.safetensors is truncated"):
        load_tensors(saved)


@pytest.mark.parametrize("place", range(1, 58, 7))
def test_one_flipped_bit_in_the_data_is_noticed(saved, place):
    content = bytearray(saved.read_bytes())
    content[-place] ^= 4
    saved.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.safetensors is corrupt"):
        load_tensors(saved)


def test_a_text_file_or_a_folder_is_not_a_safetensors_file(tmp_path):
    path = tmp_path / "notes.safetensors"
    path.write_text("these are my notes, and they are longer than a header\n")
    with pytest.raises(InputError,
                       match=r"notes\.safetensors is truncated or not a safetensors file"):
        load_tensors(path)
    with pytest.raises(InputError, match=tmp_path.name):
        load_tensors(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.safetensors is missing"):
        load_tensors(tmp_path / "absent.safetensors")


def test_a_module_is_filled_from_its_file(tmp_path):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    save_tensors(tmp_path / "layer.safetensors", source.state_dict())
    load_module(target, tmp_path / "layer.safetensors")
    assert torch.equal(target.weight, source.weight)
    assert torch.equal(target.bias, source.bias)


@pytest.mark.parametrize("module",
                         [nn.Linear(3, 4), nn.Linear(3, 2, bias=False),
                          nn.Sequential(nn.Linear(3, 2))])
def test_weights_of_another_shape_or_other_names_do_not_fit(tmp_path, module):
    save_tensors(tmp_path / "layer.safetensors", nn.Linear(3, 2).state_dict())
    with pytest.raises(InputError, match=r"layer\.safetensors does not fit"):
        load_module(module, tmp_path / "layer.safetensors")


def test_the_digest_ignores_order_layout_and_gradient():
    a, b = torch.arange(6.0).view(2, 3), torch.ones(2)
    assert digest({"a": a, "b": b}) == digest({"b": b, "a": a})
    assert digest({"a": a}) == digest({"a": a.T.contiguous().T})
    assert digest({"a": a}) == digest({"a": a.clone().requires_grad_()})


@pytest.mark.parametrize("other", [
    {"a": torch.tensor([1.0, 2.0, 3.0, 4.5])},                          # value
    {"b": torch.tensor([1.0, 2.0, 3.0, 4.0])},                          # name
    {"a": torch.tensor([1.0, 2.0, 3.0, 4.0]).view(torch.int32)},        # type, same bytes
    {"a": torch.tensor([[1.0, 2.0], [3.0, 4.0]])},                      # shape
    {"a": torch.tensor([1.0, 2.0, 3.0, 4.0]), "b": torch.empty(0)},     # one more
    {},
])
def test_the_digest_changes_with_value_name_type_and_shape(other):
    assert digest(other) != digest({"a": torch.tensor([1.0, 2.0, 3.0, 4.0])})


def test_a_file_is_replaced_when_the_block_succeeds_and_not_before(tmp_path):
    path = tmp_path / "new" / "folder" / "report.txt"
    write_text(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_who_reads_a_file_while_it_is_replaced_reads_the_old_one_to_its_end(tmp_path):
    write_text(tmp_path / "report.txt", "old")
    with open(tmp_path / "report.txt") as reader:
        write_text(tmp_path / "report.txt", "new")
        assert reader.read() == "old"


def write_half(path, error):
    with replacing(path) as temporary:
        temporary.write_text("ne")
        raise error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file_or_none(tmp_path, error):
    path = tmp_path / "report.txt"
    with pytest.raises(error):
        write_half(path, error)
    assert not list(tmp_path.iterdir())
    path.write_text("old")
    with pytest.raises(error):
        write_half(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_comes_back_as_it_was(tmp_path):
    content = {"name": "größe", "nested": {"none": None, "list": [1, 2.5, True]}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content == json.loads(
        (tmp_path / "a.json").read_text(encoding="utf-8")
    )


@pytest.mark.parametrize("content",
                         [b"", b'{"steps": 3', b"steps = 3", b'{"a": "\xff\xfe"}', b"[1, 2]",
                          b"null"])
def test_json_that_is_broken_or_no_object_is_an_error_with_its_name(tmp_path, content):
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"plan\.json"):
        read_json(path)


def test_missing_json_is_named(tmp_path):
    with pytest.raises(InputError, match=r"plan\.json is missing"):
        read_json(tmp_path / "plan.json")


def test_a_target_with_the_right_ending_is_accepted_in_folders_yet_to_come(tmp_path):
    for path in (tmp_path / "a.png", tmp_path / "new" / "folder" / "B.PNG", tmp_path / "c.gif"):
        assert check_target(path, ".png", ".gif") == path
    assert not (tmp_path / "new").exists()


def test_a_target_that_cannot_be_written_is_rejected_before_any_work(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("here")
    with pytest.raises(InputError, match=r"picture\.txt.*\.png or \.gif"):
        check_target(tmp_path / "picture.txt", ".png", ".gif")
    with pytest.raises(InputError, match=r"folder\.png is a folder"):
        check_target(tmp_path / "folder.png", ".png")
    with pytest.raises(InputError, match=r"a\.png: .*file is not a folder"):
        check_target(tmp_path / "file" / "deeper" / "a.png", ".png")
