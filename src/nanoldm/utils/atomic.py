"""Files that are either whole or absent: written under a temporary name and renamed. No torch here."""

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

# Temporary files and folders: ".nanoldm-HOST-PROCESS-RANDOM.tmp". They can be nobody else's, and tell whether their process still lives.
TEMPORARY = f".nanoldm-{zlib.crc32(platform.node().encode()):08x}-"
RENAME_ATTEMPTS = 20        # on Windows, where a file that somebody reads cannot be replaced: for two seconds


def temporary_beside(path: Path) -> Path:
    """A name for a temporary file or folder beside `path`, after those that killed processes left there are removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for orphan in path.parent.glob(f"{TEMPORARY}*.tmp"):
        with suppress(OSError):
            if is_left(orphan):
                shutil.rmtree(orphan) if orphan.is_dir() else orphan.unlink()
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}.tmp")


def is_left(orphan: Path) -> bool:
    """Whether the process that made a temporary file is gone; its number may have been given to a younger one."""
    process = orphan.name.removeprefix(TEMPORARY).split("-")[0]
    try:
        return process.isdecimal() and psutil.Process(int(process)).create_time() > orphan.stat().st_mtime + 1
    except (psutil.NoSuchProcess, OverflowError):
        return True


def is_temporary(name: str) -> bool:
    """Whether a file called `name` is one of ours that is still being written, or was left by a killed process."""
    return name.startswith(".nanoldm-") and name.endswith(".tmp")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds. A killed process leaves `path` as it was.

    Raises OSError that names `path` when it cannot be written.
    """
    temporary = None
    try:
        temporary = temporary_beside(path)
        temporary.open("x").close()         # refuses what is there; may be read by whoever may read the user's other files
        yield temporary
        with open(temporary, "r+b") as file:        # Windows flushes only what is open for writing
            os.fsync(file.fileno())
        rename(temporary, path)
    except OSError as error:
        raise type(error)(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        if temporary:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` for a new folder, which becomes `path` when the block succeeds."""
    temporary = temporary_beside(path)
    try:
        yield temporary
        rename(temporary, path)
    except OSError as error:
        raise type(error)(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def rename(source: Path, target: Path) -> None:
    """os.replace, which Windows refuses while another process reads `target`: there it is tried again for a while."""
    for _ in range(RENAME_ATTEMPTS if sys.platform == "win32" else 1):
        try:
            return os.replace(source, target)
        except PermissionError as error:
            failed = error
            time.sleep(0.1 if sys.platform == "win32" else 0)
    raise failed
