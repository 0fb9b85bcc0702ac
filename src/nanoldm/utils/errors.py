"""The two errors that nanoldm raises on purpose. The command line turns them into exit codes."""


class InputError(ValueError):
    """An option, a file or a name from outside is unusable: exit code 2.

    The message is one sentence that names the thing and how to fix it.
    """


class TrainingError(RuntimeError):
    """A computation with valid input failed (NaN): exit code 1."""
