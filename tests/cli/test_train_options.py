"""Every field of a recipe is an option of `nanoldm train`."""

import json

import pytest

from nanoldm.cli import main as cli
from nanoldm.cli.recipes import fields
from nanoldm.experiments.recipes import RECIPES, mnist
from nanoldm.utils.errors import InputError


def parsed(line: str):
    """The recipe of a command line."""
    return cli.parse(["train", *line.split()]).__self__.recipe.with_absolute_paths()


def changed(recipe, name="mnist") -> dict:
    """{field: value} of the fields that differ from the recipe `name`."""
    theirs = fields(RECIPES[name]())
    return {field: value for field, value in fields(recipe).items() if value != theirs[field]}


@pytest.mark.parametrize("name", RECIPES)
def test_the_values_of_a_recipe_can_be_given_back_as_options(name):
    recipe = RECIPES[name]()
    values = {field: value
              for field, value in fields(recipe).items()
              if field not in ("budget", "training.epochs", "training.steps")}
    assert parsed(f"{name} "
                  + " ".join(f"--{field} {value}" for field, value in values.items())) == recipe


def test_texts_become_the_types_of_the_fields_and_change_nothing_else():
    line = ("mnist --training.learning_rate 1e-3 --network.depth 6 --training.gradient-clip None "
            "--diffusion.prediction v --data.size=32 --sampling.sampler ab3")
    assert changed(parsed(line)) == {
        "training.learning_rate": 0.001, "network.depth": 6, "training.gradient_clip": None,
        "diffusion.prediction": "v", "data.size": 32, "sampling.sampler": "ab3"}


@pytest.mark.parametrize(("line", "fields"),
                         [("--epochs 3", {"training.epochs": 3}),
                          ("--steps 50", {"training.steps": 50}),
                          ("--steps=50", {"training.steps": 50}), ("--budget 1m", {"budget": 60.0}),
                          ("--budget=1m30s", {"budget": 90.0}),
                          ("--ae-epochs 2", {"autoencoder_training.epochs": 2}),
                          ("--seed 7", {"seed": 7}), ("--data kmnist", {"data.name": "kmnist"}),
                          ("--seed 0 --holdout 0", {}),
                          ("--size 32 --holdout 5000", {"data.size": 32, "data.holdout": 5000})])
def test_short_options_change_their_fields(line, fields):
    assert changed(parsed(f"mnist {line}")) == fields


def test_a_length_in_epochs_replaces_one_in_steps(monkeypatch):
    monkeypatch.setitem(RECIPES, "short",
                        lambda: mnist().replace(recipe="short", training={"steps": 5}))
    training = parsed("short --epochs 3").training
    assert (training.epochs, training.steps) == (3, None)


def test_a_length_replaces_each_length_of_a_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    steps = {"steps": 100, "epochs": None}
    given = {"recipe": "mnist", "budget": 600, "training": steps, "autoencoder_training": steps}
    (tmp_path / "own.json").write_text(json.dumps(given))
    assert parsed("own.json --budget 5s").budget == 5
    by_steps = parsed("own.json --steps 7")
    assert (by_steps.budget, by_steps.training.steps) == (None, 7)
    by_epochs = parsed("own.json --epochs 3")
    assert (by_epochs.budget, by_epochs.training.steps) == (None, None)
    assert by_epochs.training.epochs == 3
    for option in ("--ae-epochs 5", "--autoencoder-training.epochs=5"):
        autoencoder = parsed(f"own.json {option}").autoencoder_training
        assert (autoencoder.steps, autoencoder.epochs) == (None, 5)


@pytest.mark.parametrize("line",
                         ["--epochs 3 --steps 5", "--epochs=3 --budget 60s",
                          "--training.steps 5 --budget 60s"])
def test_only_one_option_can_set_the_length(line):
    with pytest.raises(InputError, match="set the length of the training: give one of them"):
        parsed(f"mnist {line}")


def test_a_folder_is_stored_as_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert parsed(
        "mnist --data folder:pictures"
    ).data.name == f"folder:{tmp_path.resolve() / 'pictures'}"
    assert parsed(
        "mnist --data folder:~/pictures"
    ).data.name == f"folder:{tmp_path.resolve() / 'home' / 'pictures'}"


@pytest.mark.parametrize(
    ("line", "message"),
    [("--training.learning_rate 0", "--training.learning_rate is 0.*greater than 0"),
     ("--training.learning_rate inf",
      "--training.learning_rate is inf: input should be a finite number"),
     ("--training.ema_decay 1", "--training.ema_decay is 1.*less than 1"),
     ("--network.kind unet", "--network.kind is unet: choose DiffusionNet, Transformer or"),
     ("--seed -1", "--seed is -1: input should be greater than or equal to 0"),
     ("--diffusion.clusters 6", "power of two, such as 4"),
     ("--training.epochs None", "in epochs or in steps"),
     ("--training.learning_rte 1", r"Unrecognized options: --training.learning_rte, 1 \(perhaps "
      r"--training.learning-rate\?\)"), ("--recipe mine", "Unrecognized options: --recipe")]
)
def test_values_that_do_not_fit_are_errors_that_name_the_option(line, message):
    with pytest.raises(InputError, match=message) as error:
        parsed(f"mnist {line}")
    assert "\n" not in str(error.value)
