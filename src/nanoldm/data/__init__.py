"""Image sets as uint8 tensors in memory: MNIST, torchvision's, shapes, folders, archives, the hub.

`ImageSet` and `load` are imported on first use: `data.source` must not wait for torch.
"""

from importlib import import_module
from typing import Any

HOME = {"ImageSet": "nanoldm.data.imageset", "load": "nanoldm.data.loading"}
__all__ = ["ImageSet", "load"]


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module 'nanoldm.data' has no attribute {name!r}")
    return getattr(import_module(HOME[name]), name)
