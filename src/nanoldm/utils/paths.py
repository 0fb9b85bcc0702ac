"""Paths that users give, checked before any work is done. No torch here."""

import os
import tempfile
from pathlib import Path

from nanoldm.utils.errors import InputError

AGAIN = "copy or export the whole folder again"  # advice on a damaged file of a model
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", ".directory", "icon\r",
                "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}


def is_system_file(name: str) -> bool:
    """Whether a system or a file manager made a file or folder with this name."""
    return name.lower() in SYSTEM_FILES or name.startswith("._")


def user_path(path: str | Path) -> Path:
    """`path` with ~ as the home folder. Raises InputError if there is no such home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: there is no such home folder: write the whole path") from None


def cache_folder() -> Path:
    """$NANOLDM_DATA, ~/.cache/nanoldm, or a temporary folder if there is no home folder."""
    if given := os.environ.get("NANOLDM_DATA"):
        return user_path(given)
    try:
        return user_path("~/.cache/nanoldm")
    except InputError:
        return Path(tempfile.gettempdir()) / "nanoldm-cache"


def check_regular(path: Path, fix: str = AGAIN) -> None:
    """Raise InputError with `fix` unless `path` is a file: reading a pipe may never end."""
    if not path.exists():
        raise InputError(f"{path} is missing: {fix}")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "a device or a pipe"
        raise InputError(f"{path} is {kind}, not a file: {fix}")


def check_target(path: Path, *suffixes: str) -> Path:
    """`path`. Raises InputError unless a file with one of `suffixes` can be written there."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"cannot write {path}: end its name in {' or '.join(suffixes)}")
    if path.exists():
        check_regular(path, "give the name of a file")
    check_writable(path, path.parent)
    return path


def check_apart(*paths: Path | None) -> None:
    """Raise InputError if two of the files that a command reads and writes are the same file."""
    seen = set()
    for path in paths:
        real = path and os.path.normcase(path.resolve())
        if real and real in seen:
            raise InputError(f"{path} is given twice: give each file a name of its own")
        seen.add(real)


def check_folder(path: Path) -> None:
    """Raise InputError if `path`, the value of `out`, cannot be a folder to write to."""
    if path.exists() and not path.is_dir():
        raise InputError(f"out {path} is a file: give the name of a folder")
    check_writable(path, path)


def check_writable(path: Path, folder: Path) -> None:
    """Raise InputError that names `path` unless `folder` can be written to, or made."""
    folder = folder.absolute()
    parent = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"cannot write {path}: {parent} is not a folder that you may write to")
