"""Everything that a run needs to go on as if it had never stopped, in one safetensors file (no pickle)."""

from pathlib import Path

import torch
from torch import Tensor, nn

from nanoldm.errors import InputError
from nanoldm.files import load_tensors, save_tensors
from nanoldm.training.ema import EMA


def save_checkpoint(path: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA | None = None) -> None:
    """Weights, optimiser state, EMA and the number of steps done. The order of data and noise follow from the step (batches.py)."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if ema:
        tensors |= {f"ema.{name}": tensor for name, tensor in ema.module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    save_tensors(path, tensors, step=str(step))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA | None = None) -> int:
    """Fill model, optimiser and EMA from `path`; return the number of steps done.

    Raises InputError if the file is damaged or does not fit.
    """
    tensors, metadata = load_tensors(path)
    optimizer_state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in part(tensors, "optimizer").items():
        index, key = name.split(".")
        optimizer_state.setdefault(int(index), {})[key] = tensor
    try:
        model.load_state_dict(part(tensors, "model"))
        if ema:
            ema.module.load_state_dict(part(tensors, "ema"))
        optimizer.load_state_dict({"state": optimizer_state, "param_groups": optimizer.state_dict()["param_groups"]})
        return int(metadata["step"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a checkpoint of this run ({' '.join(str(error).split())[:150]}): "
                         "remove the run folder to start again, or choose another with --out") from None


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors called prefix.NAME, under NAME."""
    return {name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}
