"""Seeds and ranges of numbers. Does not import torch."""

import re
from collections.abc import Sequence
from operator import index

from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import LARGEST_SEED, MOST_IMAGES, short, within


def parse_numbers(name: str, text: str, example: str) -> list[int]:
    """ "3,7,20-29" -> [3, 7, 20, 21 ... 29]. Raises InputError that names the option."""
    parts = [re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", p.strip()) for p in text.split(",")]
    ranges = [range(int(part[1]), int(part[2] or part[1]) + 1) for part in parts if part]
    if not all(parts) or not all(ranges):
        raise InputError(f"{name} {text}: give numbers and ranges such as {example}")
    if (count := sum(numbers.stop - numbers.start for numbers in ranges)) > MOST_IMAGES:
        raise InputError(f"{name} {text}: {short(count)} numbers, at most {MOST_IMAGES:,} are "
                         "allowed")
    return [number for numbers in ranges for number in numbers]


def seed_range(n: int, seed: int = 0) -> range:
    """seed ... seed + n - 1. Raises InputError for n < 1 and for numbers out of range."""
    if n < 1:
        raise InputError(f"n {short(n)}: at least 1 image is needed")
    if seed < 0:
        raise InputError(f"seed {short(seed)}: seeds count from 0")
    within("n", n, 1, MOST_IMAGES)
    within("seed", seed, 0, LARGEST_SEED - n)
    return range(seed, seed + n)


def seed_list(seeds: int | Sequence[int]) -> list[int]:
    """n -> 0 ... n - 1; or a range, list, array or tensor of seeds -> a list of integers.

    Raises InputError for an empty list, and for values that are not seeds.
    """
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        return list(seed_range(seeds))
    try:
        found = [index(seed) for seed in (seeds.tolist() if hasattr(seeds, "tolist") else seeds)]
    except TypeError:
        raise InputError("seeds must be whole numbers, such as 64, range(64) or [3, 7]") from None
    if not found:
        raise InputError("no seeds given: at least one image is needed")
    if min(found) < 0:
        raise InputError(f"seeds count from 0, got {short(min(found))}")
    within("seed", max(found), 0, LARGEST_SEED)
    return found
