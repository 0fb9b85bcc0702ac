"""Standard streams, quiet libraries and interrupts. No torch here."""

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

AGAIN = 0.05  # seconds until a lost interrupt is raised again


def open_streams() -> int:
    """Prepare the standard streams. Returns a second descriptor of standard error, for `quiet`.

    A closed stream (`2>&-`) becomes the null device, so that no opened file takes its number.
    Characters that the encoding lacks are printed as ?.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        with suppress(AttributeError, OSError):
            getattr(sys, name).reconfigure(errors="replace")
    return os.dup(2)


class SafeStream:
    """A stream that drops its text after its reader has gone (`nanoldm recipes | head -3`)."""

    def __init__(self, stream: TextIO, printable: Callable[..., str] | None):
        self.stream, self.printable = stream, printable

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        shown = self.printable(text, keep="\n\t\r") if self.printable else text
        self.attempt(self.stream.write, shown)
        return len(text)

    def flush(self) -> None:
        self.attempt(self.stream.flush)

    def attempt(self, action: Callable, *arguments: str) -> None:
        try:
            action(*arguments)
        except OSError as error:
            sink = os.open(os.devnull, os.O_WRONLY)  # also for what Python flushes at its end
            os.dup2(sink, self.stream.fileno())
            os.close(sink)
            if not isinstance(error, BrokenPipeError):
                raise type(error)(error.errno, error.strerror, "the output") from None


@contextmanager
def safe_output(printable: Callable[..., str] | None = None) -> Iterator[None]:
    """Standard output and error as `SafeStream`. printable: applied to all standard output."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = SafeStream(before[0], printable), SafeStream(before[1], None)
    try:
        yield
    finally:
        safe = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = before
        for stream in safe:
            with suppress(ValueError):  # closed
                stream.flush()


@contextmanager
def quiet() -> Iterator[None]:
    """Hide warnings, logs and everything on standard error, also from C libraries."""
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    if sys.stderr:
        sys.stderr.flush()
    os.dup2(sink, 2)
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


def stop_signals() -> list[signal.Signals]:
    """Those that end a command: also SIGHUP of a closed terminal, unless nohup ignores it."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt, again if Python loses it in a destructor."""
    hook = sys.unraisablehook

    def raise_again(lost: Any) -> None:
        if not (lost.exc_type and issubclass(lost.exc_type, KeyboardInterrupt)):
            return hook(lost)
        timer = threading.Timer(AGAIN, interrupt_main)
        timer.daemon = True
        timer.start()

    def terminate(*_: object) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()  # only it may set handlers
    before = signal.signal(signal.SIGTERM, terminate) if main else None
    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        if main:
            signal.signal(signal.SIGTERM, before)
