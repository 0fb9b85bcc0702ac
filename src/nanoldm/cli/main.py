"""The command line: find the command, parse its options, run it.

Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
"""

import dataclasses
import errno
import io
import itertools
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, suppress
from difflib import get_close_matches
from functools import partial
from importlib import import_module

import tyro

from nanoldm import __version__
from nanoldm.cli.launch import launch
from nanoldm.utils.errors import InputError, TrainingError
from nanoldm.utils.launched import launched_processes, launched_rank, quiet_unless_main
from nanoldm.utils.paths import user_path
from nanoldm.utils.terminal import interruptible, open_streams, safe_output
from nanoldm.utils.text import plain

# Group -> command -> module; the class has the name of the command.
GROUPS = {"create": {"train": "train", "distill": "train", "sample": "sample", "denoise": "sample",
                     "page": "models"},
          "edit": dict.fromkeys(("img2img", "inpaint", "interpolate", "invert", "vary"), "edit"),
          "measure": dict.fromkeys(("evaluate", "compare", "doctor", "curves", "features"),
                                   "measure"),
          "manage": {"recipes": "recipes", "info": "models", "export": "models"}}
COMMANDS = {name: module for group in GROUPS.values() for name, module in group.items()}
# Reasons of an OSError that lie in a given path, not in the machine
PATH_ERRORS = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOENT, errno.ENOTDIR, errno.EISDIR,
               errno.EEXIST, errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL, errno.EILSEQ,
               errno.EXDEV, errno.ENOTEMPTY}
LONGEST_NUMBER = 30  # digits
NARROWEST = 40  # columns of a terminal
# Options whose value may be a name of digits
NAMES = {"an argument", "--label", "--out", "--images", "--mask", "--features"}


def find_command(name: str) -> type:
    """The dataclass of a command."""
    return getattr(import_module(f"nanoldm.cli.{COMMANDS[name]}"), name.capitalize())


def overview() -> str:
    """The help of `nanoldm`: all commands by group, one line each."""
    lines = ["usage: nanoldm COMMAND [options]", "",
             "Latent diffusion on a laptop: train, generate, edit, measure."]
    for group, names in GROUPS.items():
        summaries = {name: find_command(name).__doc__.splitlines()[0] for name in names}
        lines += ["", f"{group}:", *(f"  {name:<12} {text}" for name, text in summaries.items())]
    return "\n".join([*lines, "", "nanoldm COMMAND --help shows the options of a command."])


def check_arguments(arguments: list[str]) -> None:
    """Raise InputError for empty values, and for numbers that are not plain decimal digits."""
    for option, argument in zip(["", *arguments], arguments, strict=False):
        pattern = r"(?:(--[\w.-]+)=)?(.*)"
        name, value = re.fullmatch(pattern, argument, re.DOTALL).groups()
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
    """An argument with ~ as the home folder, also in --out=~/x. Raises InputError if unknown."""
    name, equals, value = "", "", argument
    if argument.startswith("--"):
        name, equals, value = argument.partition("=")
    return f"{name}{equals}{user_path(value)}" if value.startswith("~") else argument


def parse(arguments: list[str]) -> Callable[[], None]:
    """The function to call. Raises InputError with one line of explanation."""
    if arguments[0] in ("--help", "-h"):
        return lambda: print(overview())
    if arguments[0] == "--version":
        return lambda: print(f"nanoldm {__version__}")
    check_arguments(arguments)
    name, *rest = [expanded(argument) for argument in arguments]
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else "nanoldm --help lists all commands"
        raise InputError(f"unknown command {name!r}: {hint}")
    command, defaults = find_command(name), {}
    if name == "train":
        from nanoldm.cli.train import expand_options

        recipe = "RECIPE" if rest[:1] in ([], ["--help"], ["-h"]) else rest[0]
        name = f"{name} {recipe}"
        rest, defaults = expand_options(rest)
    made = parse_options(name, command, rest, defaults)
    if launched_processes() > 1 and not hasattr(made, "processes"):
        raise InputError(f"{name} needs one process, and a launcher has started "
                         f"{launched_processes()}: start it without torchrun or accelerate launch")
    if launched_processes() == 1 and getattr(made, "processes", 1) != 1:
        return partial(launch, arguments, made.processes)
    return made.run


def parse_options(name: str, command: type, arguments: list[str], defaults: dict) -> object:
    """The command with its options, parsed by tyro. Raises InputError."""
    if shutil.get_terminal_size().columns < NARROWEST:  # tyro's help would not end
        os.environ["COLUMNS"] = str(NARROWEST)
    options = {"default": command(**defaults)} if defaults else {}
    explanation = io.StringIO()
    try:
        with redirect_stderr(explanation):
            return tyro.cli(command, args=arguments, prog=f"nanoldm {name}", **options)
    except InputError as error:  # of a field of the recipe
        raise InputError(f"--{error}") from None
    except SystemExit as stop:
        if stop.code in (0, None):  # --help
            raise
        reason = first_sentence(explanation.getvalue())
        raise InputError(f"{reason}; see nanoldm {name} --help") from None


