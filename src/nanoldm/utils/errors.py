"""The two errors that nanoldm raises on purpose. The command line turns them into exit codes."""

from collections.abc import Iterable


class InputError(ValueError):
    """An option, a file or a name from outside is unusable: exit code 2.

    The message is one sentence that names the thing and how to fix it.
    """


class TrainingError(RuntimeError):
    """A computation with valid input failed (NaN): exit code 1."""


def check_choice(what: str, value: str, choices: Iterable[str]) -> None:
    """Raise InputError unless `value`, the name of a `what`, is one of `choices`."""
    if value not in choices:
        raise InputError(f"unknown {what} {value!r}: choose one of {', '.join(choices)}")
