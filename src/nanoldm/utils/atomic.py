"""Atomic file writes: a temporary file in the same folder, then a rename. No torch here."""

import os
import platform
import secrets
import shutil
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

# Names of temporary files and folders: ".nanoldm-HOST-PROCESS-RANDOM.tmp"
TEMPORARY = f".nanoldm-{zlib.crc32(platform.node().encode()):08x}-"
RENAME_ATTEMPTS = 20  # on Windows, where a file that is being read cannot be replaced: 2 seconds


def temporary_path(path: Path) -> Path:
    """A new temporary name in the folder of `path`. Removes what killed processes left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for orphan in path.parent.glob(f"{TEMPORARY}*.tmp"):
        with suppress(OSError):
            if is_orphan(orphan):
                shutil.rmtree(orphan) if orphan.is_dir() else orphan.unlink()
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}.tmp")


def is_orphan(temporary: Path) -> bool:
    """Whether the process that made a temporary file has ended; its number may have a new owner."""
    number = temporary.name.removeprefix(TEMPORARY).split("-")[0]
    try:
        started = psutil.Process(int(number)).create_time() if number.isdecimal() else 0
    except (psutil.NoSuchProcess, OverflowError):
        return True
    return started > temporary.stat().st_mtime + 1


def is_temporary(name: str) -> bool:
    """Whether a file with this name is one of our temporary files."""
    return name.startswith(".nanoldm-") and name.endswith(".tmp")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a name for a new folder that becomes `path` on success. OSErrors name `path`."""
    temporary = None
    try:
        temporary = temporary_path(path)
        yield temporary
        rename(temporary, path)
    except OSError as error:
        raise type(error)(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        if temporary:
            with suppress(OSError):
                shutil.rmtree(temporary, True) if temporary.is_dir() else temporary.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file that becomes `path` on success; else `path` stays as it was."""
    with replacing_folder(path) as temporary:
        temporary.open("x").close()  # an existing file is an error; permissions are the user's
        yield temporary
        with open(temporary, "r+b") as file:  # Windows flushes only files opened for writing
            os.fsync(file.fileno())


def rename(source: Path, target: Path) -> None:
    """os.replace, with more attempts on Windows."""
    for left in reversed(range(RENAME_ATTEMPTS if sys.platform == "win32" else 1)):
        try:
            return os.replace(source, target)
        except PermissionError:
            if not left:
                raise
            time.sleep(0.1)
