"""What a launcher says about this process, in the environment. No torch here.

`nanoldm train --processes N`, torchrun and accelerate launch set WORLD_SIZE, RANK, LOCAL_RANK.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout


def number(name: str, default: int) -> int:
    """A whole number of the environment."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default


def launched_processes() -> int:
    """How many processes share the work; 1 without a launcher."""
    return max(1, number("WORLD_SIZE", 1))


def launched_rank() -> int:
    """The number of this process, from 0."""
    return number("RANK", 0) if launched_processes() > 1 else 0


def processes_here() -> int:
    """How many of the processes are on this machine."""
    return number("LOCAL_WORLD_SIZE", launched_processes())


def local_rank() -> int:
    """The number of this process on its machine, from 0."""
    return number("LOCAL_RANK", 0)


@contextmanager
def quiet_unless_main() -> Iterator[None]:
    """Discard what processes other than rank 0 print, also their progress bars."""
    if launched_rank() == 0:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as sink, redirect_stdout(sink), \
            redirect_stderr(sink):
        yield
