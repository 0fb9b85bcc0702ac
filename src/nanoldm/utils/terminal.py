"""What a terminal, a pipe or Ctrl-C may do to a command. No torch here."""

import logging
import os
import signal
import sys
import threading
import warnings
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

AGAIN = 0.05        # seconds after which an interrupt that was lost is raised again


def open_streams() -> int:
    """A second number of standard error, which stays where the first is pointed elsewhere for a while (`without_remarks`).

    Give a process that was started without standard input, output or error (`2>&-`) the null device in their place, lest a file that is
    opened later be taken for them; and let no character stop the output: those that the encoding lacks become ?."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)      # the lowest number that is free
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))     # noqa: SIM115
        stream = getattr(sys, name)
        with suppress(AttributeError, OSError):
            stream.reconfigure(errors="replace")
    return os.dup(2)


class Lasting:
    """A text stream whose reader may go away (`nanoldm recipes | head -3`): then what is written is dropped and the work goes on."""

    def __init__(self, stream: TextIO, printable: Callable[..., str] | None):
        self.stream, self.printable = stream, printable

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self.dropping():
            self.stream.write(text if self.printable is None else self.printable(text, keep="\n\t\r"))
        return len(text)

    def flush(self) -> None:
        with self.dropping():
            self.stream.flush()

    @contextmanager
    def dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:        # nothing more can be written there, not even when Python ends
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, self.stream.fileno())
            os.close(sink)
            if not isinstance(error, BrokenPipeError):
                raise type(error)(error.errno, error.strerror, "the output") from None


@contextmanager
def lasting_output(printable: Callable[..., str] | None = None) -> Iterator[None]:
    """Standard output and error as `Lasting`. printable: what is done to all text of standard output before it is written."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Lasting(before[0], printable), Lasting(before[1], None)
    try:
        yield
    finally:
        out, err = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = before
        for stream in (out, err):
            with suppress(ValueError):      # closed
                stream.flush()


@contextmanager
def without_remarks() -> Iterator[None]:
    """What libraries remark, C libraries among them, which write to the process's own standard error, is not shown."""
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    if sys.stderr:
        sys.stderr.flush()
    os.dup2(sink, 2)
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, also where Python would lose it.

    An exception that is raised while an object is being deleted is reported and forgotten: there the interrupt is raised again shortly
    after.
    """
    hook = sys.unraisablehook

    def again(lost: Any) -> None:
        if lost.exc_type is not None and issubclass(lost.exc_type, KeyboardInterrupt):
            timer = threading.Timer(AGAIN, interrupt_main)
            timer.daemon = True
            timer.start()
        else:
            hook(lost)

    def terminate(*_: object) -> None:
        raise KeyboardInterrupt

    here = threading.current_thread() is threading.main_thread()     # Python's rule
    before = signal.signal(signal.SIGTERM, terminate) if here else None
    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        if here:
            signal.signal(signal.SIGTERM, before)
