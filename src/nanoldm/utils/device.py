"""Where a command computes, and how torch is set up for it."""

import ctypes
import os
import shutil
import sys
from contextlib import suppress

import torch

from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import short
from nanoldm.utils.terminal import without_remarks


def prepare_torch(device: str = "auto", threads: int | None = None) -> torch.device:
    """The device called `device`, with torch set up for it; "auto" takes CUDA, then MPS, then the CPU.

    threads: CPU threads (None: torch's choice, one for each core). Raises InputError if the device is not there or threads < 1.
    What each setting gains is in benchmarks/RESULTS.md. Every command that computes calls this; call it first in programs of your own.
    """
    if threads is not None:
        if not 1 <= threads <= 1024:
            raise InputError(f"--threads {short(threads)}: at least 1 is needed, and at most 1024")
        torch.set_num_threads(threads)
    there = [kind for kind, available in {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}.items()
             if available]
    name = there[0] if device == "auto" else device
    if name.split(":")[0] not in there:
        raise InputError(f"--device {device} is not available here: choose auto or {' or '.join(there)}")
    torch.set_flush_denormal(True)      # near-zero activations otherwise slow the CPU down many times
    keep_freed_memory()
    if name.startswith("cpu"):
        use_onednn()
    try:
        place = torch.device(name)
        if place.index:
            torch.empty(1, device=place)        # fails where there are fewer
        return place
    except (RuntimeError, AssertionError):      # the latter from a torch without CUDA
        raise InputError(f"--device {device} is no device: choose auto or {' or '.join(there)}") from None


def check_compiler(device: torch.device | str) -> None:
    """Raise InputError if torch.compile does not work on `device`, most often for want of a compiler."""
    compiler = os.environ.get("CXX", {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++"))
    if torch.device(device).type == "cpu" and not shutil.which(compiler):
        raise InputError(f"--compile needs a C++ compiler and there is no {compiler}: install it, name another in $CXX, or leave it out")
    try:
        with without_remarks():
            torch.compile(lambda x: x + 1)(torch.ones(2, device=device))
    except Exception as error:      # torch has many kinds for it
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"--compile does not work here ({reason}): install a compiler for {device}, or leave it out") from None


def keep_freed_memory() -> None:
    """Let the C library keep the memory that tensors leave behind, for the next ones.

    By default glibc returns large blocks to the system and asks for them again: some 18,000 page faults in every training step.
    """
    trim_threshold, mmap_threshold = -1, -3                             # from malloc.h
    if sys.platform == "linux":
        with suppress(AttributeError):                                  # not glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(mmap_threshold, 2**25)                              # the most that glibc accepts
            mallopt(trim_threshold, 2**31 - 1)


def use_onednn() -> bool:
    """Multiply float32 matrices by oneDNN instead of MKL, where that gives float32 results -> whether it does.

    torch has one switch for this, which also permits bfloat16. Processors without bfloat16 matrix units do not use the permission,
    and there (AMD Zen 4 and later) oneDNN is the faster library. Where a product comes out rounded, the switch is set to "highest".
    """
    a, b = torch.rand(2, 256, 256, generator=torch.Generator().manual_seed(0))
    torch.set_float32_matmul_precision("medium")
    exact = a.double() @ b.double()
    if ((a @ b - exact).abs().max() / exact.max()).item() < 1e-5:       # float32 gives 1e-6, bfloat16 1e-3
        return True
    torch.set_float32_matmul_precision("highest")
    return False
