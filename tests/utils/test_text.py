"""Names of strangers, where they leave: nothing in them acts on a terminal, a picture, Markdown, a
shell or Python.
"""

import ast
import io
import json
import shlex

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.table import Table

from nanoldm.evaluation import plots as charts
from nanoldm.evaluation.report import printed
from nanoldm.utils import images as pictures
from nanoldm.utils.text import code, label, markdown, plain, python, shell

NAMES = ["[/x]", "[bold]a", r"$\foo$", "$", "a\nb", "\x1b[31mred\x1b[0m", "a\rb", "`tick`", "``",
         "_hidden", "*b*", "<script>", "a b", "'", '"', "\\", ":smile:", "größe", "\u202egnp.exe",
         "\x00", "日本語", "\udcff"]


@pytest.mark.parametrize("name", NAMES)
def test_plain_text_is_one_line_that_no_terminal_obeys(name):
    assert all(character.isprintable() or character == " " for character in plain(name))
    assert name not in ("a b", "größe", "日本語", "[/x]") or plain(name) == name


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_and_python_read_a_name_as_it_was_shown(name):
    assert shlex.split(shell(name)) == [plain(name)]
    if name != "\udcff":
        assert ast.literal_eval(python(name)) == json.loads(python(name)) == name
    assert "\n" not in python(name)


@pytest.mark.parametrize(("name", "fenced"),
                         [("a", "`a`"), ("a`b", "`` a`b ``"), ("```", "```` ``` ````"),
                          ("a\nb", r"`a\nb`")])
def test_code_in_markdown_ends_where_it_should(name, fenced):
    assert code(name) == fenced


def test_a_name_like_an_option_becomes_a_path():
    assert shell("-n") == "./-n"


def test_markdown_is_shown_and_not_obeyed():
    assert markdown("*a* [b](c) <d> `e`") == r"\*a\* \[b\]\(c\) \<d\> \`e\`"


@pytest.mark.parametrize("name", NAMES)
def test_a_table_shows_a_name_whatever_markup_it_holds(name):
    table = Table("name", title=name, caption=name)
    table.add_row(name)
    assert name in printed(table) or plain(name) != name


@pytest.mark.parametrize("name", NAMES)
def test_curves_and_captions_of_any_name_are_plotted(name):
    records = [{"stage": "denoiser", "step": step, "seconds": 1.0, "loss": 1 / step,
                "test_loss": 1 / step} for step in (1, 2)]
    assert charts.training({name: records}).width > 100
    assert pictures.captioned([(name, Image.new("RGB", (9, 9)))]).height > 9


def test_matplotlib_shows_dollars_and_keeps_hidden_names_in_the_legend():
    sheet = Figure()
    axes = sheet.subplots()
    axes.plot([0, 1], label=label("_a"))
    axes.plot([0, 1], label=label(r"$\foo$"))
    legend = axes.legend()
    sheet.savefig(io.BytesIO(), format="png")
    assert [text.get_text() for text in legend.get_texts()] == [" _a", r"\$\foo\$"]
    assert matplotlib.rcParams["text.parse_math"]


def test_a_terminal_without_unicode_gets_a_table_of_ascii(monkeypatch):
    class Output(io.StringIO):
        encoding = "cp1252"

    monkeypatch.setattr("sys.stdout", Output())
    table = Table("a", "b")
    table.add_row("1", "2")
    assert printed(table).isascii()
