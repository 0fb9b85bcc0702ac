"""Text, JSON and tensors in files: atomic writes (atomic.py) and validated reads."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nanoldm.utils.atomic import replacing
from nanoldm.utils.errors import InputError
from nanoldm.utils.paths import AGAIN, cache_folder, check_regular
from nanoldm.utils.text import one_line

WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write JSON. Values that are not finite become null, because JSON has none."""
    finite = json.loads(json.dumps(content), parse_constant=lambda name: None)
    write_text(path, json.dumps(finite, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError that names the file if it is missing or anything else."""
    check_regular(path, AGAIN)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON ({error}): {AGAIN}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} contains no JSON object, so it is not from nanoldm: {AGAIN}")
    return content


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn the errors of a foreign configuration into an InputError that names its file."""
    try:
        yield
    except (LookupError, ArithmeticError, TypeError, ValueError, AttributeError, RuntimeError) as e:
        if isinstance(e, InputError) and str(path.parent) in str(e):
            raise
        reason = one_line(e, 200)
        raise InputError(f"{path} is not a configuration of nanoldm ({reason}): {AGAIN}") from None


def digest(tensors: Mapping[str, Tensor], /, **metadata: str) -> str:
    """SHA-256 of metadata and of the names, shapes, types and bytes of tensors, sorted by name."""
    lines = "".join(f"{name}={metadata[name]}\n" for name in sorted(metadata))
    sha = hashlib.sha256(lines.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of the bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def named_tensors(**modules: torch.nn.Module) -> dict[str, Tensor]:
    """{"NAME.weight": tensor, ...}: weights and buffers of several modules, to digest together."""
    return {f"{name}.{key}": tensor for name, module in modules.items()
            for key, tensor in module.state_dict().items()}


def weights_digest(module: torch.nn.Module) -> str:
    """SHA-256 of the parameters, without buffers, whose last digits may change."""
    return digest(dict(module.named_parameters()))


def save_tensors(path: Path, tensors: Mapping[str, Tensor], /, **metadata: str) -> None:
    """Write a safetensors file with its own digest. Equal content makes equal files."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "pt", "sha256": digest(tensors, **metadata), **metadata}
    content = save(tensors, metadata)
    # safetensors writes metadata in a random order: write the header again in a fixed order.
    size = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + size])
    del entries["__metadata__"]
    ordered = {"__metadata__": dict(sorted(metadata.items())), **entries}
    header = json.dumps(ordered, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    write_bytes(path, len(header).to_bytes(8, "little") + header + content[8 + size :])


def load_tensors(path: Path, fix: str = AGAIN) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata). Raises InputError for a missing, truncated, altered or foreign file."""
    check_regular(path, fix)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # Copies: Windows does not replace a file that tensors still map.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, AttributeError) as error:
        what = f"truncated or not a safetensors file ({one_line(error)})"
        raise InputError(f"{path} is {what}: {fix}") from None
    own = {name: value for name, value in metadata.items() if name not in ("format", "sha256")}
    if "sha256" in metadata and metadata["sha256"] != digest(tensors, **own):
        raise InputError(f"{path} is corrupt (its SHA-256 does not match): {fix}")
    return tensors, metadata


def cached(key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The result of `compute`, cached on disk under `key`. A damaged file is ignored."""
    path = cache_folder() / "features" / f"{key}.safetensors"
    with suppress(InputError):
        return load_tensors(path)[0]
    tensors = compute()
    with suppress(OSError):  # the cache is optional
        save_tensors(path, tensors)
    return tensors


def fill(module: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """module.load_state_dict. Raises ValueError for tensors that do not fit or are not finite."""
    for name, own in module.state_dict().items():
        if (given := tensors.get(name)) is None:
            continue  # load_state_dict names all that are missing
        if given.dtype != own.dtype and not {given.dtype, own.dtype} <= set(WEIGHT_TYPES):
            raise ValueError(f"{name} is {given.dtype}, not {own.dtype}")
        if not given.to(own.dtype).isfinite().all():
            raise ValueError(f"{name} has values that are not finite")
        if name.endswith("running_var") and (given < 0).any():
            raise ValueError(f"{name} is a variance and has negative values")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(error) from None


def load_module(module: torch.nn.Module, path: Path) -> None:
    """Fill `module` from a file of `save_tensors`. Raises InputError if it does not fit."""
    tensors, _ = load_tensors(path)
    with misfit(path):
        fill(module, tensors)


@contextmanager
def misfit(path: Path) -> Iterator[None]:
    """Turn the ValueError of weights that do not fit into an InputError that names their file."""
    try:
        yield
    except ValueError as error:
        reason = one_line(error, 200)
        raise InputError(f"{path} does not fit its configuration ({reason}): {AGAIN}") from None
