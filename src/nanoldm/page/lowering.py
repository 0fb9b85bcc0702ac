"""ATen calls as operations of a tape."""

from collections.abc import Sequence
from typing import Any

from torch import fx

from nanoldm.page.operands import Arrays

UNARY = {"sin", "cos", "exp", "log", "neg", "sigmoid", "tanh", "relu", "silu", "gelu", "sqrt",
         "rsqrt", "abs", "reciprocal"}
BINARY = {"add", "sub", "mul", "div", "pow"}
COPIES = {"clone", "_to_copy", "lift_fresh_copy", "alias"}


def lower(arrays: Arrays, name: str, nodes: Sequence[fx.Node]) -> list[Any]:
    """[operation, arguments ...] of an ATen call. Raises InputError for an unknown one."""
    node, plain = nodes[0], not nodes[0].kwargs
    if name == "convolution":
        return convolution(arrays, nodes)
    args = [arrays.argument(nodes, index) for index in range(len(node.args))]
    if name in COPIES:
        source, made = (arrays.runs[0][part] for part in (node.args[0], node))
        if source.is_floating_point() and not made.is_floating_point():
            raise arrays.unknown(f"{name} to whole numbers")
        return ["map", "copy", args[0]]
    if name in UNARY and plain:
        return ["map", name, arrays.contiguous(args[0]) if name == "gelu" else args[0]]
    if name in BINARY and plain:
        return ["map", name, *(arrays.array(argument) for argument in args)]
    if name in ("mm", "bmm"):
        return ["matmul", *map(arrays.contiguous, args), None]
    if name == "addmm" and plain and len(args[0][2]) == 1:
        bias, *factors = map(arrays.contiguous, args)
        return ["matmul", *factors, bias]
    if name == "_softmax" and args[1] in (-1, len(args[0][2]) - 1):
        return ["softmax", arrays.contiguous(args[0])]
    if name == "native_layer_norm" and len(args[1]) == 1:
        return ["norm", arrays.contiguous(args[0]), *args[2:]]
    if name == "embedding" and len(args) == 2:
        return ["rows", *map(arrays.contiguous, args)]
    raise arrays.unknown(name)


def convolution(arrays: Arrays, nodes: Sequence[fx.Node]) -> list[Any]:
    """[operation, x, matrix, bias, columns, kernel, stride, padding] of static/operations.js.

    The matrix is (outputs, inputs kernel^2); of a transposed one, (outputs kernel^2, inputs).
    columns: where the operation stores the pixels under the kernel, of one image.
    """
    x, weight, _, stride, padding, dilation, transposed, beyond, groups = nodes[0].args
    values = arrays.pair([node.args[1] for node in nodes])
    size = values[0].shape
    if (weight in arrays.depends or groups != 1 or any(beyond) or set(dilation) != {1}
            or len(size) != 4 or size[2] != size[3] or len({*stride}) + len({*padding}) != 2):
        raise arrays.unknown("convolution with such a kernel")
    flat = [value.flatten(1) for value in values]
    matrix = arrays.constant([part.t().contiguous() if transposed else part for part in flat])
    places = arrays.runs[0][x if transposed else nodes[0]].shape[2:].numel()
    columns = arrays.reserve([places * matrix[2][0 if transposed else 1]])
    x, bias = arrays.contiguous(arrays.argument(nodes, 0)), arrays.argument(nodes, 2)
    return ["conv_transpose" if transposed else "conv", x, matrix, bias, columns, size[2],
            stride[0], padding[0]]
