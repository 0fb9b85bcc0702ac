"""The device of a command, and torch's settings for it."""

import ctypes
import os
import shutil
import sys
from contextlib import suppress

import torch

from nanoldm.utils.distributed import join
from nanoldm.utils.errors import InputError
from nanoldm.utils.launched import launched_processes, local_rank, processes_here
from nanoldm.utils.limits import within
from nanoldm.utils.terminal import quiet
from nanoldm.utils.text import one_line


def prepare_torch(device: str = "auto", threads: int | None = None) -> torch.device:
    """Set up torch for `device` and return it. Call this first in a program.

    If a launcher has started several processes, this connects them (`utils.distributed`), and each
    has its own GPU.
    device: "auto" is CUDA, else MPS, else the CPU. threads: CPU threads, 1 ... 1024 (None: one per
    core). Raises InputError for a device that does not exist, and for threads out of range.
    """
    several = launched_processes() > 1
    mps = torch.backends.mps.is_available() and not several
    available = ["cuda"] * torch.cuda.is_available() + ["mps"] * mps + ["cpu"]
    fix = f"choose auto or {' or '.join(available)}"
    name = available[0] if device == "auto" else device
    if name.split(":")[0] not in available:
        raise InputError(f"device {device} is not available here: {fix}")
    if several and name.startswith("cuda"):
        name = own_gpu(name)
    join(cpu=name == "cpu")
    if threads is not None:
        torch.set_num_threads(within("threads", threads, 1, 1024))
    torch.set_flush_denormal(True)  # denormal numbers slow a CPU down many times
    keep_freed_memory()
    if name.startswith("cpu"):
        use_onednn()
    try:
        found = torch.device(name)
        if found.index:
            torch.empty(1, device=found)  # fails if there are fewer
        return found
    except (RuntimeError, AssertionError):  # the latter from a torch without CUDA
        raise InputError(f"device {device} does not exist: {fix}") from None


def own_gpu(name: str) -> str:
    """The GPU of this process among several. Raises InputError if there are fewer GPUs."""
    count = torch.cuda.device_count()
    if name != "cuda" or processes_here() > count:
        raise InputError(f"device {name}: {processes_here()} processes need a GPU each, and there "
                         f"are {count}: start fewer, and choose cuda or cpu")
    return f"cuda:{local_rank()}"


def check_compiler(device: torch.device | str) -> None:
    """Raise InputError if torch.compile does not work on `device`; often a compiler is missing."""
    compiler = os.environ.get("CXX", {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++"))
    if torch.device(device).type == "cpu" and not shutil.which(compiler):
        fix = "install it, name another in $CXX, or leave compile out"
        raise InputError(f"compile needs a C++ compiler and there is no {compiler}: {fix}")
    try:
        with quiet():
            torch.compile(lambda x: x + 1)(torch.ones(2, device=device))
    except Exception as error:  # torch raises many kinds
        fix = f"install a compiler for {device}, or leave compile out"
        raise InputError(f"compile does not work here ({one_line(error)}): {fix}") from None


def move(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU on `device`. A GPU copies it while the CPU goes on."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def use_tf32(device: torch.device, use: bool) -> None:
    """Let a GPU round factors of float32 products to 3 digits (TF32), for the whole process.

    Raises InputError for `use` on another device.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = use
    elif use:
        raise InputError(f"precision tf32 needs a CUDA GPU, and this is {device.type}: choose "
                         "fp32, bf16 or auto")


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors: saves 18,000 page faults per training step."""
    trim_threshold, mmap_threshold = -1, -3  # from malloc.h
    if sys.platform == "linux":
        with suppress(AttributeError):  # not glibc
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(mmap_threshold, 2**25)  # the most that glibc accepts
            mallopt(trim_threshold, 2**31 - 1)


def use_onednn() -> bool:
    """Multiply float32 matrices by oneDNN instead of MKL. Returns whether this is exact here.

    torch's switch for this also permits bfloat16, which only processors with bfloat16 matrix units
    use: there the switch is set back. On others (AMD Zen 4 and later) oneDNN is faster.
    """
    a, b = torch.rand(2, 256, 256, generator=torch.Generator().manual_seed(0))
    torch.set_float32_matmul_precision("medium")
    exact = a.double() @ b.double()
    if ((a @ b - exact).abs().max() / exact.max()).item() < 1e-5:  # float32: 1e-6, bfloat16: 1e-3
        return True
    torch.set_float32_matmul_precision("highest")
    return False
