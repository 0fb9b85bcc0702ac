"""A recipe is the whole experiment: the reference is the specification, the others differ from it in what they say."""

import inspect
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from nanoldm.experiments.config import Recipe
from nanoldm.experiments.overrides import override
from nanoldm.experiments.recipes import RECIPES, mnist, mnist_fast, mnist_fast_conditional
from nanoldm.utils.config import flat
from nanoldm.utils.errors import InputError


def differences(recipe, other):
    ours, theirs = dict(flat(recipe.model_dump())), dict(flat(other.model_dump()))
    assert ours.keys() == theirs.keys()
    return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}


def test_the_reference_has_every_number_of_the_specification():
    expected = {
        "recipe": "mnist", "seed": 0, "budget": None,
        "data.name": "mnist", "data.size": None, "data.holdout": 0,
        "autoencoder.hidden_channels": 32, "autoencoder.latent_channels": 6,
        "autoencoder_training.optimizer": "Adam", "autoencoder_training.learning_rate": 1e-3, "autoencoder_training.annealing": "constant",
        "autoencoder_training.batch_size": 128, "autoencoder_training.epochs": 10, "autoencoder_training.steps": None,
        "autoencoder_training.gradient_clip": None, "autoencoder_training.ema_decay": None,
        "network.kind": "DiffusionNet", "network.width": 128, "network.depth": 4, "network.heads": 4, "network.hidden": 512,
        "network.dropout": 0,
        "diffusion.schedule": "cosine", "diffusion.timesteps": 100, "diffusion.prediction": "epsilon",
        "training.optimizer": "AdamW", "training.learning_rate": 5e-4, "training.annealing": "cosine", "training.batch_size": 256,
        "training.epochs": 200, "training.steps": None, "training.gradient_clip": 1, "training.ema_decay": 0.999,
    }
    recipe = dict(flat(RECIPES["mnist"]().model_dump()))
    assert {name: recipe[name] for name in expected} == expected


@pytest.mark.parametrize(("name", "field", "value"), [
    ("mnist-64", "autoencoder.latent_channels", 64), ("mnist-additive", "network.kind", "Transformer")])
def test_the_variants_differ_from_the_reference_in_one_thing(name, field, value):
    assert differences(RECIPES[name](), mnist()) == {"recipe": (name, "mnist"), field: (value, dict(flat(mnist().model_dump()))[field])}


