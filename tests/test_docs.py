"""The commands and the Python of README and docs fit the code."""

import re
import shlex
from pathlib import Path

import pytest

from nanoldm.cli import main as cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[str]:
    """Every `nanoldm COMMAND ...` in a code block or in inline code."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`([^`\n]+)`",
                        re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    found = (re.sub(r"\s+#.*", "", line.strip()) for line in lines)
    # Words in capitals stand for something.
    return [line for line in found if re.match(r"nanoldm [a-z]", line)
            and not re.search(r"\.\.\.|\b[A-Z]+m?\b", line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_has_the_options_it_is_given(page):
    for line in commands(page):
        words = shlex.split(line)[1:]
        if "--help" in words or words[-1:] == ["--version"] or (
            len(words) == 1 and words[0] in cli.COMMANDS
        ):
            assert words[0] in cli.COMMANDS
            continue
        cli.parse(words)


def test_the_pages_have_commands():
    assert sum(len(commands(page)) for page in PAGES) > 60
