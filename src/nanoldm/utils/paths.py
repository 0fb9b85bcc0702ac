"""Paths that users give: what may be read there, and what may be written, said before any work is done. No torch here."""

import os
import tempfile
from pathlib import Path

from nanoldm.utils.errors import InputError

# What systems and their file managers leave in a folder that somebody has looked into. Names that begin with a dot are theirs, too.
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin", "system volume information",
                "lost+found"}


def is_system_file(name: str) -> bool:
    """Whether a file or folder called `name` was made by a system and not by a user."""
    return name.lower() in SYSTEM_FILES or name == ".DS_Store" or name.startswith("._") or name == ".directory"


def user_path(path: str | Path) -> Path:
    """`path` with ~ as the home folder. Raises InputError where there is no such user, or no home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: there is no such home folder: write the whole path") from None


def cache_folder() -> Path:
    """Where downloads and what can be computed again are kept: $NANOLDM_DATA or ~/.cache/nanoldm; without a home, in the system's
    temporary folder."""
    if given := os.environ.get("NANOLDM_DATA"):
        return user_path(given)
    try:
        return user_path("~/.cache/nanoldm")
    except InputError:
        return Path(tempfile.gettempdir()) / "nanoldm-cache"


def check_regular(path: Path, mend: str = "copy or export the whole folder again") -> None:
    """Raise InputError that names `path` unless it is a file: a pipe or a device would never end, and a folder holds no bytes."""
    if not path.exists():
        raise InputError(f"{path} is missing: {mend}")
    if not path.is_file():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'a device or a pipe'}, not a file: {mend}")


def check_target(path: Path, *suffixes: str) -> Path:
    """`path`, if a file with one of `suffixes` can be written there; else an InputError, before any work is done."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"cannot write {path}: end its name in {' or '.join(suffixes)}")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is {'a folder' if path.is_dir() else 'a device or a pipe'}: give the name of a file")
    check_writable(path, path.parent)
    return path


def check_apart(*paths: Path | None) -> None:
    """Raise InputError if two of the given paths, of files to read and to write, are one file."""
    given = [path for path in paths if path is not None]
    real = [os.path.normcase(path.resolve()) for path in given]
    for k, path in enumerate(given):
        if real[k] in real[:k]:
            raise InputError(f"{path} is given twice, and one would replace the other: give each file a name of its own")


def check_folder(path: Path) -> None:
    """Raise InputError if `path`, the value of --out, is a file and not a folder, or cannot be written to: before any work is done."""
    if path.exists() and not path.is_dir():
        raise InputError(f"--out {path} is a file: give the name of a folder")
    check_writable(path, path)


def check_writable(path: Path, folder: Path) -> None:
    """Raise InputError that names `path` unless `folder` can be written to, or made."""
    folder = folder.absolute()
    parent = next(there for there in (folder, *folder.parents) if there.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"cannot write {path}: {parent} is not a folder that you may write to")
