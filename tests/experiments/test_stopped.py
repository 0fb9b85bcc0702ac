"""What was stopped can be repeated: feature networks, exports, files that two write at once."""

import ast
import os
import shutil
import subprocess
import sys

import pytest

from nanoldm.data.source import Data
from nanoldm.evaluation import feature_training
from nanoldm.evaluation.feature_training import train_features
from nanoldm.experiments.export import export
from nanoldm.experiments.model_card import model_card
from nanoldm.utils.atomic import TEMPORARY
from nanoldm.utils.errors import InputError


@pytest.fixture
def data(digits) -> Data:
    return Data(name=f"folder:{digits}", size=8, holdout=0)


def stop_in(monkeypatch, task: str) -> None:
    original = feature_training.train_network

    def stopped(network, images, name="classifier", **options):
        if name == task:
            raise KeyboardInterrupt
        return original(network, images, name, **options)

    monkeypatch.setattr(feature_training, "train_network", stopped)


def stop_in_rotation(data, out, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        stop_in(patch, "rotation")
        with pytest.raises(KeyboardInterrupt):
            train_features(data, out, epochs=2)


def test_feature_networks_that_were_finished_are_taken_and_the_rest_is_trained(
    data, tmp_path, monkeypatch, capsys
):
    whole = train_features(data, tmp_path / "whole", epochs=2)
    stop_in_rotation(data, tmp_path / "stopped", monkeypatch)
    assert [file.name for file in (tmp_path / "stopped").iterdir()] == ["classifier.safetensors"]
    stop_in(monkeypatch, "classifier")                                  # would be trained again
    again = train_features(data, tmp_path / "stopped", epochs=2)
    assert "classifier: finished before" in capsys.readouterr().out
    # accuracies, and the SHA-256 of equal files
    assert again.facts["networks"] == whole.facts["networks"]
    assert train_features(data, tmp_path / "stopped", epochs=2).facts == again.facts
    assert "is complete. Use it" in capsys.readouterr().out
    with pytest.raises(InputError, match="exists: give the name of a new folder"):
        train_features(data, tmp_path / "stopped", epochs=3)


def test_feature_networks_of_other_options_or_a_users_folder_are_not_gone_on_with(
    data, tmp_path, monkeypatch
):
    stop_in_rotation(data, tmp_path / "stopped", monkeypatch)
    with pytest.raises(InputError,
                       match=r"classifier\.safetensors was trained on other images, or with other "
                       r"epochs"):
        train_features(data, tmp_path / "stopped", epochs=3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(InputError, match="exists: give the name of a new folder"):
        train_features(data, tmp_path / "mine", epochs=2)


def test_an_export_leaves_out_what_is_being_written_and_what_a_killed_one_left(
    trained_run, tmp_path
):
    run = shutil.copytree(trained_run, tmp_path / "run")
    (run / "model" / f"{TEMPORARY}{os.getpid()}-ab.tmp").write_text("half")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f"{TEMPORARY}{dead.pid}-cd.tmp").mkdir()
    export(run, tmp_path / "exported")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["exported", "run"]
    assert not list((tmp_path / "exported").rglob("*.tmp"))


def test_an_export_that_is_there_already_is_left_alone_and_another_is_refused(
    trained_run, tmp_path
):
    for _ in range(2):
        export(trained_run, tmp_path / "exported")
    with pytest.raises(InputError, match="exists: give the name of a new folder"):
        export("mnist", tmp_path / "exported")


def test_an_export_that_fails_leaves_nothing(trained_run, tmp_path, monkeypatch):
    monkeypatch.setattr("nanoldm.experiments.export.write_text",
                        lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        export(trained_run, tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["my digits", 'a"b', "a`b", "[x](y)", "#1", "a\nb", "-n"])
def test_the_code_of_a_model_card_can_be_copied_whatever_the_models_name(trained_run, name):
    card = model_card(trained_run / "model", name)
    line = next(line for line in card.splitlines() if "from_pretrained" in line)
    assert ast.literal_eval(line.split("from_pretrained(")[1].rstrip(")")) == name
    head, title = card.split("---\n\n", 1)
    assert head.startswith("---\nlibrary_name: ")
    assert title.startswith("# ")
