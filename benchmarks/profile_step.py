"""python benchmarks/profile_step.py mnist: where the time of a training step goes.

Each operation of an eager step is timed, and its kind is listed beside two floors: the time of its
multiplications at the speed of a large matrix product, and the time of its bytes (inputs read once,
outputs written once) at the speed of a copy of 25 MB, the size of a large activation. The floor by
bytes is only a guide: smaller tensors stay in the cache. The same step compiled shows what is left.
"""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
import tyro
from precision import training_steps
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from tyro.conf import Positional

from nanoldm.training import Step
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.tables import printed

KINDS = {"matrix products": ("mm", "addmm", "bmm", "baddbmm", "linear", "mkldnn_linear"),
         "softmax": ("_softmax", "_softmax_backward_data"),
         "normalisation": ("native_layer_norm", "native_layer_norm_backward"),
         "GELU, SiLU": ("gelu", "gelu_backward", "silu", "silu_backward"),
         "copies and casts": ("copy_", "_to_copy", "clone", "cat", "stack", "index", "embedding"),
         "random numbers": ("randn", "rand", "normal_", "randperm", "randint", "uniform_"),
         "optimiser and EMA": ("_fused_adamw_", "_fused_adam_", "_foreach_lerp_", "_foreach_lerp",
                               "_foreach_mul_", "_foreach_add_", "_foreach_norm",
                               "linalg_vector_norm"),
         "other loops": ()}
WARM_UP, STEPS = 3, 10


class Operations(TorchDispatchMode):
    """Seconds, FLOP and bytes of each operation, by kind."""

    def __init__(self):
        super().__init__()
        self.seconds: dict[str, float] = defaultdict(float)
        self.flop: dict[str, float] = defaultdict(float)
        self.bytes: dict[str, float] = defaultdict(float)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        began = time.perf_counter()
        result = function(*args, **kwargs)
        seconds, packet = time.perf_counter() - began, function.overloadpacket
        kind = kind_of(packet.__name__)
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result))
                   if isinstance(leaf, torch.Tensor)]
        self.seconds[kind] += seconds
        if function.is_view:
            return result
        self.bytes[kind] += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if packet in flop_registry:
            self.flop[kind] += flop_registry[packet](*args, **kwargs, out_val=result)
        return result


def kind_of(name: str) -> str:
    return next((kind for kind, names in KINDS.items() if name in names), "other loops")


def training(name: str, precision: str, compiled: bool) -> Iterator[Step]:
    """The steps of a recipe, after WARM_UP of them."""
    steps = training_steps(name, precision, compiled)
    for _ in range(WARM_UP):
        next(steps)
    return steps


def median_seconds(task: Callable[[], Any], times: int = STEPS) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def mean_seconds(steps: Iterator[Any]) -> float:
    """Of STEPS steps."""
    began = time.perf_counter()
    for _ in range(STEPS):
        next(steps)
    return (time.perf_counter() - began) / STEPS


def compiled_seconds(name: str, precision: str) -> dict[str, float]:
    """Seconds of a compiled step: products, and everything else."""
    steps = training(name, precision, compiled=True)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        whole = mean_seconds(steps)
    products = sum(row.self_cpu_time_total for row in found.key_averages()
                   if row.key.removeprefix("aten::") in KINDS["matrix products"]) / 1e6 / STEPS
    return {"matrix products": products, "everything else": whole - products}


def report(name: Positional[str] = "mnist", threads: int | None = None) -> None:
    """Print a table for each precision. name: of a recipe."""
    prepare_torch("cpu", threads)
    source, target = torch.randn(256 * 49 * 512), torch.zeros(256 * 49 * 512)
    bandwidth = 2 * source.nbytes / median_seconds(lambda: target.copy_(source))
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        square = torch.randn(4096, 4096, dtype=dtype)
        speed = 2 * 4096**3 / median_seconds(lambda square=square: square @ square, 5)
        steps = training(name, precision, compiled=False)
        whole = median_seconds(lambda steps=steps: next(steps))
        with Operations() as operations:
            watched = STEPS * mean_seconds(steps)
        table = Table("kind", "ms", "floor by FLOP, ms", "floor by bytes, ms", "of the floor",
                      title=f"{name}, {precision}: {1e3 * whole:.0f} ms a step; "
                            f"{speed / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.0f} GB/s")
        for kind in KINDS:
            taken, flop, moved = (1e3 * numbers[kind] / STEPS for numbers in (
                operations.seconds, operations.flop, operations.bytes))
            floors = flop / speed, moved / bandwidth
            share = f"{max(floors) / taken:.0%}" if taken else "-"
            table.add_row(kind, f"{taken:.1f}", *(f"{floor:.1f}" for floor in floors), share)
        rest = 1e3 * (watched - sum(operations.seconds.values())) / STEPS
        table.add_row("Python, autograd, measuring", f"{rest:.1f}")
        for kind, seconds in compiled_seconds(name, precision).items():
            table.add_row(f"compiled: {kind}", f"{1e3 * seconds:.1f}")
        print(printed(table))


if __name__ == "__main__":
    tyro.cli(report)
