"""Where a command computes."""

import torch

from nanoldm.errors import InputError


def prepare_torch(device: str = "auto", threads: int | None = None) -> torch.device:
    """The device called `device`, with torch set up for it; "auto" takes CUDA, then MPS, then the CPU.

    threads: CPU threads (None: torch's choice, one for each core). Raises InputError if the device is not there or threads < 1.
    """
    torch.set_flush_denormal(True)      # near-zero activations otherwise slow the CPU down many times
    if threads is not None:
        if threads < 1:
            raise InputError(f"--threads {threads}: at least 1 is needed")
        torch.set_num_threads(threads)
    there = [kind for kind, available in {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}.items()
             if available]
    name = there[0] if device == "auto" else device
    if name.split(":")[0] not in there:
        raise InputError(f"--device {device} is not available here: choose auto or {' or '.join(there)}")
    return torch.device(name)
