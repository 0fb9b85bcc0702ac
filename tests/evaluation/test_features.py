"""Feature networks: the bundled ones, training new ones, and that no training loss knows them."""

import math
import shutil

import pytest
import torch
from PIL import Image

from nanoldm.data import load
from nanoldm.evaluation.feature_training import accuracy, augment, rotate
from nanoldm.evaluation.features import BUNDLED, load_features, sha256
from nanoldm.evaluation.metrics import extract
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import digest
from nanoldm.utils.seeding import generator


@pytest.fixture(scope="module")
def bundled():
    return load_features("digits-v1")


def test_the_bundled_classifier_recognises_the_test_set(bundled):
    found = accuracy(bundled.networks["classifier"], load("mnist")[1])
    assert found >= 0.994
    assert found == pytest.approx(bundled.facts["networks"]["classifier"]["test_accuracy"], abs=2e-4)


def test_the_bundled_rotation_network_is_as_good_as_it_says(bundled):
    found = accuracy(bundled.networks["rotation"], load("mnist")[1].select(slice(0, None, 5)), "rotation")
    assert found == pytest.approx(bundled.facts["networks"]["rotation"]["test_accuracy"], abs=0.015)


def test_features_of_what_a_network_was_trained_on_are_normalised(bundled):
    images = load("mnist")[0].images[:4000]
    turned = rotate(images, torch.arange(4000) % 4)
    for task, seen in {"classifier": images, "rotation": turned}.items():
        features = extract(bundled.networks[task], seen)[0]
        assert features.shape[1] == 128
        assert features.std(0).mean().item() == pytest.approx(1, abs=0.15)
        assert features.mean(0).abs().mean().item() < 0.15


def test_what_is_shipped_is_what_features_json_names(bundled):
    for task, facts in bundled.facts["networks"].items():
        assert sha256(BUNDLED / "digits-v1" / f"{task}.safetensors") == facts["sha256"]


def test_an_altered_network_is_refused_by_name(tmp_path):
    shutil.copytree(BUNDLED / "digits-v1", tmp_path / "mine")
    file = tmp_path / "mine" / "rotation.safetensors"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"rotation.safetensors is missing or altered"):
        load_features(tmp_path / "mine")
    with pytest.raises(InputError, match="nanoldm features DATA"):
        load_features(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["{}", '{"name": "mine", "data": {}, "networks": {}}', '{"data": {"name": "mnist"}, "networks": []}'])
def test_a_foreign_description_of_networks_is_refused_by_name(tmp_path, content):
    (tmp_path / "features.json").write_text(content)
    with pytest.raises(InputError, match=r"features\.json is not a configuration of nanoldm") as error:
        load_features(tmp_path)
    assert "\n" not in str(error.value)


def test_training_is_reproducible_from_the_command_line(nanoldm, tiny_features, digits):
    again = nanoldm("features", f"folder:{digits}", "--size", 8, "--epochs", 60, "--out", "again", "--threads", 1)
    assert again.returncode == 0, again.stderr
    first, second = (load_features(folder) for folder in (tiny_features, nanoldm.folder / "again"))
    assert list(first.networks) == ["classifier", "rotation"]
    for task in first.networks:      # weights, not files: safetensors does not fix the order of its metadata
        assert digest(first.networks[task].state_dict()) == digest(second.networks[task].state_dict())
    refused = nanoldm("features", f"folder:{digits}", "--size", 8, "--out", "again")
    assert refused.returncode == 2
    assert "again exists" in refused.stderr


def test_images_without_labels_get_a_network_without_labels(nanoldm, tmp_path):
    for k, image in enumerate(load("mnist")[1].images[:40, 0]):
        Image.fromarray(image.numpy()).save(tmp_path / f"{k}.png")
    assert nanoldm("features", f"folder:{tmp_path}", "--size", 8, "--epochs", 1, "--out", "plain", "--threads", 1).returncode == 0
    assert list(load_features(nanoldm.folder / "plain", weak=True).networks) == ["rotation"]


def test_rotate_turns_each_image_by_its_own_quarters():
    images, turns = torch.rand(5, 1, 6, 6, generator=generator(0)), torch.tensor([0, 3, 1, 2, 1])
    expected = torch.stack([image.rot90(k, (1, 2)) for image, k in zip(images, turns.tolist(), strict=True)])
    assert torch.equal(rotate(images, turns), expected)


def test_augmentation_turns_and_shifts_no_further_than_it_says():
    """The centre of mass of a spot at a quarter of the side from the centre: 7 % of the side, 10 degrees and 10 % there."""
    spot = torch.zeros(300, 1, 40, 40)
    spot[:, :, 19:21, 29:31] = 1
    moved = augment(spot, generator(0))[:, 0]
    where = torch.stack([(moved.sum(k) * torch.arange(40)).sum(1) / moved.sum((1, 2)) for k in (2, 1)], 1)      # rows, columns
    reach = (where - torch.tensor([19.5, 29.5])).abs().amax(0) / 40
    turned = 0.25 * math.sin(math.pi / 18)
    assert 0.08 < reach[0] < 1.1 * (0.07 + turned) + 0.02           # more than the shift alone
    assert 0.05 < reach[1] < 0.07 + 0.25 * 0.12 + 0.02


def test_augmentation_moves_each_image_a_little_and_differently():
    images = load("mnist")[0].images[:1].float().expand(3, -1, -1, -1) / 255
    moved = augment(images, generator(0))
    assert torch.equal(moved, augment(images, generator(0)))
    assert not torch.allclose(moved[0], moved[1], atol=0.1)
    assert 0.5 < moved[0].sum() / images[0].sum() < 2
    assert torch.allclose(augment(torch.full((2, 1, 8, 8), 0.3), generator(1)), torch.tensor(0.3))
