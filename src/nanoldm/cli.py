"""The command line: parse, call one function, print. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted."""

import functools
import io
import itertools
import os
import re
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

from tyro.extras import subcommand_cli_from_dict

from nanoldm import __version__
from nanoldm.commands import COMMANDS
from nanoldm.errors import InputError, TrainingError


def deferred(command: Callable[..., None]) -> Callable[..., Any]:
    """The command with its signature, but called later: parsing must not run it."""
    @functools.wraps(command)
    def parse(*args: Any, **kwargs: Any) -> functools.partial:
        return functools.partial(command, *args, **kwargs)
    return parse


def parse(arguments: list[str]) -> Callable[[], None]:
    """The command to run. Raises InputError with tyro's explanation on one line."""
    explanation = io.StringIO()
    try:
        with redirect_stderr(explanation):
            return subcommand_cli_from_dict({name: deferred(command) for name, command in COMMANDS.items()}, prog="nanoldm",
                                            description="Latent diffusion small enough to read in an afternoon.", args=arguments)
    except SystemExit as stop:
        if stop.code in (0, None):      # --help
            raise
        command = f" {arguments[0]}" if arguments[0] in COMMANDS else ""
        raise InputError(f"{one_line(explanation.getvalue())}; see nanoldm{command} --help") from None


def one_line(box: str) -> str:
    """The gist of tyro's framed explanation of a wrong command line."""
    # The first line is the title. What is all frame (of box characters, or of ASCII where the terminal has no others) becomes empty.
    lines = [re.sub(r"^[-+|\s]*$", "", line.strip("╭╮╰╯│─| ")) for line in box.splitlines()[1:]]
    paragraph = itertools.dropwhile(lambda line: not line, lines)
    gist = " ".join(itertools.takewhile(bool, paragraph))
    if wrong := re.match(r"Error parsing (--?[\w-]+): .*'([^']*)'", gist):
        return f"{wrong[1]} needs a number, not {wrong[2]!r}"
    hint = lines[lines.index("Perhaps you meant:") + 1].split()[0] if "Perhaps you meant:" in lines else ""
    return gist.rstrip(".") + (f" (perhaps {hint}?)" if hint else "")


def main() -> None:
    """Entry point of `nanoldm`."""
    if not sys.stderr.isatty():         # a log file needs few states of a progress bar; tqdm reads this when it is imported
        os.environ.setdefault("TQDM_MININTERVAL", "30")
    arguments = sys.argv[1:] or ["--help"]
    if arguments == ["--version"]:
        print(f"nanoldm {__version__}")
        return
    try:
        parse(arguments)()
    except (InputError, TrainingError) as error:
        print(f"nanoldm: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
    except KeyboardInterrupt as interruption:
        print(f"nanoldm: {interruption or 'interrupted'}", file=sys.stderr)
        sys.exit(130)
