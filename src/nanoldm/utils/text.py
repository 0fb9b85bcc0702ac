"""Names that strangers chose, made safe where they leave: for a terminal, a picture, Markdown and lines of code. No torch here."""

import json
import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

MOST_NAMES = 20         # in a message
LONGEST_LABEL = 30      # characters of a curve's name, beside which there must be room for the curve


def plain(text: object, keep: str = "") -> str:
    r"""Text without control characters, which could move a terminal's cursor, break a line or hide a part: they become \n, \x1b, \u202e.

    keep: control characters that are left as they are.
    """
    return "".join(c if c in keep or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else escaped(c) for c in str(text))


def escaped(character: str) -> str:
    return character.encode("ascii", "backslashreplace").decode() if ord(character) > 127 else repr(character)[1:-1]


def markdown(text: object) -> str:
    """Text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~&$])", r"\\\1", plain(text))


def code(text: object) -> str:
    """Text as code within a line of Markdown: fenced by more backticks than it holds in a row."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", str(text))), default=0))
    space = " " if "`" in str(text) else ""
    return f"{fence}{space}{plain(text)}{space}{fence}"


def shell(path: str | Path) -> str:
    """A path as one word of a command that can be copied, and no option of it."""
    word = plain(path)
    word = f"./{word}" if word.startswith("-") else word
    return subprocess.list2cmdline([word]) if sys.platform == "win32" else shlex.quote(word)


def listing(names: Sequence[str]) -> str:
    """Names one after the other; of many the first ones and the last."""
    return ", ".join([*names[: MOST_NAMES - 1], "...", names[-1]] if len(names) > MOST_NAMES else names)


def duration(seconds: float) -> str:
    """90 -> "1 min 30 s", 40000 -> "11 h 6 min"."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def is_number(name: str) -> bool:
    """Whether a name is a number, such as 7, -1 or 0.5."""
    return bool(re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", name))


def python(text: object) -> str:
    """Text as a string of Python, in double quotes."""
    return json.dumps(str(text), ensure_ascii=plain(text) != str(text))


def label(text: object) -> str:
    r"""Text for matplotlib, which reads $...$ as mathematics and leaves names that begin with _ out of legends."""
    name = plain(text)
    name = name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL // 2]}...{name[-LONGEST_LABEL // 2 :]}"
    return re.sub("^_", " _", name).replace("$", r"\$")
