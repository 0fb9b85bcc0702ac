"""The two ways in which nanoldm fails on purpose. The command line turns them into exit codes."""


class InputError(ValueError):
    """Something given from outside (an option, a file, a name) is unusable: exit code 2.

    The message is one sentence that names the thing and the mend.
    """


class TrainingError(RuntimeError):
    """A computation that was asked for correctly went wrong (NaN): exit code 1."""
