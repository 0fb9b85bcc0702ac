"""Files that are either whole or absent: written to a temporary name and renamed, and checked when read."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nanoldm.errors import InputError


def cache_folder() -> Path:
    """Where downloads and what can be computed again are kept: $NANOLDM_DATA or ~/.cache/nanoldm."""
    return Path(os.environ.get("NANOLDM_DATA", "~/.cache/nanoldm")).expanduser()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds. A killed process leaves `path` as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)       # of a killed process
    try:
        temporary.touch()
        mode = temporary.stat().st_mode     # as the user's files are; safetensors would make one that nobody else may read
        yield temporary
        temporary.chmod(mode)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_target(path: Path, *suffixes: str) -> Path:
    """`path`, if a file with one of `suffixes` can be written there; else an InputError, before any work is done."""
    if path.suffix.lower() not in suffixes:
        raise InputError(f"cannot write {path}: end its name in {' or '.join(suffixes)}")
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file")
    check_writable(path, path.parent)
    return path


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


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError that names the file if it is missing or is anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: copy or export the whole folder again") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not readable JSON ({error}): copy or export the whole folder again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} does not hold a JSON object: it is not a file of nanoldm")
    return content


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn what a foreign configuration causes into an InputError that names the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        if isinstance(error, InputError) and str(path.parent) in str(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is not a configuration of nanoldm ({reason}): copy or export the whole folder again") from None


def digest(tensors: Mapping[str, Tensor], **metadata: str) -> str:
    """SHA-256 over metadata, then names, shapes, types and bytes of tensors, in order of name: equal weights, equal digest."""
    sha = hashlib.sha256("".join(f"{name}={metadata[name]}\n" for name in sorted(metadata)).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def save_tensors(path: Path, tensors: Mapping[str, Tensor], **metadata: str) -> None:
    """Write a safetensors file that carries its own digest."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, {"format": "pt", "sha256": digest(tensors, **metadata), **metadata})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a safetensors file. Raises InputError that names the file if it is missing, truncated, altered or foreign."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise InputError(f"{path} is missing: copy or export the whole folder again") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is truncated or not a safetensors file ({error}): copy or export it again") from None
    own = {name: value for name, value in metadata.items() if name not in ("format", "sha256")}
    if "sha256" in metadata and metadata["sha256"] != digest(tensors, **own):
        raise InputError(f"{path} is corrupt (its SHA-256 does not match): copy or export it again")
    return tensors, metadata


def cached(key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that `compute` returns, kept in the cache folder under `key`; a damaged file is computed again."""
    path = cache_folder() / "features" / f"{key}.safetensors"
    try:
        return load_tensors(path)[0]
    except InputError:
        tensors = compute()
        with suppress(OSError, SafetensorError):        # a folder that cannot be written to costs time, not the result
            save_tensors(path, tensors)
        return tensors


def load_module(module: torch.nn.Module, path: Path) -> None:
    """Fill `module` from a file of `save_tensors`. Raises InputError if the file does not fit it."""
    tensors, _ = load_tensors(path)
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} does not fit the configuration beside it ({reason[:200]}): they belong to different models") from None
