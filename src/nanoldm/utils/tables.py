"""Tables for the terminal. Does not import torch."""

import io
import sys
from typing import Any

from rich.box import ASCII, SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

WIDTH = 100  # columns, or those of a wider terminal


def new_table(*columns: Any, **options: Any) -> Table:
    return Table(*columns, box=SIMPLE_HEAD, pad_edge=False, show_edge=False, **options)


def printed(table: Table, *lines: str) -> str:
    """A table and lines of text below it, as text. Markup in names is not interpreted."""
    width = max(Console().width, WIDTH)
    options = dict(highlight=False, markup=False, emoji=False)
    console = Console(width=width, file=io.StringIO(), **options)
    if not (sys.stdout.encoding or "").lower().startswith("utf"):
        table.box = ASCII
    console.print(table)
    console.print(*lines, sep="\n")
    return console.file.getvalue()
