"""A run on a folder of one's own: classes by name, images that moved or changed, folders that
systems have looked into.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from nanoldm import LatentDiffusion
from nanoldm.data.source import Data
from nanoldm.evaluation.feature_training import train_features
from nanoldm.evaluation.features import load_features
from nanoldm.experiments.export import export
from nanoldm.experiments.model_card import describe
from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.run import Run
from nanoldm.pipeline.labels import label_tensor, labels_of, parse_labels
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, write_json
from nanoldm.utils.images import captioned, grid

NAMES = {0: "bird", 2: "Cat", 3: "caf\u00e9"}


def train(recipe, folder):
    """A finished run -> its folder."""
    return Run(folder, recipe).train().folder


@pytest.mark.parametrize(("text", "labels"),
                         [("bird", [0]), ("BIRD", [0]), ("cat", [2]), ("cafe\u0301", [3]),
                          ("2", [2]), ("bird,cat", [0, 2]), ("cat, CAF\u00c9 ,0", [2, 3, 0]),
                          ("2-3", [2, 3])])
def test_labels_are_names_or_numbers(text, labels):
    assert parse_labels(text, NAMES) == labels


def test_names_that_are_numbers_have_priority_over_numbers():
    names = {0: "1", 1: "2", 2: "10"}
    assert parse_labels("1,2,10", names) == [0, 1, 2]
    assert parse_labels("1-2", names) == [0, 1]
    for unknown in ("0", "3"):
        with pytest.raises(InputError,
                           match=rf"has no class '{unknown}': choose 1 \(0\), 2 \(1\), 10 \(2\)"):
            parse_labels(unknown, names)


@pytest.mark.parametrize("names",
                         [{0: "-1", 1: "0", 2: "1"}, {0: "0.5", 1: "1", 2: "2.5"},
                          {0: "1", 1: "3", 2: "cat"}])
def test_where_a_name_is_a_number_all_numbers_are_names(names):
    assert [parse_labels(name, names) for name in names.values()] == [[0], [1], [2]]
    for text in ("2", "0-2"):
        with pytest.raises(InputError,
                           match="has no class "
                           f"'{'2' if text == '2' or '0' in names.values() else '0'}'"):
            parse_labels(text, names)


def test_numbers_that_are_the_numbers_of_their_classes_leave_the_others_their_numbers():
    assert parse_labels("0,1,2", {0: "0", 1: "1", 2: "cat"}) == [0, 1, 2]


def test_without_names_labels_in_text_are_numbers():
    assert label_tensor("7", 2, 10, {}).tolist() == [7, 7]
    assert label_tensor(["7", 3], 2, 10, {}).tolist() == [7, 3]
    with pytest.raises(InputError, match="has no class 'cat': choose 0 to 9"):
        label_tensor("cat", 2, 10, {})
    assert label_tensor(np.array(["7", "3"]), 2, 10, {}).tolist() == [7, 3]
    with pytest.raises(InputError, match="labels are whole numbers"):
        label_tensor(True, 2, 10, {})
    with pytest.raises(InputError, match="trained without labels"):
        label_tensor("cat", 2, 0, {})


@pytest.mark.parametrize("text", ["dog", "1", "0-3", "bird,dog", "-1"])
def test_a_class_that_does_not_exist_or_has_no_images_is_an_error_that_lists_the_others(text):
    with pytest.raises(InputError,
                       match=r"the model has no class '(dog|1|-1)': choose bird \(0\), Cat \(2\), "
                       r"café \(3\)"):
        parse_labels(text, NAMES)


def test_class_names_travel_with_the_model_and_empty_classes_are_never_generated(
    animal_run, tmp_path
):
    export(animal_run, tmp_path / "copy")
    for folder in (animal_run, tmp_path / "copy"):
        model = LatentDiffusion.from_pretrained(folder)
        # fish has no images, but would have been class 2
        assert model.class_names == {0: "bird", 1: "cat"}
        assert labels_of(folder, "cat,0") == [1, 0]
        assert set(model.draw_labels(40).tolist()) == {0, 1}
        for given in ("cat", ["cat", 1, -1]):
            labels = model.conditioning([0, 1, 2], given, model.settings).tolist()
            assert labels == ([1] * 3 if given == "cat" else [1, 1, -1])
        with pytest.raises(InputError, match=r"has no class 'dog': choose bird \(0\), cat \(1\)"):
            model.generate(range(2), labels="dog")
    assert "2 classes: bird (0), cat (1)" in describe(animal_run)
    assert "bird (0), cat (1)" in (tmp_path / "copy" / "README.md").read_text(encoding="utf-8")


def test_a_class_without_images_between_others_is_not_generated(animal_recipe, tmp_path, animals):
    data = shutil.copytree(animals, tmp_path / "data")
    (data / "aardvark").mkdir()
    run = train(animal_recipe.replace(data={"name": f"folder:{data}"}), tmp_path / "run")
    model = LatentDiffusion.from_pretrained(run.path)
    assert model.class_names == {1: "bird", 2: "cat"}
    assert set(model.draw_labels(40).tolist()) == {1, 2}
    with pytest.raises(InputError,
                       match=r"has no label 0: choose bird \(1\), cat \(2\), or -1 for none"):
        model.generate(range(2), labels=0)


def test_names_of_classes_that_the_network_does_not_have_are_errors(animal_run, tmp_path):
    export(animal_run, tmp_path / "copy")
    index = tmp_path / "copy" / "model_index.json"
    for wrong, words in (({"7": "dog"}, "names class 7, the network has 2"),
                         ({"0": 3}, "id2label must name classes"),
                         ({"x": "y"}, "not a configuration"), ([1], "not a configuration")):
        write_json(index, read_json(index) | {"id2label": wrong})
        with pytest.raises(InputError, match=words):
            LatentDiffusion.from_pretrained(tmp_path / "copy")


def test_feature_networks_with_a_low_accuracy_are_an_error_unless_allowed(animals, tmp_path):
    features = train_features(Data(name=f"folder:{animals}", size=8, holdout=0),
                              tmp_path / "features", epochs=1)
    facts = read_json(tmp_path / "features" / "features.json")
    for task, accuracy, least in (("rotation", 0.3, "50%"), ("classifier", 0.6, "67%")):
        changed = json.loads(json.dumps(facts))
        for name in facts["networks"]:
            changed["networks"][name]["test_accuracy"] = accuracy if name == task else 1.0
        write_json(tmp_path / "features" / "features.json", changed)
        words = rf"the {task} network is right on {accuracy:.0%} .* below {least} .*weak_features"
        with pytest.raises(InputError, match=words):
            load_features(tmp_path / "features")
        assert load_features(tmp_path / "features",
                             weak=True).networks.keys() == features.networks.keys()
    for network in facts["networks"].values():
        network["test_accuracy"] = 0.7
    write_json(tmp_path / "features" / "features.json", facts)
    load_features(tmp_path / "features")


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._run", ".directory"])
def test_a_new_folder_that_a_system_has_looked_into_takes_a_run(name, animal_recipe, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("a system's")
    assert train(animal_recipe, tmp_path / "run").model.is_dir()
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / name).write_text("a system's")
    train_features(Data(name=animal_recipe.data.name, size=8, holdout=0), tmp_path / "features",
                   epochs=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is not a run folder"):
        train(animal_recipe, tmp_path / "mine")


def test_a_size_that_does_not_fit_is_an_error_with_sizes_that_do(animals, tmp_path):
    for size, near in ((20, "16 or 28"), (4, "12"), (36, "32 or 44")):
        with pytest.raises(InputError,
                           match=rf"{size}x{size} pixels do not fit mnist-fast, .* patches of 2x2: "
                           rf"choose size {near}$"):
            train(RECIPES["mnist-fast"]().replace(network={"patch": 2}, data={
                "name": f"folder:{animals}", "size": size}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command_line_reads_class_names(nanoldm, animals, animal_run, animal_recipe, tmp_path):
    (tmp_path / "mnist-fast").mkdir()           # a folder of data with the name of a bundled model
    options = ["--data", f"folder:{animals}", "--size", 8, "--steps", 3, "--ae-epochs", 2,
               "--threads", 1, "--dry-run"]
    dry = nanoldm("train", "mnist-conditional", *options, cwd=tmp_path)
    note = "images: 3 classes (training images): 0: bird (45), 1: cat (45), 2: fish, big (0)"
    assert note in dry.stdout
    sampled = nanoldm("sample", animal_run, "--label", "cat,bird", "--n", 4, "--steps", 2, "--npz",
                      "pets.npz", cwd=tmp_path)
    assert sampled.returncode == 0, sampled.stderr
    assert np.load(tmp_path / "pets.npz")["labels"].tolist() == [1, 0, 1, 0]
    images = torch.from_numpy(np.load(tmp_path / "pets.npz")["images"])[:, None] / 255
    rows = [(name, grid(images[k::2], 2)) for k, name in enumerate(("cat", "bird"))]
    assert np.array_equal(np.array(captioned(rows)), np.array(Image.open(tmp_path / "samples.png")))
    wrong = nanoldm("sample", animal_run, "--label", "dog", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr) == (2,
                                                "nanoldm: the model has no class 'dog': choose "
                                                "bird (0), cat (1)\n")
    bundled = nanoldm("sample", "mnist-fast", "--n", 1, cwd=tmp_path)
    assert bundled.returncode == 0, bundled.stderr
