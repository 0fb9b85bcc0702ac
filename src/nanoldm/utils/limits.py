"""How large a number from outside may be, and how much memory there is for what was asked for. No torch here."""

import math
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from nanoldm.utils.errors import InputError

MOST_IMAGES = 1_000_000     # that one command draws
LARGEST_SEED = 2**63 - 1
MOST_TIMESTEPS = 100_000
LARGEST_SIZE = 2048         # pixels of a side
MOST_TOKENS = 65_536


def within(name: str, value: int, least: int, most: int) -> int:
    """`value`, if it lies between `least` and `most`. Raises InputError that calls it `name`."""
    if not least <= value <= most:
        raise InputError(f"{name} {short(value)}: choose a number from {least} to {most}")
    return value


def short(number: int) -> str:
    """A number as text; about its size where nobody would read all digits, of which Python prints no more than 4,300."""
    digits = int(abs(number).bit_length() * math.log10(2))
    return str(number) if digits < 30 else f"{'-' * (number < 0)}10^{digits}"


def free_memory() -> float:
    """Bytes that this process may still take: of the machine, of its container, and of a limit that its user set."""
    free = [float(psutil.virtual_memory().available)]
    with suppress(OSError, ValueError):     # of a container, which counts its files' cache too
        group = Path("/sys/fs/cgroup")
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        used = int((group / "memory.current").read_text(encoding="ascii")) - int(stat.get("inactive_file", 0))
        free.append(float((group / "memory.max").read_text(encoding="ascii")) - used)       # "max": no limit, a ValueError
    if sys.platform != "win32":
        import resource
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            free.append(limit - psutil.Process().memory_info().vms)
    return min(free)


def check_memory(needed: float, what: str, mend: str) -> None:
    """Raise InputError if `what` needs more bytes than there are: before it is begun, with `mend`, which takes less."""
    if needed > (free := free_memory()):
        raise InputError(f"{what} takes about {gigabytes(needed)} of memory, and {gigabytes(max(free, 0))} are free: {mend}")


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size < 1e12 else f"{size / 1e12:,.0f} TB" if size < 1e18 else "far too many bytes"
