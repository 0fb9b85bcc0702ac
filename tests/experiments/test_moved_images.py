"""Images that have moved or changed since a run on them started."""

import shutil

import numpy as np
import pytest
from PIL import Image

from nanoldm.data.source import Data
from nanoldm.evaluation.evaluate import evaluate
from nanoldm.evaluation.feature_training import train_features
from nanoldm.evaluation.reference import Reference
from nanoldm.experiments.export import export
from nanoldm.experiments.forecast import forecast
from nanoldm.experiments.run import Run
from nanoldm.pipeline.own_images import images_of, own_test_set
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, write_json


def train(recipe, folder):
    """A finished run -> its folder."""
    return Run(folder, recipe).train().folder


@pytest.fixture
def moved(animals, animal_run, tmp_path):
    """(a copy of the run, a copy of its images in another place)."""
    copy = shutil.copytree(animal_run, tmp_path / "run")
    return copy, shutil.copytree(animals, tmp_path / "elsewhere")


def test_images_that_moved_continue_the_run_and_are_recorded(animal_recipe, moved, capsys):
    run, elsewhere = moved
    weights = (run / "model" / "network" / "diffusion_pytorch_model.safetensors").read_bytes()
    train(animal_recipe.replace(data={"name": f"folder:{elsewhere}"}), run)
    note = f"have moved from {animal_recipe.data.name} to folder:{elsewhere}"
    assert note in capsys.readouterr().out
    for file in (run / "recipe.json", run / "model" / "recipe.json"):
        assert read_json(file)["data"]["name"] == f"folder:{elsewhere}"
    assert (run / "model" / "network"
            / "diffusion_pytorch_model.safetensors").read_bytes() == weights
    train(animal_recipe.replace(data={"name": f"folder:{elsewhere}"}), run)
    output = capsys.readouterr().out
    assert "is finished: nothing to do" in output
    assert "have moved" not in output


def test_other_images_elsewhere_do_not_continue_the_run(animal_recipe, moved):
    run, elsewhere = moved
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(elsewhere / "cat" / "3.png")
    with pytest.raises(InputError, match=r"or their labels of folder:.*elsewhere are not those of "
                       r"folder:.*animals.*, with which"):
        train(animal_recipe.replace(data={"name": f"folder:{elsewhere}"}), run)


@pytest.mark.parametrize("part", ["training", "test"])
def test_images_that_were_replaced_since_the_training_are_not_used_to_measure(
    part, animal_recipe, moved, capsys
):
    run, elsewhere = moved
    train(animal_recipe.replace(data={"name": f"folder:{elsewhere}"}), run)
    assert len(images_of(run)[1]) == 90
    files = sorted(elsewhere.rglob("*.png"))
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(files[9 if part == "test" else 0])
    assert images_of(run, f"folder:{elsewhere}")[0].name == f"folder:{elsewhere}"       # asked for
    own_test_set(run)
    what = f"the {part} images or their labels of folder:{elsewhere}"
    assert f"note: {what} have changed since {run} was trained" in capsys.readouterr().out
    export(run, run.parent / "copy")
    for model in (run, run.parent / "copy"):
        with pytest.raises(InputError,
                           match=rf"the {part} images .* have changed since .* was trained: "
                           r"restore .*--data folder:"):
            evaluate(str(model), Reference(tiny(run.parent), weak_features=True), n=20)


def tiny(folder):
    """Feature networks of the size of these images, for errors that come before they are used."""
    if not (folder / "features").exists():
        train_features(Data(name="mnist", size=8, holdout=59_900), folder / "features", epochs=1)
    return folder / "features"


def test_replaced_test_images_do_not_continue_the_run_either(animal_recipe, moved):
    run, elsewhere = moved
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(sorted(elsewhere.rglob("*.png"))[9])
    same = Run(run, animal_recipe.replace(data={"name": f"folder:{elsewhere}"}))
    for continue_ in (same.train, lambda: forecast(same)):
        with pytest.raises(InputError,
                           match=r"are not those of folder:.*animals.*, with which the run in "
                           r".*run started"):
            continue_()
    assert read_json(run / "recipe.json")["data"]["name"] == animal_recipe.data.name


