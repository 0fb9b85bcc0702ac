"""Weights that float16 holds exactly, for files of half the size."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def is_half(weight: Tensor) -> bool:
    """Whether float16 holds a float32 tensor exactly."""
    return weight.dtype == torch.float32 and torch.equal(weight.half().float(), weight)


def rounded(module: nn.Module) -> nn.Module:
    """A copy on the CPU whose parameters are float16 numbers, in float32. Buffers stay exact."""
    made = copy.deepcopy(module).cpu().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(parameter.half().float())
    return made


def compact(module: nn.Module) -> Mapping[str, Tensor]:
    """The tensors of a module to store: parameters in float16 if it holds all of them exactly."""
    parameters = dict(module.named_parameters())
    halved = all(is_half(parameter.detach()) for parameter in parameters.values())
    return {name: tensor.half() if halved and name in parameters else tensor
            for name, tensor in module.state_dict().items()}
