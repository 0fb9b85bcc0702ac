"""A run on a folder of one's own: classes by name, images that moved or changed, folders that systems have looked into."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nanoldm import LatentDiffusion
from nanoldm.card import describe, export
from nanoldm.class_names import labels_of, parse_labels
from nanoldm.data import load
from nanoldm.errors import InputError
from nanoldm.evaluate import evaluate
from nanoldm.feature_training import train_features
from nanoldm.features import load_features
from nanoldm.files import read_json, write_json
from nanoldm.overrides import override
from nanoldm.recipe import Data
from nanoldm.train import train
from nanoldm.trained_on import images_of, own_test_set

NAMES = {0: "bird", 2: "Cat", 3: "12"}


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """Four classes of digits under other names, one of them empty."""
    folder, images = tmp_path_factory.mktemp("animals"), load("mnist")[1]
    for name, digit in (("bird", 0), ("fish, big", 1), ("cat", 2)):
        (folder / name).mkdir()
        for k, image in enumerate(images.images[images.labels == digit][: 50 if digit != 1 else 0, 0]):
            Image.fromarray(image.numpy()).save(folder / name / f"{k}.png")
    return folder


@pytest.fixture(scope="module")
def recipe(animals):
    return override("mnist-conditional", {"network.width": 16, "network.heads": 2, "network.depth": 1}, data=f"folder:{animals}", size=8,
                    steps=3, ae_epochs=2)


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory) -> Path:
    """Shared: do not change it."""
    return train(recipe, tmp_path_factory.mktemp("runs") / "animals").path


@pytest.fixture
def moved(animals, finished, tmp_path):
    """(a copy of the run, a copy of its images that it has not seen yet)."""
    return shutil.copytree(finished, tmp_path / "run"), shutil.copytree(animals, tmp_path / "elsewhere")


@pytest.mark.parametrize(("text", "labels"), [
    ("bird", [0]), ("BIRD", [0]), ("cat", [2]), ("12", [3]), ("2", [2]), ("bird,cat", [0, 2]), ("cat, 12 ,0", [2, 3, 0]), ("2-3", [2, 3])])
def test_labels_are_names_or_numbers(text, labels):
    assert parse_labels(text, NAMES) == labels


def test_names_that_are_numbers_are_meant_before_numbers():
    names = {0: "1", 1: "2", 2: "10"}
    assert parse_labels("1,2,10", names) == [0, 1, 2]
    assert parse_labels("1-2", names) == [0, 1]
    for unknown in ("0", "3"):
        with pytest.raises(InputError, match=rf"knows no class '{unknown}': choose 1 \(0\), 2 \(1\), 10 \(2\)"):
            parse_labels(unknown, names)


@pytest.mark.parametrize("text", ["dog", "1", "0-3", "bird,dog", "-1"])
def test_a_class_that_does_not_exist_or_has_no_images_is_refused_with_those_that_do(text):
    with pytest.raises(InputError, match=r"the model knows no class '(dog|1|-1)': choose bird \(0\), Cat \(2\), 12 \(3\)"):
        parse_labels(text, NAMES)


def test_class_names_travel_with_the_model_and_empty_classes_are_never_drawn(finished, tmp_path, capsys):
    export(finished, tmp_path / "copy")
    for folder in (finished, tmp_path / "copy"):
        model = LatentDiffusion.from_pretrained(folder)
        assert model.class_names == {0: "bird", 1: "cat"}       # fish has no images, but would have been class 2
        assert labels_of(folder, "cat,0") == [1, 0]
        assert set(model.labels(range(40)).tolist()) == {0, 1}
        for given in ("cat", ["cat", 1, -1]):
            assert model.labels(range(3), given).tolist() == ([1] * 3 if given == "cat" else [1, 1, -1])
        with pytest.raises(InputError, match=r"knows no class 'dog': choose bird \(0\), cat \(1\)"):
            model.generate(range(2), labels="dog")
    assert "2 classes: bird (0), cat (1)" in describe(finished)
    assert "bird (0), cat (1)" in (tmp_path / "copy" / "README.md").read_text(encoding="utf-8")


def test_a_class_without_images_between_others_is_not_drawn(tiny_pipeline, recipe, tmp_path, animals):
    data = shutil.copytree(animals, tmp_path / "data")
    (data / "aardvark").mkdir()
    run = train(recipe.replace(data={"name": f"folder:{data}"}), tmp_path / "run")
    model = LatentDiffusion.from_pretrained(run.path)
    assert model.class_names == {1: "bird", 2: "cat"}
    assert set(model.labels(range(40)).tolist()) == {1, 2}
    with pytest.raises(InputError, match=r"knows no label 0: choose bird \(1\), cat \(2\), or -1 for none"):
        model.generate(range(2), labels=0)


def test_names_of_classes_that_the_network_does_not_know_are_refused(finished, tmp_path):
    export(finished, tmp_path / "copy")
    index = tmp_path / "copy" / "model_index.json"
    for wrong, words in (({"7": "dog"}, "names class 7, and the network knows 2"), ({"0": 3}, "id2label must name classes"),
                         ({"x": "y"}, "not a configuration"), ([1], "not a configuration")):
        write_json(index, read_json(index) | {"id2label": wrong})
        with pytest.raises(InputError, match=words):
            LatentDiffusion.from_pretrained(tmp_path / "copy")


def test_images_that_moved_continue_the_run_and_are_noted(recipe, moved, capsys):
    run, elsewhere = moved
    weights = (run / "model" / "network" / "diffusion_pytorch_model.safetensors").read_bytes()
    train(recipe.replace(data={"name": f"folder:{elsewhere}"}), run)
    assert f"have moved from {recipe.data.name} to folder:{elsewhere}" in capsys.readouterr().out
    for file in (run / "recipe.json", run / "model" / "recipe.json"):
        assert read_json(file)["data"]["name"] == f"folder:{elsewhere}"
    assert (run / "model" / "network" / "diffusion_pytorch_model.safetensors").read_bytes() == weights
    train(recipe.replace(data={"name": f"folder:{elsewhere}"}), run)
    said = capsys.readouterr().out
    assert "is finished: nothing to do" in said
    assert "have moved" not in said


def test_other_images_elsewhere_do_not_continue_the_run(recipe, moved):
    run, elsewhere = moved
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(elsewhere / "cat" / "3.png")
    with pytest.raises(InputError, match=r"the images of folder:.*elsewhere or their labels have changed since the run in .*run began"):
        train(recipe.replace(data={"name": f"folder:{elsewhere}"}), run)


@pytest.mark.parametrize("part", ["training", "test"])
def test_images_that_were_replaced_since_the_training_are_not_measured_by(part, recipe, moved, capsys):
    run, elsewhere = moved
    train(recipe.replace(data={"name": f"folder:{elsewhere}"}), run)
    assert len(images_of(run)[1]) == 90
    files = sorted(elsewhere.rglob("*.png"))
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(files[9 if part == "test" else 0])
    assert images_of(run, f"folder:{elsewhere}")[0].name == f"folder:{elsewhere}"       # asked for
    own_test_set(run)
    assert f"note: the {part} images of folder:{elsewhere} or their labels have changed since {run} was trained" in capsys.readouterr().out
    export(run, run.parent / "copy")
    for model in (run, run.parent / "copy"):
        with pytest.raises(InputError, match=rf"the {part} images of .* have changed since .* was trained: put .*--data folder:"):
            evaluate(model, n=20, features=tiny(run.parent))


def tiny(folder):
    """Feature networks of the size of these images, for what is refused before they are used."""
    if not (folder / "features").exists():
        train_features(Data(name="mnist", size=8, holdout=59_900), folder / "features", epochs=1)
    return load_features(folder / "features", weak=True)


def test_feature_networks_belong_to_images_wherever_they_lie(animals, finished, tmp_path):
    elsewhere = shutil.copytree(animals, tmp_path / "elsewhere")
    features = train_features(Data(name=f"folder:{animals}", size=8, holdout=0), tmp_path / "features", epochs=1)
    report = evaluate(finished, n=20, features=features, data=f"folder:{elsewhere}", out=tmp_path / "report")
    assert report["data"]["name"] == f"folder:{elsewhere}"
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(elsewhere / "cat" / "3.png")
    with pytest.raises(InputError, match=r"features was trained on folder:.*animals.*, and this is folder:.*elsewhere"):
        evaluate(finished, n=20, features=features, data=f"folder:{elsewhere}", out=tmp_path / "report")


def test_every_column_says_of_how_many_images_it_is_and_only_equal_numbers_are_compared(animals, finished, tmp_path, capsys):
    features = train_features(Data(name=f"folder:{animals}", size=8, holdout=0), tmp_path / "features", epochs=1)
    report = evaluate(finished, n=60, features=features, out=tmp_path / "report")
    assert report["counts"] == {"samples": 60, "real images": 45, "samples, as many as real images": 45, "test set": 10, "noise": 60,
                                "reconstructions": 10}
    said = " ".join(capsys.readouterr().out.split())
    for words in ("(60)", "(45)", "(10)", "compare figures of equal N alone"):
        assert words in said
    few = evaluate(finished, n=20, features=features, out=tmp_path / "report")["measures"]
    assert report["measures"]["frechet_train"]["samples, as many as real images"] != report["measures"]["frechet_train"]["value"]
    assert few["frechet_train"]["value"] != report["measures"]["frechet_train"]["value"]


def test_feature_networks_that_guess_are_refused_unless_asked_for(animals, tmp_path):
    features = train_features(Data(name=f"folder:{animals}", size=8, holdout=0), tmp_path / "features", epochs=1)
    facts = read_json(tmp_path / "features" / "features.json")
    for task, accuracy, least in (("rotation", 0.3, "50%"), ("classifier", 0.6, "67%")):
        changed = json.loads(json.dumps(facts))
        for name in facts["networks"]:
            changed["networks"][name]["test_accuracy"] = accuracy if name == task else 1.0
        write_json(tmp_path / "features" / "features.json", changed)
        words = rf"the {task} network is right on {accuracy:.0%} of its test .* below {least} .*--weak-features"
        with pytest.raises(InputError, match=words):
            load_features(tmp_path / "features")
        assert load_features(tmp_path / "features", weak=True).networks.keys() == features.networks.keys()
    for network in facts["networks"].values():
        network["test_accuracy"] = 0.7
    write_json(tmp_path / "features" / "features.json", facts)
    load_features(tmp_path / "features")


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._run", ".directory"])
def test_a_new_folder_that_a_system_has_looked_into_takes_a_run(name, recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("a system's")
    assert train(recipe, tmp_path / "run").model.is_dir()
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / name).write_text("a system's")
    train_features(Data(name=recipe.data.name, size=8, holdout=0), tmp_path / "features", epochs=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a run folder"):
        train(recipe, tmp_path / "mine")


def test_a_size_that_does_not_fit_is_answered_with_those_that_do(animals, tmp_path):
    for size, near in ((20, "16 or 28"), (4, "12"), (36, "32 or 44")):
        with pytest.raises(InputError, match=rf"{size}x{size} pixels do not fit mnist-fast, .* patches of 2x2: give --size {near}$"):
            train(override("mnist-fast", data=f"folder:{animals}", size=size), tmp_path / "run")
    assert not (tmp_path / "run").exists()