def first_sentence(box: str) -> str:
    """The first sentence in tyro's box of a wrong command line."""
    # The first line is the title; a line of frame only becomes empty.
    lines = [re.sub(r"^[-+|\s]*$", "", line.strip("╭╮╰╯│─| ")) for line in box.splitlines()[1:]]
    paragraph = itertools.dropwhile(lambda line: not line, lines)
    text = " ".join(itertools.takewhile(bool, paragraph))
    if wrong := re.match(r"Error parsing (--?[\w.-]+): .*'([^']*)'", text):
        return f"{wrong[1]} needs a number, not {wrong[2]!r}"
    if field := re.match(r"Error parsing recipe\.([\w.]+): (.*)", text):
        named = re.match(r"[\w.]+ is ", field[2])
        return f"--{field[1]}.{field[2]}" if named else f"{field[1]}: {field[2]}"
    found = "Perhaps you meant:" in lines
    hint = lines[lines.index("Perhaps you meant:") + 1].split()[0] if found else ""
    return text.rstrip(".") + (f" (perhaps {hint}?)" if hint else "")


def with_dashes(message: str, command: str) -> str:
    """Write an option's name at the start of a message as on the command line: size -> --size."""
    if command not in COMMANDS:
        return message
    names = {field.name for field in dataclasses.fields(find_command(command))}
    match = re.match(r"([a-z_]+) (?=is |needs |leaves |covers |\S*[^a-z\s:,]\S*)", message)
    if not match or match[1] not in names | {"size", "holdout", "budget"}:
        return message
    return f"--{match[1].replace('_', '-')}{message[len(match[1]):]}"


def explain(error: Exception, command: str = "") -> tuple[str, int]:
    """(one line of explanation, exit code)."""
    reason = " ".join(str(error).split())
    if isinstance(error, InputError):
        return with_dashes(str(error), command), 2
    if isinstance(error, TrainingError):
        return str(error), 1
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        given = error.errno in PATH_ERRORS
        fix = ("give a path that exists and that you may use" if given
               else "make room or raise the limit, and give the command again")
        return f"{place}{error.strerror or reason}: {fix}", 2 if given else 1
    if "Too many open files" in reason:  # a RuntimeError of torch
        return f"{reason[:300]}: raise the limit (ulimit -n), and give the command again", 1
    memory = "allocate memory|out of memory|not enough memory|bad_alloc|map segment"
    if isinstance(error, MemoryError) or re.search(memory, reason):
        return (f"there is not enough memory ({reason[:150] or 'MemoryError'}): use fewer images, "
                "a smaller batch, network or size, or close other programs"), 1
    if launched_processes() > 1 and re.search("gloo|NCCL|Connection closed by peer", reason):
        return f"another process has stopped: see its message ({reason[:150]})", 1
    return (f"{type(error).__name__}: {reason[:300]} (unexpected: run it again with "
            "NANOLDM_TRACEBACK=1 and report the output)"), 1


def main() -> None:
    """Entry point of `nanoldm`."""
    errors = open_streams()
    if not sys.stderr.isatty():  # few states of a progress bar in a log file; read by tqdm
        os.environ.setdefault("TQDM_MININTERVAL", "30")
    arguments = sys.argv[1:] or ["--help"]
    try:
        with interruptible():
            run(arguments)
    except KeyboardInterrupt as interruption:
        if launched_rank():
            sys.exit(130)
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would stop the message
        os.dup2(errors, 2)
        done = "interrupted: all files are complete, and the same command continues"
        leave(str(interruption) or done, 130)
    except Exception as error:
        if os.environ.get("NANOLDM_TRACEBACK"):
            raise
        message, code = explain(error, arguments[0])
        parsing = "torch" not in sys.modules
        if launched_rank() and (parsing or getattr(error, "known_to_all", False)):
            sys.exit(code)  # rank 0 explains
        leave(message, code)
    finally:
        os.close(errors)


def leave(message: str, code: int) -> None:
    """Print the message, if anybody reads it, and exit."""
    with suppress(OSError), safe_output():
        print(f"nanoldm: {plain(message)}", file=sys.stderr)
    sys.exit(code)


def run(arguments: list[str]) -> None:
    with safe_output():  # tyro's help has colours
        command = parse(arguments)
    with safe_output(printable=plain), quiet_unless_main():
        command()
    if launched_processes() > 1:
        from nanoldm.utils.distributed import disconnect

        disconnect()
