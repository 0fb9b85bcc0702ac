"""Limits of numbers that users give, and free memory. No torch here."""

import math
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from nanoldm.utils.errors import InputError

MOST_IMAGES = 1_000_000  # of one command
LARGEST_SEED = 2**63 - 1
MOST_TIMESTEPS = 100_000
LARGEST_SIZE = 2048  # pixels of a side
MOST_TOKENS = 65_536
MOST_GUIDANCE = 1000
LONGEST_BUDGET = 3_600_000  # seconds


def within(name: str, value: int, least: int, most: int) -> int:
    """`value`, if least <= value <= most. Raises InputError that names it `name`."""
    if not least <= value <= most:
        raise InputError(f"{name} {short(value)}: choose a number from {least} to {most}")
    return value


def short(number: int) -> str:
    """A number as text, or its size if it is very long: Python prints at most 4,300 digits."""
    digits = int(abs(number).bit_length() * math.log10(2))
    return str(number) if digits < 30 else f"{'-' * (number < 0)}10^{digits}"


def free_memory() -> float:
    """Bytes that this process may still use: of the machine, its container and ulimit -v."""
    free = [float(psutil.virtual_memory().available)]
    with suppress(OSError, ValueError):  # the container; "max" (no limit) is a ValueError
        group = Path("/sys/fs/cgroup")
        lines = (group / "memory.stat").read_text().splitlines()
        file_cache = int(dict(line.split() for line in lines).get("inactive_file", 0))
        used = int((group / "memory.current").read_text()) - file_cache
        free.append(float((group / "memory.max").read_text()) - used)
    if sys.platform != "win32":
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            free.append(limit - psutil.Process().memory_info().vms)
    return min(free)


def check_memory(needed: float, what: str, fix: str) -> None:
    """Raise InputError if `what` needs more bytes than are free. fix: how to need less."""
    if needed > (free := free_memory()):
        sizes = f"about {gigabytes(needed)} needed, {gigabytes(max(free, 0))} free"
        raise InputError(f"not enough memory for {what}: {sizes}: {fix}")


def gigabytes(size: float) -> str:
    if size >= 1e18:
        return "far too many bytes"
    return f"{size / 1e9:.1f} GB" if size < 1e12 else f"{size / 1e12:,.0f} TB"
