"""A recipe is the whole experiment: the reference is the specification, the others change what they
name.
"""

import os

import pytest
from pydantic import ValidationError

from nanoldm.experiments.config import Recipe
from nanoldm.experiments.recipes import (
    RECIPES,
    find_recipe,
    mnist,
    mnist_fast,
    mnist_fast_conditional,
)
from nanoldm.utils.config import flat
from nanoldm.utils.errors import InputError


def differences(recipe, other):
    ours, theirs = dict(flat(recipe.model_dump())), dict(flat(other.model_dump()))
    assert ours.keys() == theirs.keys()
    return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}


def test_the_reference_has_every_number_of_the_specification():
    expected = {"recipe": "mnist", "seed": 0, "budget": None, "data.name": "mnist",
                "data.size": None, "data.holdout": 0, "autoencoder.hidden_channels": 32,
                "autoencoder.latent_channels": 6, "autoencoder_training.optimizer": "Adam",
                "autoencoder_training.learning_rate": 1e-3,
                "autoencoder_training.annealing": "constant",
                "autoencoder_training.batch_size": 128, "autoencoder_training.epochs": 10,
                "autoencoder_training.steps": None, "autoencoder_training.gradient_clip": None,
                "autoencoder_training.ema_decay": None, "network.kind": "DiffusionNet",
                "network.width": 128, "network.depth": 4, "network.heads": 4, "network.hidden": 512,
                "network.dropout": 0, "diffusion.schedule": "cosine", "diffusion.timesteps": 100,
                "diffusion.prediction": "epsilon", "training.optimizer": "AdamW",
                "training.learning_rate": 5e-4, "training.annealing": "cosine",
                "training.batch_size": 256, "training.epochs": 200, "training.steps": None,
                "training.gradient_clip": 1, "training.ema_decay": 0.999}
    recipe = dict(flat(RECIPES["mnist"]().model_dump()))
    assert {name: recipe[name] for name in expected} == expected


@pytest.mark.parametrize(("name", "field", "value"),
                         [("mnist-64", "autoencoder.latent_channels", 64),
                          ("mnist-additive", "network.kind", "Transformer")])
def test_the_variants_differ_from_the_reference_in_one_thing(name, field, value):
    assert differences(RECIPES[name](), mnist()) == {
        "recipe": (name, "mnist"), field: (value, dict(flat(mnist().model_dump()))[field])
    }


def test_the_conditional_fast_recipe_differs_from_the_fast_one_in_its_labels():
    assert differences(
        mnist_fast_conditional(), mnist_fast()
    ).keys() == {"recipe", "diffusion.clusters"}


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


@pytest.mark.parametrize("changes",
                         [{"colour": 1}, {"training": {"momentum": 0.9}}, {"seed": -1},
                          {"seed": "abc"}, {"budget": -1}, {"data": {"holdout": -1}},
                          {"training": {"epochs": 0}}, {"training": {"epochs": 1.5}},
                          {"training": {"learning_rate": 0}}, {"training": {"optimizer": "SGDD"}},
                          {"training": {"epochs": None}}, {"network": {"kind": "UNet"}},
                          {"diffusion": {"timesteps": 0}}])
def test_unknown_names_and_impossible_values_are_errors(changes):
    with pytest.raises(InputError):
        mnist().replace(**changes)


def test_a_recipe_file_with_an_unknown_or_a_missing_key_is_an_error():
    content = mnist().model_dump()
    with pytest.raises(ValueError, match="colour is 1: extra inputs are not permitted"):
        Recipe.model_validate(content | {"colour": 1})
    with pytest.raises(ValueError, match="seed"):
        Recipe.model_validate({key: value for key, value in content.items() if key != "seed"})


def test_an_unknown_recipe_is_an_error_that_lists_the_known_ones():
    with pytest.raises(InputError,
                       match=r"'minst'.*mnist, mnist-v, mnist-flow, .*mnist-64, mnist-additive"):
        find_recipe("minst")


def test_a_download_without_a_network_says_so_in_one_line(nanoldm, tmp_path):
    nowhere = dict.fromkeys(["http_proxy", "https_proxy"], "http://127.0.0.1:9")
    failed = nanoldm("train", "mnist", "--data", "kmnist", "--out", tmp_path / "run",
                     env=os.environ | nowhere | {"NANOLDM_DATA": str(tmp_path / "data")})
    assert failed.returncode == 2
    (line,) = failed.stderr.splitlines()
    assert line.startswith("nanoldm: could not read or download kmnist")
    assert "check the network" in line
    assert not (tmp_path / "run").exists()
