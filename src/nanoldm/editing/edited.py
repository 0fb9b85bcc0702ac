"""The result of an edit."""

from dataclasses import dataclass

from torch import Tensor

from nanoldm.utils.errors import InputError


@dataclass(frozen=True)
class Edited:
    """The result of an edit.

    images: (N, C, S, S) in [0, 1].
    errors: mean squared differences per pixel, by what they compare.
    shown: images to look at, by caption.
    """

    images: Tensor
    errors: dict[str, float]
    shown: dict[str, Tensor]


def difference(a: Tensor, b: Tensor) -> float:
    """Mean squared difference."""
    return (a - b).square().mean().item()


def check_one(images: Tensor) -> None:
    if len(images) != 1:
        raise InputError(f"{len(images)} images: give one at a time, (1, C, S, S); on the command "
                         "line a file, or such as test:3")
