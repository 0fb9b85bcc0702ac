"""The arrays of a tape: slots, operands and weights, from two runs of one graph."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from nanoldm.pipeline.half import is_half
from nanoldm.utils.errors import InputError

BATCHES = 3, 5  # of the two runs: no layer is likely to have either as its factor

Operand = list[Any]  # [slot, offset, shape, strides]
Values = dict[fx.Node, Any]  # of all nodes of a graph


@dataclass
class Tape:
    """What the page stores of a network.

    inputs: {name: operand}. output: operand. slots: elements of each slot.
    weights: {slot: values}. operations: [[name, out, ...], ...].
    taps: {name: operand}, for what a reader wants to see inside.
    """

    inputs: dict[str, Operand] = field(default_factory=dict)
    output: Operand = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    weights: dict[int, Tensor] = field(default_factory=dict)
    operations: list[list[Any]] = field(default_factory=list)
    taps: dict[str, Operand] = field(default_factory=dict)

    def most_elements(self, batch: int) -> int:
        """Elements of all arrays that are needed at one time, at most, without the weights."""
        uses: dict[int, list[int]] = {}
        for k, parts in enumerate(self.operations):
            for part in parts:
                if isinstance(part, list) and part[0] not in self.weights:
                    uses.setdefault(part[0], []).append(k)
        change = [0] * (len(self.operations) + 1)
        for slot, steps in uses.items():
            size = self.slots[slot] if self.slots[slot] > 0 else -self.slots[slot] * batch
            change[steps[0]] += size
            change[steps[-1] + 1] -= size
        return max(itertools.accumulate(change))

    def described(self) -> dict[str, Any]:
        """As JSON, with the slots and the precisions of the weights."""
        precisions = ["f16" if is_half(weight) else "f32" for weight in self.weights.values()]
        return vars(self) | {"weights": list(self.weights), "precisions": precisions}


class Arrays:
    """Operands of a tape for the values of two runs, whose nodes come in pairs."""

    def __init__(self, runs: Sequence[Values], what: str):
        self.runs, self.what, self.tape = runs, what, Tape()
        self.slots: dict[int, int] = {}  # address of a storage in the first run -> slot
        self.stored: dict[tuple, int] = {}  # constant -> slot
        self.depends: set[fx.Node] = set()  # nodes that depend on an input
        self.alive: list[Tensor] = []

    def pair(self, nodes: Sequence[fx.Node]) -> list[Any]:
        """The values of a node in both runs."""
        return [values[node] for values, node in zip(self.runs, nodes, strict=True)]

    def number(self, a: int, b: int) -> int:
        """A number of the first and of the second run: constant, or minus its multiple of the
        batch."""
        if a == b:
            return a
        if a * BATCHES[1] == b * BATCHES[0] and a % BATCHES[0] == 0:
            return -(a // BATCHES[0])
        raise InputError(f"a size of the {self.what} is {a} for {BATCHES[0]} images and {b} for "
                         f"{BATCHES[1]}: the page needs sizes that grow with the batch, or do not")

    def new(self, values: Sequence[Tensor]) -> Operand:
        """The operand of a new slot."""
        self.slots[address(values[0])] = len(self.tape.slots)
        self.tape.slots.append(self.number(*(elements(value) for value in values)))
        return self.view(len(self.tape.slots) - 1, values)

    def shape(self, values: Sequence[Tensor]) -> list[int]:
        return [self.number(*sizes) for sizes in zip(*(v.shape for v in values), strict=True)]

    def view(self, slot: int, values: Sequence[Tensor]) -> Operand:
        """An operand of a slot. Axes of length 1 have the stride 0: they may be broadcast."""
        offset, shape = self.number(*(v.storage_offset() for v in values)), self.shape(values)
        strides = zip(*(value.stride() for value in values), strict=True)
        return [slot, offset, shape, [0 if size == 1 else self.number(*stride)
                                      for size, stride in zip(shape, strides, strict=True)]]

    def operand(self, source: fx.Node, values: Sequence[Tensor]) -> Operand:
        """The operand of a node: in a slot, or a weight."""
        if source in self.depends:
            return self.view(self.slots[address(values[0])], values)
        return self.constant(values)

    def constant(self, values: Sequence[Tensor], key: tuple | None = None) -> Operand:
        """The operand of a weight, stored contiguously in its shape, once.

        key: what tells equal constants (default: the memory of the first value).
        Raises InputError for a value that depends on the batch, other than by expanded axes.
        """
        value = values[0]
        key = key or (address(value), value.storage_offset(), tuple(value.shape), value.stride())
        once = [part.detach()[tuple(slice(0, 1) if stride == 0 else slice(None)
                                    for stride in part.stride())] for part in values]
        stored = [part.contiguous().to(torch.float32) for part in once]
        if not torch.equal(*stored):
            raise InputError(f"a constant of the {self.what} depends on the number of images, "
                             "which the page cannot have")
        if key not in self.stored:
            self.stored[key] = len(self.tape.slots)
            self.tape.weights[len(self.tape.slots)] = stored[0]
            self.tape.slots.append(stored[0].numel())
            self.alive.append(value)  # so that its address stays its own
        return [self.stored[key], 0, self.shape(values), contiguous_strides(stored[0].shape)]

    def argument(self, nodes: Sequence[fx.Node], index: int) -> Any:
        """Argument number `index` of a call: an operand, or what torch has there."""
        found = [node.args[index] for node in nodes]
        if not isinstance(found[0], fx.Node):
            if found[0] != found[1]:
                raise InputError(f"the {self.what} computes with the number of images, which the "
                                 "page cannot have")
            return found[0]
        return self.operand(found[0], self.pair(found))

    def contiguous(self, operand: Operand) -> Operand:
        """The operand itself, or a contiguous copy."""
        strides = contiguous_strides(operand[2])
        if operand[3] == strides:
            return operand
        copy = self.reserve(operand[2])
        self.tape.operations.append(["map", copy, "copy", operand])
        return copy

    def reserve(self, shape: list[int]) -> Operand:
        """A new slot that no value of torch lies in, contiguous."""
        self.tape.slots.append(math.prod(shape))
        return [len(self.tape.slots) - 1, 0, shape, contiguous_strides(shape)]

    def array(self, argument: Operand | float) -> Operand:
        """A number as an operand."""
        if isinstance(argument, list):
            return argument
        return self.constant([torch.tensor([float(argument)])] * len(BATCHES), ("number", argument))

    def unknown(self, name: str) -> InputError:
        return InputError(f"the page has no operation {name}, which the {self.what} uses: replace "
                          "it in the network, or add it (docs/page.md)")


def address(value: Tensor) -> int:
    """Of the memory that a tensor is a view of."""
    return value.untyped_storage().data_ptr()


def elements(value: Tensor) -> int:
    """Of the memory that a new tensor needs."""
    return 1 + sum((size - 1) * stride
                   for size, stride in zip(value.shape, value.stride(), strict=True))


def contiguous_strides(shape: Sequence[int]) -> list[int]:
    """As of torch, but 0 for axes of length 1."""
    return [0 if size == 1 else math.prod(shape[axis + 1:]) for axis, size in enumerate(shape)]
