"""Checkpoints: everything that a run needs to resume, in one safetensors file (no pickle)."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Optimizer

from nanoldm.training.ema import EMA
from nanoldm.training.muon import Muon
from nanoldm.utils.distributed import from_main
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import fill, load_tensors, save_tensors
from nanoldm.utils.text import one_line

FIX = "remove the run folder to start again, or choose another folder"


def save_checkpoint(path: Path, step: int, model: nn.Module, optimizers: Sequence[Optimizer],
                    ema: EMA | None = None, **origin: str) -> None:
    """Write weights, optimiser state, EMA and the number of steps done.

    The order of data and noise follow from the step (batches.py).
    origin: digests of what the training builds on, such as autoencoder=...
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if ema:
        tensors |= {f"ema.{name}": tensor for name, tensor in ema.module.state_dict().items()}
    for k, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{k}.{index}.{key}": value for key, value in state.items()}
    save_tensors(path, tensors, step=str(step), **origin)


def load_checkpoint(path: Path, model: nn.Module, optimizers: Sequence[Optimizer],
                    ema: EMA | None = None, steps: int | None = None, **origin: str) -> int:
    """Fill model, optimiser and EMA from `path` -> the number of steps done.

    steps: of the whole training, which no checkpoint can exceed.
    origin: as it was saved.
    Rank 0 reads the file for all processes.
    Raises InputError if the file is damaged or belongs to another run.
    """
    tensors, metadata = from_main(lambda: load_tensors(path, FIX))
    try:
        step = int(metadata["step"])
        if step < 1 or (steps is not None and step > steps):
            raise ValueError(f"it is of step {step}" + (f" of {steps}" if steps else ""))
        for name, value in origin.items():
            if metadata.get(name, value) != value:
                raise ValueError(f"it was trained with another {name}")
        states = part(tensors, "optimizer")
        found = [optimizer_state(part(states, str(k)), optimizer)
                 for k, optimizer in enumerate(optimizers)]
        fill(model, part(tensors, "model"))
        if ema:
            fill(ema.module, part(tensors, "ema"))
        for optimizer, state in zip(optimizers, found, strict=True):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        return step
    except (RuntimeError, ValueError, KeyError) as error:
        reason = one_line(error)
        raise InputError(f"{path} is not a checkpoint of this run ({reason}): {FIX}") from None


def optimizer_state(tensors: dict[str, Tensor],
                    optimizer: Optimizer) -> dict[int, dict[str, Tensor]]:
    """{"0.exp_avg": tensor, ...} -> {0: {"exp_avg": tensor, ...}, ...}.

    Raises ValueError unless it is the state of `optimizer`: its names, for all its parameters.
    """
    names = ("momentum",) if isinstance(optimizer, Muon) else ("step", "exp_avg", "exp_avg_sq")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    shapes = {f"{k}.{name}": parameter.shape if name != "step" else ()
              for k, parameter in enumerate(parameters) for name in names}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise ValueError("it is the state of another optimiser")
    return {k: {name: tensors[f"{k}.{name}"] for name in names} for k in range(len(parameters))}


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors named prefix.NAME, by NAME."""
    start = f"{prefix}."
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
