"""Which precision to compute in: float32, or matrix products in bfloat16 where that is faster."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from nanoldm.diffusion import Denoiser

PRECISIONS = ("fp32", "tf32", "bf16")  # tf32 is for CUDA GPUs
CHOICES = (*PRECISIONS, "auto")
GAIN = 1.1  # bf16 (3 digits) and a compiled step must each be faster by this factor at least


def time_precisions(precision: str, seconds: Callable[[str], float]) -> tuple[str, float]:
    """(precision, its seconds): the given one, or the faster of fp32 and bf16 for "auto".

    seconds: measures a step in a precision.
    """
    if precision != "auto":
        return precision, seconds(precision)
    fp32, bf16 = seconds("fp32"), seconds("bf16")
    return ("bf16", bf16) if GAIN * bf16 < fp32 else ("fp32", fp32)


@torch.inference_mode()
def seconds_per_evaluation(denoiser: Denoiser, x: Tensor, repeats: int = 6) -> float:
    """Of a batch x (B, tokens, channels), the fastest of several."""
    t, times = torch.zeros(1, dtype=torch.long, device=x.device), []
    with keep_casts(x.device):
        for _ in range(repeats):
            began = time.perf_counter()
            denoiser(x, t).x0.sum().item()  # waits for a GPU
            times.append(time.perf_counter() - began)
    return min(times)


def keep_casts(device: torch.device) -> torch.autocast:
    """A context in which each weight is cast to bfloat16 once, not at every network evaluation.

    The cache of casts lives until the outermost autocast ends; this one is outermost and off.
    """
    return torch.autocast(device.type, enabled=False)