def test_the_fast_recipe_explains_every_field_that_it_changes():
    lines = [line for line in inspect.getdoc(mnist_fast).splitlines() if line.startswith("- ")]
    changed = set(differences(mnist_fast(), mnist())) - {"recipe", "training.steps", "budget"}
    explained = {leaf for leaf in (field.rpartition(".")[2] for field in changed) if any(leaf in line for line in lines)}
    assert explained == {field.rpartition(".")[2] for field in changed}
    assert differences(mnist_fast_conditional(), mnist_fast()).keys() == {"recipe", "diffusion.cells"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_knows_its_name_and_its_docstring_the_command(name):
    assert RECIPES[name]().recipe == name
    assert f"nanoldm train {name}\n" in RECIPES[name].__doc__


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_equal_after_the_way_through_json(name):
    recipe = RECIPES[name]()
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_a_recipe_cannot_be_changed_in_place():
    recipe = mnist()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        recipe.training.epochs = 1


def test_replace_changes_a_copy():
    recipe = mnist()
    changed = recipe.replace(seed=3, training={"epochs": 20})
    assert differences(changed, recipe) == {"seed": (3, 0), "training.epochs": (20, 200)}
    assert recipe == mnist()


@pytest.mark.parametrize("changes", [
    {"colour": 1}, {"training": {"momentum": 0.9}}, {"seed": -1}, {"seed": "abc"}, {"budget": -1}, {"data": {"holdout": -1}},
    {"training": {"epochs": 0}}, {"training": {"epochs": 1.5}}, {"training": {"learning_rate": 0}}, {"training": {"optimizer": "SGDD"}},
    {"training": {"steps": 10}}, {"training": {"epochs": None}}, {"network": {"kind": "UNet"}}, {"diffusion": {"timesteps": 0}}])
def test_unknown_names_and_impossible_values_are_errors(changes):
    with pytest.raises(ValidationError):
        mnist().replace(**changes)


def test_a_recipe_file_with_an_unknown_or_a_missing_key_is_an_error():
    content = mnist().model_dump()
    with pytest.raises(ValidationError, match="extra"):
        Recipe.model_validate(content | {"colour": 1})
    with pytest.raises(ValidationError, match="seed"):
        Recipe.model_validate({key: value for key, value in content.items() if key != "seed"})


def test_override_without_options_is_the_recipe():
    assert override("mnist-64") == RECIPES["mnist-64"]()


@pytest.mark.parametrize(("options", "changed"), [
    ({"epochs": 3}, {"training.epochs": (3, 200)}),
    ({"steps": 50}, {"training.epochs": (None, 200), "training.steps": (50, None)}),
    ({"budget": 60.0}, {"budget": (60, None)}),
    ({"ae_epochs": 2}, {"autoencoder_training.epochs": (2, 10)}),
    ({"seed": 7}, {"seed": (7, 0)}),
    ({"data": "kmnist"}, {"data.name": ("kmnist", "mnist")}),
    ({"size": 32, "holdout": 5000}, {"data.size": (32, None), "data.holdout": (5000, 0)}),
    ({"epochs": 3, "ae_epochs": 2}, {"training.epochs": (3, 200), "autoencoder_training.epochs": (2, 10)})])
def test_an_option_changes_its_own_field_alone(options, changed):
    assert differences(override("mnist", **options), mnist()) == changed


def test_a_seed_of_0_and_a_holdout_of_0_are_options_too():
    assert override("mnist", seed=0, holdout=0) == mnist()


@pytest.mark.parametrize("options", [{"epochs": 3, "steps": 5}, {"epochs": 3, "budget": 60}, {"steps": 5, "budget": 60},
                                     {"epochs": 3, "steps": 5, "budget": 60}])
def test_only_one_option_can_set_the_length(options):
    with pytest.raises(InputError, match="--budget, --epochs and --steps"):
        override("mnist", **options)


@pytest.mark.parametrize(("options", "field", "value"), [
    ({"epochs": 0}, "epochs", 0), ({"epochs": -2}, "epochs", -2), ({"steps": 0}, "steps", 0), ({"budget": -5.0}, "budget", -5),
    ({"ae_epochs": 0}, "epochs", 0), ({"seed": -1}, "seed", -1), ({"size": 0}, "size", 0), ({"holdout": -1}, "holdout", -1)])
def test_numbers_out_of_range_are_refused_with_field_and_value(options, field, value):
    with pytest.raises(InputError, match=rf"\b{field}\b.*{value}"):
        override("mnist", **options)


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"'minst'.*mnist, mnist-v, mnist-flow, .*mnist-64, mnist-additive"):
        override("minst")


def test_a_folder_is_stored_as_an_absolute_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert override("mnist", data="folder:pictures").data.name == f"folder:{tmp_path.resolve() / 'pictures'}"
    assert override("mnist", data="folder:~/pictures").data.name == f"folder:{Path(tmp_path).resolve() / 'home' / 'pictures'}"


def test_fashion_without_a_network_says_so_in_one_line(nanoldm, tmp_path):
    nowhere = dict.fromkeys(["http_proxy", "https_proxy"], "http://127.0.0.1:9")
    refused = nanoldm("train", "fashion", "--out", tmp_path / "run", env=os.environ | nowhere | {"NANOLDM_DATA": str(tmp_path / "data")})
    assert refused.returncode == 2
    (line,) = refused.stderr.splitlines()
    assert line.startswith("nanoldm: could not read or download fashion-mnist")
    assert "check the network" in line
    assert not (tmp_path / "run").exists()
