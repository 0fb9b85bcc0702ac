"""A network as a tape: a list of operations of seven kinds, which a short interpreter runs.

`record` runs the ATen graph of `torch.export` twice, with two batch sizes. A number that is equal
in both is a constant; a number that grows with the batch is stored as its negative multiple: -3
means 3 batches. What depends on weights alone is computed here and stored as a weight.

An operand is [slot, offset, shape, strides], in elements, as in torch. Views cost nothing: they are
other operands of one slot. The operations (static/operations.js computes them):

    map        out = f(a) or f(a, b), element by element; shapes are broadcast by strides of 0
    matmul     out = a b + bias, (batch, M, K) (batch, K, N)
    softmax    of the last axis
    norm       (x - mean) / sqrt(variance + eps) of the last axis
    rows       rows of a matrix by their numbers (an embedding)
    conv       and conv_transpose: two-dimensional
"""

from collections.abc import Callable, Mapping, Sequence
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx, nn

from nanoldm.page.lowering import lower
from nanoldm.page.operands import (
    BATCHES,
    Arrays,
    Operand,
    Tape,
    Values,
    address,
    contiguous_strides,
)
from nanoldm.utils.errors import InputError

IGNORED = {"_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size"}


def record(module: nn.Module, inputs: Callable[[int], Mapping[str, Tensor]],
           what: str) -> Tape:
    """The tape of module(*inputs(batch).values()).

    what: the name of the module, for messages.
    Raises InputError for an operation that the page does not have, and names it.
    """
    graphs = [Graph(module, inputs(batch), what) for batch in BATCHES]
    return Recorder(graphs, what).record(list(inputs(BATCHES[0])))


class Graph(fx.Interpreter):
    """The ATen graph of a module with the values of all its nodes for one batch."""

    def __init__(self, module: nn.Module, inputs: Mapping[str, Tensor], what: str):
        arguments = tuple(inputs.values())
        try:
            with torch.no_grad():
                program = torch.export.export(module.eval(), arguments).run_decompositions()
                graph = program.module()
        except Exception as error:  # torch has many
            reason = str(error).strip().splitlines()[0][:200]
            raise InputError(f"torch cannot export the {what} ({reason}): write its forward "
                             "without branches on values") from None
        super().__init__(graph, garbage_collect_values=False)
        self.values: Values = {}
        with torch.no_grad():
            self.run(*arguments)
        self.nodes = list(graph.graph.nodes)

    def run_node(self, n: fx.Node) -> Any:
        self.values[n] = super().run_node(n)
        return self.values[n]


class Recorder:
    """Goes through the calls of two runs and adds their operations."""

    def __init__(self, graphs: Sequence[Graph], what: str):
        if len({str([(node.target, len(node.all_input_nodes)) for node in graph.nodes])
                for graph in graphs}) > 1:
            raise InputError(f"the {what} does other operations for {BATCHES[0]} images than for "
                             f"{BATCHES[1]}, which the page cannot have")
        self.nodes = list(zip(*(graph.nodes for graph in graphs), strict=True))
        self.arrays = Arrays([graph.values for graph in graphs], what)
        self.tape = self.arrays.tape

    def record(self, names: Sequence[str]) -> Tape:
        arrays, names = self.arrays, list(names)
        for pair in self.nodes:
            node, values = pair[0], arrays.pair(pair)
            if node.op == "placeholder":
                arrays.depends.add(node)
                self.tape.inputs[names.pop(0)] = arrays.new(values)
            elif node.op == "call_function" and self.of_inputs(node):
                arrays.depends.add(node)
                self.call(node, pair, values)
            elif node.op == "output":
                self.tape.output = arrays.operand(*self.first(pair))
        return self.tape

    def of_inputs(self, node: fx.Node) -> bool:
        return any(source in self.arrays.depends for source in node.all_input_nodes)

    def first(self, nodes: Sequence[fx.Node]) -> tuple[fx.Node, list[Tensor]]:
        """The node that the graph returns, with its values."""
        found = [node.args[0] for node in nodes]
        found = [n[0] if isinstance(n, list | tuple) else n for n in found]
        return found[0], self.arrays.pair(found)

    def call(self, node: fx.Node, nodes: Sequence[fx.Node], values: list[Any]) -> None:
        """Add the operation of a call that makes a new array."""
        arrays = self.arrays
        name = operation(node)
        self.tap_gates(name, node, values)
        results = [v[0] if isinstance(v, tuple | list) else v for v in values]
        # A part of a tuple, and a view: they lie in a slot already.
        if node.target is getitem or name in IGNORED or address(results[0]) in arrays.slots:
            return
        if results[0].dtype not in (torch.float32, torch.int64):
            raise arrays.unknown(f"{name} with {results[0].dtype}")
        if name == "cat":
            return self.join(nodes, results)
        kind, *arguments = lower(arrays, name, nodes)  # reads them before the slot is new
        out = arrays.new(results)
        strided = kind == "map" and arguments[0] != "gelu"
        if strided or out[3] == contiguous_strides(out[2]):
            self.tape.operations.append([kind, out, *arguments])
        else:  # torch may choose another order of the axes in memory
            made = arrays.reserve(out[2])
            self.tape.operations += [[kind, made, *arguments], ["map", out, "copy", made]]
        self.tap(name, node, out)

    def join(self, nodes: Sequence[fx.Node], values: Sequence[Tensor]) -> None:
        """torch.cat: a copy of each part into its place."""
        arrays = self.arrays
        parts = [node.args[0] for node in nodes]
        dim = nodes[0].args[1] if len(nodes[0].args) > 1 else 0
        operands = [arrays.operand(part[0], arrays.pair(part)) for part in zip(*parts, strict=True)]
        arrays.new(values)
        places = [value.split([arrays.runs[k][part].shape[dim] for part in parts[k]], dim)
                  for k, value in enumerate(values)]
        slot = arrays.slots[address(values[0])]
        for operand, place in zip(operands, zip(*places, strict=True), strict=True):
            self.tape.operations.append(["map", arrays.view(slot, place), "copy", operand])

    def tap(self, name: str, node: fx.Node, out: Operand) -> None:
        """Name what a reader wants to see: attention weights, by the path of their module."""
        if name == "_softmax" and len(out[2]) == 4:
            self.tape.taps[f"attention {module_path(node)[0]}"] = out

    def tap_gates(self, name: str, node: fx.Node, values: list[Any]) -> None:
        """The gates of an AdaLN-Zero block are the third and the last part of its modulation."""
        path, kind = module_path(node)
        if name.startswith("split") and kind.endswith("Modulation") and len(values[0]) == 6:
            for part, index in (("attention", 2), ("feed-forward", 5)):
                views = [value[index] for value in values]
                slot = self.arrays.slots[address(views[0])]
                self.tape.taps[f"gate {path} {part}"] = self.arrays.view(slot, views)


def operation(node: fx.Node) -> str:
    """aten.add.Tensor -> add"""
    packet = getattr(node.target, "overloadpacket", node.target)
    return getattr(packet, "__name__", str(packet))


def module_path(node: fx.Node) -> tuple[str, str]:
    """(path, class) of the module that a call belongs to."""
    stack = [*node.meta.get("nn_module_stack", {}).values()]
    return (stack[-1][0], str(stack[-1][1])) if stack else ("", "")
