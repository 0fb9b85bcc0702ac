"""`nanoldm recipes` says what the code says: nothing is listed by hand."""

import inspect
import re
import subprocess
import sys

import pytest

from nanoldm.cli.listing import list_recipes, notes
from nanoldm.experiments.config import settings
from nanoldm.experiments.recipes import RECIPES, mnist


def test_the_list_shows_summary_command_time_score_and_differences(nanoldm):
    listed = nanoldm("recipes")
    assert listed.returncode == 0, listed.stderr
    blocks = dict(zip(RECIPES, listed.stdout.split("\n\n"), strict=False))
    for name, block in blocks.items():
        assert block.startswith(f"{name}: {RECIPES[name].__doc__.splitlines()[0]}\n")
        for word, note in notes(name).items():
            assert re.search(rf"^  {word} +{re.escape(note)}$", block, re.MULTILINE)
    assert "Differs" not in blocks["mnist"]
    assert re.search(r"^  Differs +diffusion\.prediction v \(mnist: epsilon\)$", blocks["mnist-v"], re.MULTILINE)


@pytest.mark.parametrize("name", RECIPES)
def test_every_docstring_holds_command_time_and_score(name):
    assert list(notes(name)) == ["Command", "Time", "Score"]
    assert notes(name)["Command"] == f"nanoldm train {name}"


def test_a_recipe_that_is_added_is_listed(monkeypatch):
    def sevens():
        """Only sevens.

        Command: nanoldm train sevens
        """
        return mnist().replace(recipe="sevens", seed=7)

    monkeypatch.setitem(RECIPES, "sevens", sevens)
    assert "sevens: Only sevens.\n  Command  nanoldm train sevens\n  Differs  seed 7 (mnist: 0)\n" in list_recipes()


def test_one_recipe_is_shown_whole(nanoldm):
    shown = nanoldm("recipes", "mnist-flow").stdout
    assert shown.startswith(f"mnist-flow: {inspect.getdoc(RECIPES['mnist-flow'])}\n\n")
    assert [line.split()[0] for line in shown.rpartition("\n\n")[2].splitlines()] == list(settings(mnist()))
    assert re.search(r"^  diffusion\.schedule +rectified  \(mnist: cosine\)$", shown, re.MULTILINE)
    assert re.search(r"^  training\.gradient_clip +1\.0$", shown, re.MULTILINE)
    assert re.search(r"^  budget +none$", shown, re.MULTILINE)


def test_the_list_does_not_wait_for_torch():
    check = "import sys; sys.argv = ['nanoldm', 'recipes']; from nanoldm.cli.main import main; main(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True).returncode == 0


def test_the_help_of_train_points_to_the_list_and_has_none_of_its_own(nanoldm):
    text = nanoldm("train", "--help").stdout
    assert "`nanoldm recipes` lists them" in text
    assert [name for name in RECIPES if name not in ("mnist", "mnist-fast") and re.search(rf"(?<![\w-]){name}(?![\w-])", text)] == []
