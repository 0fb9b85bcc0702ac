"""What each choice in the training step gains: forward and backward of 256 images, in turns.

    python benchmarks/forms.py [ROUNDS]

Run it on an idle machine. Memory settings belong to a whole process, so the first line compares two
processes.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from nanoldm import Denoiser, DenoisingLoss, DiffusionNet, DiTBlock, NoiseSchedule
from nanoldm.models import transformer
from nanoldm.models.transformer import RoPE
from nanoldm.utils.device import prepare_torch

ROUNDS = int(sys.argv[1]) if sys.argv[1:2] and sys.argv[1].isdigit() else 9


def four_products(rope: RoPE, x: Tensor) -> Tensor:
    """The specification's formula for a pair, written out."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rope.rotation[: x.shape[-2]].unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def swapped_pairs(rope: RoPE, x: Tensor) -> Tensor:
    """x cos + (pairs of x swapped) (+- sin)."""
    cos, sin = (part.repeat_interleave(2, -1) for part in rope.rotation.unbind(-1))
    sin = sin * sin.new_tensor((-1, 1)).repeat(sin.shape[-1] // 2)
    return x * cos + x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2) * sin


def fused_modulation(block: DiTBlock, x: Tensor, c: Tensor) -> Tensor:
    """Scale and shift, gate and residual, in one kernel each."""
    gamma_1, beta_1, alpha_1, gamma_2, beta_2, alpha_2 = block.modulation(c)
    x = torch.addcmul(x, alpha_1,
                      block.attention(torch.addcmul(beta_1, block.norm(x), 1 + gamma_1)))
    return torch.addcmul(x, alpha_2, block.mlp(torch.addcmul(beta_2, block.norm(x), 1 + gamma_2)))


@contextmanager
def matrix_products_by_mkl():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@contextmanager
def mkl_and_fused_attention():
    with (matrix_products_by_mkl(),
          patch.object(transformer, "attention", F.scaled_dot_product_attention)):
        yield


FORMS: dict[str, Callable[[], AbstractContextManager]] = {
    "RoPE as four products": lambda: patch.object(RoPE, "forward", four_products),
    "RoPE by swapped pairs": lambda: patch.object(RoPE, "forward", swapped_pairs),
    "modulation by addcmul": lambda: patch.object(DiTBlock, "forward", fused_modulation),
    "products by MKL": matrix_products_by_mkl,
    "products by MKL, fused attention": mkl_and_fused_attention,
    "fused attention": lambda: patch.object(transformer, "attention",
                                            F.scaled_dot_product_attention)
}


def seconds(loss: DenoisingLoss, x0: Tensor, t: Tensor, pieces: int = 1) -> float:
    began = time.perf_counter()
    for piece, steps in zip(x0.chunk(pieces), t.chunk(pieces), strict=True):
        loss(piece, steps, piece).backward()
    return time.perf_counter() - began


def main() -> None:
    if "--plain" in sys.argv:
        torch.set_flush_denormal(True)
    else:
        prepare_torch("cpu")
    loss = DenoisingLoss(Denoiser(DiffusionNet(), NoiseSchedule()))
    for parameter in loss.parameters():
        if not parameter.any():
            torch.nn.init.normal_(
                parameter, std=0.02
            )  # the zeros of a new network would spare work
    x0, t = torch.randn(256, 49, 6), torch.randint(100, (256,))
    seconds(loss, x0, t)
    if "--memory" in sys.argv:  # one process of the first comparison
        torch.set_float32_matmul_precision("highest")
        print(statistics.median(seconds(loss, x0, t) for _ in range(ROUNDS)))
        return
    times: dict[str, list[float]] = {"as it is": [], "four pieces of 64 images": [],
                                     **{name: [] for name in FORMS}}
    for _ in range(ROUNDS):
        times["as it is"].append(seconds(loss, x0, t))
        times["four pieces of 64 images"].append(seconds(loss, x0, t, 4))
        for name, form in FORMS.items():
            with form():
                times[name].append(seconds(loss, x0, t))
    command = [sys.executable, __file__, str(ROUNDS), "--memory"]
    runs = [[float(subprocess.run([*command, *more], check=True, capture_output=True,
                                  text=True).stdout) for more in ((), ("--plain",))]
            for _ in range(3)]
    kept, returned = (statistics.median(values) for values in zip(*runs, strict=True))
    print(f"{'memory kept by the process':34} {kept:.3f} s; returned to the system: {returned:.3f} "
          f"s ({returned / kept:.2f}x), by MKL")
    for name, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(values, times["as it is"], strict=True))
        print(f"{name:34} {statistics.median(values):.3f} s ({ratio:.2f} of the time as it is)")

    forward: dict[int, list[float]] = {size: [] for size in (16, 64, 250)}
    with torch.no_grad():
        for _ in range(4 * ROUNDS):
            for size, found in forward.items():
                began = time.perf_counter()
                loss.denoiser.network(x0[:size], t[:1])
                found.append((time.perf_counter() - began) / size)
    for size, found in forward.items():
        total = 250 * statistics.median(found)
        print(f"forward pass, {size:3} images at a time: {total:.3f} s for 250")


if __name__ == "__main__":
    main()
