"""Any field of a recipe from the command line: read by its type, refused with the mend, and never set from two sides."""

import pytest
from test_recipes import differences

from nanoldm.cli.listing import shown
from nanoldm.experiments.config import settings
from nanoldm.experiments.overrides import override
from nanoldm.experiments.recipes import RECIPES, mnist
from nanoldm.utils.errors import InputError
from nanoldm.utils.options import parse_fields


@pytest.mark.parametrize("field", settings(mnist()))
def test_what_recipes_prints_of_a_field_can_be_given_back(field):
    for name in RECIPES:
        recipe = RECIPES[name]()
        assert override(name, {field: shown(settings(recipe)[field])}) == recipe


def test_texts_become_what_the_field_holds_and_change_nothing_else():
    texts = parse_fields(["training.learning_rate=1e-3", " network.depth = 6 ", "training.gradient_clip=none", "diffusion.prediction=v",
                          "data.size=32"])
    changed = override("mnist", texts)
    assert differences(changed, mnist()) == {
        "training.learning_rate": (0.001, 0.0005), "network.depth": (6, 4), "training.gradient_clip": (None, 1.0),
        "diffusion.prediction": ("v", "epsilon"), "data.size": (32, None)}
    assert override("mnist", {"training.learning_rate": 1e-3, "network.depth": 6, "training.gradient_clip": None,
                              "diffusion.prediction": "v", "data.size": 32}) == changed


def test_fields_and_short_options_combine():
    assert differences(override("mnist-v", {"network.depth": "2"}, epochs=3, seed=5), RECIPES["mnist-v"]()) == {
        "network.depth": (2, 4), "training.epochs": (3, 200), "seed": (5, 0)}


@pytest.mark.parametrize(("group", "epochs"), [("training", 200), ("autoencoder_training", 10)])
def test_a_length_in_steps_replaces_one_in_epochs_and_back(group, epochs):
    in_steps = override("mnist", {f"{group}.steps": "7"})
    assert differences(in_steps, mnist()) == {f"{group}.epochs": (None, epochs), f"{group}.steps": (7, None)}
    assert override("mnist", {f"{group}.steps": "7"}) == override("mnist", {f"{group}.steps": "7", f"{group}.epochs": "none"})
    assert override("mnist", {f"{group}.epochs": "7"}) == mnist().replace(**{group: {"epochs": 7}})


def test_a_folder_means_the_same_from_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert override("mnist", {"data.name": "folder:pictures"}) == override("mnist", data="folder:pictures")


@pytest.mark.parametrize(("field", "nearest"), [
    ("training.learning_rte", "training.learning_rate"), ("depth", "network.depth"),
    ("autoencoder.latent_chanels", "autoencoder.latent_channels"),
    ("difusion.prediction", "diffusion.prediction"), ("learning_rate", "training.learning_rate")])
def test_an_unknown_field_is_refused_with_the_nearest(field, nearest):
    with pytest.raises(InputError, match=rf"--set {field}: .*did you mean {nearest}\? nanoldm recipes mnist-64 lists all"):
        override("mnist-64", {field: "1"})


@pytest.mark.parametrize(("field", "value", "allowed"), [
    ("training.learning_rate", "fast", "a valid number$"), ("training.learning_rate", "none", "a valid number$"),
    ("training.learning_rate", "inf", "a finite number$"), ("training.learning_rate", "nan", "a finite number$"),
    ("training.learning_rate", "0", "greater than 0$"), ("training.epochs", "1.5", "a valid integer or none$"),
    ("training.gradient_clip", "-1", "greater than 0 or none$"), ("training.ema_decay", "1", "less than 1 or none$"),
    ("network.dropout", "1", "less than 1$"), ("network.kind", "unet", "'DiffusionNet' or 'Transformer'$"),
    ("network.depth", "", "a valid integer$"),
    ("seed", "-1", "greater than or equal to 0$"), ("budget", "soon", "a valid number or none$")])
def test_a_value_that_does_not_fit_is_refused_with_what_is_allowed(field, value, allowed):
    with pytest.raises(InputError, match=rf"^--set {field}={value}: input should be {allowed}"):
        override("mnist", {field: value})


@pytest.mark.parametrize(("fields", "options", "message"), [
    ({"training.epochs": "3"}, {"epochs": 3}, "--epochs and --set training.epochs say the same"),
    ({"data.name": "kmnist"}, {"data": "mnist"}, "--data and --set data.name say the same"),
    ({"seed": "3"}, {"seed": 0}, "--seed and --set seed say the same"),
    ({"training.epochs": "3"}, {"budget": 60.0}, "all set the length"), ({"training.steps": "3"}, {"epochs": 3}, "all set the length"),
    ({"budget": "60"}, {"steps": 3}, "all set the length"), ({"training.steps": "3", "training.epochs": "3"}, {}, "all set the length"),
    ({"autoencoder_training.steps": "3"}, {"ae_epochs": 3}, "^autoencoder_training: give the length of a training either"),
    ({"training.epochs": "none"}, {}, "^training: give the length of a training either"),
    ({"recipe": "mine"}, {}, "the recipe is chosen by its name")])
def test_what_contradicts_another_option_is_refused(fields, options, message):
    with pytest.raises(InputError, match=message):
        override("mnist", fields, **options)


@pytest.mark.parametrize(("texts", "message"), [
    (["network.depth"], "--set network.depth: write FIELD=VALUE"), (["=3"], "--set =3: write FIELD=VALUE"),
    (["seed=1", "seed=1"], "--set seed is given twice")])
def test_what_is_no_field_and_value_is_refused(texts, message):
    with pytest.raises(InputError, match=message):
        parse_fields(texts)
