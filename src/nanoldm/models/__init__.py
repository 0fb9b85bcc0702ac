"""Networks: tensors in, tensors out. They know no schedule, no data set and no training."""

from importlib import import_module

from torch import nn

from nanoldm.models.autoencoder import ConvAE, ReconstructionLoss
from nanoldm.models.dit import DiffusionNet, DiTBlock
from nanoldm.models.embedding import SinusoidalTimeEmbedding
from nanoldm.models.network import NetworkConfig
from nanoldm.models.transformer import MHA, Dropout, LayerNorm, RoPE, Transformer, TransformerBlock
from nanoldm.utils.errors import InputError
from nanoldm.utils.text import one_line

# The denoising networks that a recipe can name. All take the fields of NetworkConfig.
NETWORKS = {"DiffusionNet": DiffusionNet, "Transformer": Transformer}


def find_network(kind: str) -> type[nn.Module]:
    """A denoising network: a name of NETWORKS, or "package.module:Class" for one of your own.

    The contract of an own class is in docs/training.md. Raises InputError if there is no such
    class, or if it is not a torch module.
    """
    if kind in NETWORKS:
        return NETWORKS[kind]
    module, colon, name = kind.partition(":")
    if not colon:
        raise InputError(f"unknown network {kind!r}: choose one of {', '.join(NETWORKS)}, or "
                         "package.module:Class of your own")
    if module == "__main__":
        raise InputError(f"network {kind} is in the program itself, where no other program finds "
                         "it: put the class in a file of its own and name it FILE:Class")
    try:
        found = getattr(import_module(module), name)
    except Exception as error:  # of any kind: the module is run
        raise InputError(f"network {kind} cannot be imported ({one_line(error)}): install its "
                         "package, or put its folder in $PYTHONPATH") from None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"network {kind} is not a class of torch.nn.Module: name one")
    return found


def network_name(network: nn.Module) -> str:
    """What `find_network` finds the class of a network by."""
    kind = type(network)
    return kind.__name__ if NETWORKS.get(kind.__name__) is kind else (
        f"{kind.__module__}:{kind.__qualname__}")


__all__ = ["MHA", "NETWORKS", "ConvAE", "DiTBlock", "DiffusionNet", "Dropout", "LayerNorm",
           "NetworkConfig", "ReconstructionLoss", "RoPE", "SinusoidalTimeEmbedding", "Transformer",
           "TransformerBlock", "find_network", "network_name"]