def test_a_stopped_run_whose_images_moved_ends_with_the_same_weights(
    animal_recipe, animals, animal_run, tmp_path, monkeypatch
):
    elsewhere = shutil.copytree(animals, tmp_path / "elsewhere")

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("nanoldm.experiments.run.train_denoiser", stop)
    with pytest.raises(KeyboardInterrupt):
        train(animal_recipe, tmp_path / "run")
    monkeypatch.undo()
    train(animal_recipe.replace(data={"name": f"folder:{elsewhere}"}), tmp_path / "run")
    name = "model/network/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (animal_run / name).read_bytes()


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_a_kill_while_the_new_place_is_recorded_is_repaired_by_the_same_command(
    writes, animal_recipe, moved, monkeypatch, capsys
):
    run, elsewhere = moved
    recipe, left = animal_recipe.replace(data={"name": f"folder:{elsewhere}"}), [writes]

    def killed(path, content):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        write_json(path, content)

    monkeypatch.setattr("nanoldm.experiments.run_checks.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, run)
    monkeypatch.undo()
    train(recipe, run)
    # the model's recipe was ahead of the plan
    assert "is finished: nothing to do" in capsys.readouterr().out or writes == 2
    assert images_of(run)[0].name == f"folder:{elsewhere}"
    assert read_json(run / "model" / "recipe.json")["data"]["name"] == f"folder:{elsewhere}"


def test_the_same_images_are_held_out_where_a_folder_has_moved_and_none_of_others(
    animal_recipe, moved, tmp_path
):
    _, elsewhere = moved
    run = train(animal_recipe.replace(data={"holdout": 20}), tmp_path / "held").path
    assert [len(part) for part in images_of(run, f"folder:{elsewhere}")[1:]] == [70, 20]
    assert images_of(run, "mnist")[0].holdout == 0
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(elsewhere / "cat" / "3.png")
    assert [len(part) for part in images_of(run, f"folder:{elsewhere}")[1:]] == [90, 10]


def test_images_of_other_channels_are_refused_before_any_work(animal_run, tmp_path):
    for k in range(8):
        Image.new("RGB", (8, 8), (30 * k, 0, 200)).save(tmp_path / f"{k}.png")
    with pytest.raises(InputError, match=r"have 3 channels, .* generates 1: choose others"):
        images_of(animal_run, f"folder:{tmp_path}")


def test_missing_test_images_are_an_error_that_names_the_alternative(
    moved, animal_recipe, tmp_path
):
    run, elsewhere = moved
    train(animal_recipe.replace(data={"name": f"folder:{elsewhere}"}), run)
    shutil.rmtree(elsewhere)
    with pytest.raises(InputError,
                       match=r"run was trained on folder:.*elsewhere, which cannot be read .* "
                       r"instead of test:K"):
        own_test_set(run)


def test_feature_networks_belong_to_images_wherever_they_lie(animals, animal_run, tmp_path):
    elsewhere = shutil.copytree(animals, tmp_path / "elsewhere")
    features = tmp_path / "features"
    train_features(Data(name=f"folder:{animals}", size=8), features, epochs=1)
    report = evaluate(str(animal_run), Reference(features, True, f"folder:{elsewhere}"), n=20,
                      out=tmp_path / "report")
    assert report["data"]["name"] == f"folder:{elsewhere}"
    Image.fromarray(np.zeros((28, 28), dtype=np.uint8)).save(elsewhere / "cat" / "3.png")
    with pytest.raises(InputError,
                       match=r"networks features were trained on folder:.*animals.*, and this is "
                       r"folder:.*elsewhere"):
        evaluate(str(animal_run), Reference(features, True, f"folder:{elsewhere}"), n=20,
                 out=tmp_path / "report")


@pytest.mark.slow
def test_every_column_has_its_number_of_images_and_only_equal_numbers_are_compared(
    animals, animal_run, tmp_path, capsys
):
    features = tmp_path / "features"
    train_features(Data(name=f"folder:{animals}", size=8), features, epochs=1)
    report = evaluate(str(animal_run), Reference(features, True), n=60, out=tmp_path / "report")
    assert report["counts"] == {"real images": 45, "samples, as many as real images": 45,
                                "test set": 10, "noise": 60, "reconstructions": 10}
    output = " ".join(capsys.readouterr().out.split())
    for words in ("(60)", "(45)", "(10)", "compare only values of equal N"):
        assert words in output
    few = evaluate(str(animal_run), Reference(features, True), n=20,
                   out=tmp_path / "report")["metrics"]
    distance = report["metrics"]["frechet_train"]
    assert distance["samples, as many as real images"] != distance["value"]
    assert few["frechet_train"]["value"] != report["metrics"]["frechet_train"]["value"]
