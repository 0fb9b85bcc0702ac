"""The command line: parse, call one function, print. Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted."""

import errno
import functools
import io
import itertools
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from typing import Any

from tyro.extras import subcommand_cli_from_dict

from nanoldm import __version__
from nanoldm.cli import COMMANDS
from nanoldm.utils.errors import InputError, TrainingError
from nanoldm.utils.paths import user_path
from nanoldm.utils.terminal import interruptible, safe_output, open_streams
from nanoldm.utils.text import plain

# Reasons of an OSError that lie in a name or place that was given, not in the machine.
PLACES = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS,
          errno.EINVAL, errno.EILSEQ, errno.EXDEV, errno.ENOTEMPTY}
LONGEST_NUMBER = 30     # digits
NARROWEST = 40          # columns of a terminal
NAMES = {"an argument", "--label", "--out", "--images", "--mask", "--features"}        # what may be called by digits alone, in any script


def deferred(command: Callable[..., None]) -> Callable[..., Any]:
    """The command with its signature, but called later: parsing must not run it."""
    @functools.wraps(command)
    def parse(*args: Any, **kwargs: Any) -> functools.partial:
        return functools.partial(command, *args, **kwargs)
    return parse


def check_arguments(arguments: list[str]) -> None:
    """Raise InputError for what no option means: nothing at all, and numbers that Python would read though nobody writes them so."""
    for option, argument in zip(["", *arguments], arguments, strict=False):
        name, value = re.fullmatch(r"(?:(--[\w-]+)=)?(.*)", argument, re.DOTALL).groups()
        name = name or (option if option.startswith("--") else "an argument")
        if not value.strip():
            raise InputError(f"{name} is empty: give it a value, or leave it out")
        if name in NAMES or not re.fullmatch(r"[\d.,+e -]+", value):
            continue
        if not value.isascii():
            raise InputError(f"{name} {value}: write numbers with the digits 0 to 9")
        if re.search(rf"\d{{{LONGEST_NUMBER},}}", value):
            raise InputError(f"{name} {value[:LONGEST_NUMBER]}...: give a smaller number")


def expanded(argument: str) -> str:
    """An argument with ~ as the home folder, also in --out=~/x, where no shell does it. Raises InputError where there is none."""
    name, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return f"{name}{equals}{user_path(value)}" if value.startswith("~") else argument


def parse(arguments: list[str]) -> Callable[[], None]:
    """The command to run. Raises InputError with tyro's explanation on one line."""
    check_arguments(arguments)
    arguments = [expanded(argument) for argument in arguments]
    if shutil.get_terminal_size().columns < NARROWEST:      # where tyro's help would never end
        os.environ["COLUMNS"] = str(NARROWEST)
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


def explain(error: Exception) -> tuple[str, int]:
    """(one line that says what went wrong, exit code)."""
    reason = " ".join(str(error).split())
    if isinstance(error, InputError | TrainingError):
        return str(error), 2 if isinstance(error, InputError) else 1
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        given = error.errno in PLACES
        mend = "give a path that exists and that you may use" if given else "make room or raise the limit, and give the command again"
        return f"{place}{error.strerror or reason}: {mend}", 2 if given else 1
    if "Too many open files" in reason:     # a RuntimeError of torch's
        return f"{reason[:300]}: raise the limit (ulimit -n), and give the command again", 1
    if isinstance(error, MemoryError) or re.search("allocate memory|out of memory|not enough memory|bad_alloc|map segment", reason):
        return (f"there is not enough memory ({reason[:150] or 'MemoryError'}): ask for fewer images or a smaller batch, network or size, "
                "or close other programs"), 1
    return (f"{type(error).__name__}: {reason[:300]} (nobody expected this: run it again with NANOLDM_TRACEBACK=1 and report what it "
            "prints)"), 1


def main() -> None:
    """Entry point of `nanoldm`."""
    errors = open_streams()
    if not sys.stderr.isatty():         # a log file needs few states of a progress bar; tqdm reads this when it is imported
        os.environ.setdefault("TQDM_MININTERVAL", "30")
    arguments = sys.argv[1:] or ["--help"]
    try:
        with interruptible():
            run(arguments)
    except KeyboardInterrupt as interruption:
        with suppress(ValueError):          # not the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)        # a second one would interrupt what is said of the first
        os.dup2(errors, 2)
        leave(str(interruption) or "interrupted: all files are whole, and the same command may be given again", 130)
    except Exception as error:
        if os.environ.get("NANOLDM_TRACEBACK"):
            raise
        leave(*explain(error))
    finally:
        os.close(errors)


def leave(message: str, code: int) -> None:
    """Say why, where there is anybody to hear it, and exit."""
    with suppress(OSError), safe_output():
        print(f"nanoldm: {plain(message)}", file=sys.stderr)
    sys.exit(code)


def run(arguments: list[str]) -> None:
    with safe_output():      # of tyro, whose help has colours
        command = parse(arguments) if arguments != ["--version"] else functools.partial(print, f"nanoldm {__version__}")
    with safe_output(printable=plain):
        command()
