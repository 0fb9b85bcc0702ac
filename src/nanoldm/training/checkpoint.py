"""Everything that a run needs to go on as if it had never stopped, in one safetensors file (no pickle)."""

from pathlib import Path

import torch
from torch import Tensor, nn

from nanoldm.training.ema import EMA
from nanoldm.training.muon import state_names
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import fill, load_tensors, save_tensors

MEND = "remove the run folder to start again, or choose another with --out"


def save_checkpoint(path: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA | None = None,
                    **belongs: str) -> None:
    """Weights, optimiser state, EMA and the number of steps done. The order of data and noise follow from the step (batches.py).

    belongs: digests of what the training stands on, such as autoencoder=..., to be the same when it goes on.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if ema:
        tensors |= {f"ema.{name}": tensor for name, tensor in ema.module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    save_tensors(path, tensors, step=str(step), **belongs)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, ema: EMA | None = None, steps: int | None = None,
                    **belongs: str) -> int:
    """Fill model, optimiser and EMA from `path`; return the number of steps done.

    steps: of the whole training, beyond which no checkpoint can be. belongs: as it was saved with.
    Raises InputError if the file is damaged, of another run, or altered.
    """
    tensors, metadata = load_tensors(path, MEND)
    try:
        step = int(metadata["step"])
        if step < 1 or (steps is not None and step > steps):
            raise ValueError(f"it is of step {step}" + (f" of {steps}" if steps else ""))
        for name, value in belongs.items():
            if metadata.get(name, value) != value:
                raise ValueError(f"it was trained with another {name}")
        state = optimizer_state(part(tensors, "optimizer"), optimizer, step)
        fill(model, part(tensors, "model"))
        if ema:
            fill(ema.module, part(tensors, "ema"))
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return step
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a checkpoint of this run ({' '.join(str(error).split())[:150]}): {MEND}") from None


def optimizer_state(tensors: dict[str, Tensor], optimizer: torch.optim.Optimizer, step: int) -> dict[int, dict[str, Tensor]]:
    """{"0.exp_avg": tensor, ...} -> {0: {"exp_avg": tensor, ...}, ...}. Raises ValueError unless it is all that `optimizer` has of its
    parameters after `step` steps."""
    state: dict[int, dict[str, Tensor]] = {}
    for index, (parameter, names) in enumerate(state_names(optimizer)):
        state[index] = {name: tensors.pop(f"{index}.{name}", torch.empty(0)) for name in names}
        for name, tensor in state[index].items():
            fits = tensor.numel() == 1 and tensor.item() == step if name == "step" else tensor.shape == parameter.shape
            fits &= name not in ("exp_avg_sq", "square") or bool((tensor >= 0).all())       # they are squares
            if not (fits and tensor.dtype == torch.float32 and tensor.isfinite().all()):
                raise ValueError(f"the optimiser's {name} of parameter {index} is missing or not that of step {step}")
    if tensors:
        raise ValueError(f"it holds {next(iter(tensors))} of another optimiser")
    return state


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors called prefix.NAME, under NAME."""
    return {name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}
