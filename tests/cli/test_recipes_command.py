"""`nanoldm recipes` prints what the code contains: nothing is listed by hand."""

import inspect
import re
import subprocess
import sys

import pytest

from nanoldm.cli.recipes import fields, notes, table
from nanoldm.experiments.recipes import RECIPES, mnist


def test_the_table_shows_every_recipe_within_100_columns(nanoldm):
    listed = nanoldm("recipes")
    assert listed.returncode == 0, listed.stderr
    assert max(map(len, listed.stdout.splitlines())) <= 100
    first_column = [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]
    assert [name for name in first_column if name in RECIPES] == list(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_every_docstring_has_command_time_and_score(name):
    found = notes(inspect.getdoc(RECIPES[name]))
    assert list(found) == ["Command", "Time", "Score"]
    assert found["Command"].startswith(f"nanoldm train {name}")


def test_a_recipe_that_is_added_is_listed(monkeypatch):
    def sevens():
        """Only sevens.

        Command: nanoldm train sevens
        Time: none at all
        """
        return mnist().replace(recipe="sevens", seed=7)

    monkeypatch.setitem(RECIPES, "sevens", sevens)
    assert re.search("sevens +Only sevens. +none at all", table())


def test_one_recipe_is_described_with_its_differences_from_the_reference(nanoldm):
    shown = nanoldm("recipes", "mnist-flow").stdout
    assert shown.startswith(f"mnist-flow: {inspect.getdoc(RECIPES['mnist-flow'])}\n\n")
    assert re.search(r"^  diffusion\.schedule +rectified  \(mnist: cosine\)$", shown, re.MULTILINE)
    assert "training.optimizer" not in shown
    assert "Differs" not in nanoldm("recipes", "mnist").stdout


def test_the_list_does_not_wait_for_torch():
    check = ("import sys; sys.argv = ['nanoldm', 'recipes']; from nanoldm.cli.main import main; "
             "main(); sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", check], capture_output=True).returncode == 0


def test_the_help_of_train_shows_every_field_with_the_value_of_the_recipe(nanoldm):
    text = " ".join(nanoldm("train", "mnist-flow", "--help").stdout.split())
    for field in fields(RECIPES["mnist-flow"]()):
        assert f"--{field.replace('_', '-')}" in text
    assert "(default: rectified)" in text
