"""Feature networks: the bundled ones, and training new ones."""

import math
import shutil

import pytest
import torch
from PIL import Image

from nanoldm.data import load
from nanoldm.data.source import Data
from nanoldm.evaluation.feature_training import accuracy, augment, rotate, train_features
from nanoldm.evaluation.features import BUNDLED, load_features
from nanoldm.evaluation.metrics import extract
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import digest, file_digest
from nanoldm.utils.seeding import generator


@pytest.fixture(scope="module")
def bundled():
    return load_features("digits-v1")


def test_the_bundled_classifier_recognises_the_test_set(bundled):
    found = accuracy(bundled.networks["classifier"], load("mnist")[1])
    assert found >= 0.994
    assert found == pytest.approx(bundled.facts["networks"]["classifier"]["test_accuracy"],
                                  abs=2e-4)


def test_the_bundled_rotation_network_has_its_stated_accuracy(bundled):
    found = accuracy(bundled.networks["rotation"], load("mnist")[1].select(slice(0, None, 5)),
                     "rotation")
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
        assert file_digest(BUNDLED / "digits-v1" / f"{task}.safetensors") == facts["sha256"]


def test_an_altered_network_is_an_error_that_names_it(tmp_path):
    shutil.copytree(BUNDLED / "digits-v1", tmp_path / "mine")
    file = tmp_path / "mine" / "rotation.safetensors"
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"rotation.safetensors is missing or altered"):
        load_features(tmp_path / "mine")
    with pytest.raises(InputError, match="nanoldm features DATA"):
        load_features(tmp_path / "nowhere")


@pytest.mark.parametrize("content",
                         ["{}", '{"name": "mine", "data": {}, "networks": {}}',
                          '{"data": {"name": "mnist"}, "networks": []}'])
def test_a_foreign_description_of_networks_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "features.json").write_text(content)
    with pytest.raises(InputError,
                       match=r"features\.json is not a configuration of nanoldm") as error:
        load_features(tmp_path)
    assert "\n" not in str(error.value)


def test_training_is_reproducible(tiny_features, digits, tmp_path):
    data = Data(name=f"folder:{digits.resolve()}", size=8)
    second = train_features(data, tmp_path / "again", epochs=60)
    first = load_features(tiny_features)
    assert list(first.networks) == ["classifier", "rotation"]
    for task in first.networks:
        digests = [digest(made.networks[task].state_dict()) for made in (first, second)]
        assert digests[0] == digests[1]
    with pytest.raises(InputError, match="again exists"):
        train_features(data, tmp_path / "again")  # other epochs


def test_a_finished_folder_is_kept_and_wrong_options_are_errors(tiny_features, digits, capsys):
    data = Data(name=f"folder:{digits.resolve()}", size=8)
    times = [file.stat().st_mtime_ns for file in sorted(tiny_features.iterdir())]
    train_features(data, tiny_features, epochs=60)
    assert "tiny-features is complete" in capsys.readouterr().out
    assert [file.stat().st_mtime_ns for file in sorted(tiny_features.iterdir())] == times
    for options, message in (({"epochs": 0}, "epochs 0: choose"), ({"seed": -1}, "seed -1: seeds")):
        with pytest.raises(InputError, match=message):
            train_features(data, tiny_features, **options)


def test_images_without_labels_get_a_network_without_labels(tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for k, image in enumerate(load("mnist")[1].images[:40, 0]):
        Image.fromarray(image.numpy()).save(images / f"{k}.png")
    data = Data(name=f"folder:{images}", size=8)
    assert list(train_features(data, tmp_path / "plain", epochs=1).networks) == ["rotation"]
    assert "no classifier is trained" in capsys.readouterr().out


def test_features_from_the_command_line(nanoldm, digits):
    arguments = ("features", f"folder:{digits}", "--size", 8, "--out", "networks", "--threads", 1)
    done = nanoldm(*arguments, "--epochs", 1)
    assert done.returncode == 0, done.stderr
    failed = nanoldm(*arguments)
    assert failed.returncode == 2
    assert "networks exists" in failed.stderr


def test_rotate_turns_each_image_by_its_own_quarters():
    images, turns = torch.rand(5, 1, 6, 6, generator=generator(0)), torch.tensor([0, 3, 1, 2, 1])
    expected = torch.stack([image.rot90(k, (1, 2))
                            for image, k in zip(images, turns.tolist(), strict=True)])
    assert torch.equal(rotate(images, turns), expected)


def test_augmentation_turns_and_shifts_no_further_than_its_limits():
    """A spot at a quarter of the side from the centre: 7 % of the side, 10 degrees and 10 %."""
    spot = torch.zeros(300, 1, 40, 40)
    spot[:, :, 19:21, 29:31] = 1
    moved = augment(spot, generator(0))[:, 0]
    where = torch.stack(
        [(moved.sum(k) * torch.arange(40)).sum(1) / moved.sum((1, 2)) for k in (2, 1)], 1
    )  # rows, columns
    reach = (where - torch.tensor([19.5, 29.5])).abs().amax(0) / 40
    turned = 0.25 * math.sin(math.pi / 18)
    assert 0.08 < reach[0] < 1.1 * (0.07 + turned) + 0.02  # more than the shift alone
    assert 0.05 < reach[1] < 0.07 + 0.25 * 0.12 + 0.02


def test_augmentation_moves_each_image_a_little_and_differently():
    images = load("mnist")[0].images[:1].float().expand(3, -1, -1, -1) / 255
    moved = augment(images, generator(0))
    assert torch.equal(moved, augment(images, generator(0)))
    assert not torch.allclose(moved[0], moved[1], atol=0.1)
    assert 0.5 < moved[0].sum() / images[0].sum() < 2
    assert torch.allclose(augment(torch.full((2, 1, 8, 8), 0.3), generator(1)), torch.tensor(0.3))
