"""Text of unknown origin, made safe for terminals, pictures, Markdown and code. No torch here."""

import json
import re
import shlex
import subprocess
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

MOST_NAMES = 20  # in a message
LONGEST_LABEL = 30  # characters of the name of a curve
CONTROL = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories


def plain(text: object, keep: str = "") -> str:
    r"""Text with escaped control characters, except those in `keep`: \n, \x1b, \u202e."""
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in CONTROL and c not in keep else c
                   for c in str(text))


def one_line(error: object, length: int = 150) -> str:
    """The message of an error in one line of at most `length` characters."""
    return " ".join(str(error).split())[:length]


def markdown(text: object) -> str:
    """Markdown that shows `text` as it is."""
    return re.sub(r"([\\`*_{}\[\]<>()#+\-.!|~&$])", r"\\\1", plain(text))


def code(text: object) -> str:
    """Code in a line of Markdown: between more backticks than `text` has in a row."""
    runs = re.findall("`+", str(text))
    fence = "`" * (1 + max(map(len, runs), default=0))
    space = " " * bool(runs)
    return f"{fence}{space}{plain(text)}{space}{fence}"


def shell(path: str | Path) -> str:
    """A path as one word of a command that can be copied. It is never read as an option."""
    word = plain(path)
    return quoted(f"./{word}" if word.startswith("-") else word)


def quoted(word: str) -> str:
    """A word of a command, quoted as the shell of this system needs it."""
    return subprocess.list2cmdline([word]) if sys.platform == "win32" else shlex.quote(word)


def listing(names: Sequence[str]) -> str:
    """Names with commas in between; of many, the first 19 and the last."""
    shown = [*names[: MOST_NAMES - 1], "...", names[-1]] if len(names) > MOST_NAMES else names
    return ", ".join(shown)


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
    """Text as a Python string in double quotes."""
    return json.dumps(str(text), ensure_ascii=plain(text) != str(text))


def label(text: object) -> str:
    r"""Text for matplotlib, which reads $...$ as mathematics and leaves _names out of legends."""
    name, half = plain(text), LONGEST_LABEL // 2
    name = name if len(name) <= LONGEST_LABEL else f"{name[:half]}...{name[-half:]}"
    return re.sub("^_", " _", name).replace("$", r"\$")


def aligned(rows: Mapping[str, str], indent: str = "") -> str:
    """Names and values as lines with two columns."""
    width = max(map(len, rows))
    return "\n".join(f"{indent}{name:<{width}}  {value}" for name, value in rows.items())
