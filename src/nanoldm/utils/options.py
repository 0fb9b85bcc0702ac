"""What commands take where nothing is said. Texts of the command line into numbers, with errors that name the option, and times into text.

No torch here.
"""

import re
from collections.abc import Iterable

from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import LARGEST_SEED, MOST_IMAGES, short, within

BEST = "mnist-fast"     # of the bundled models: what is taken where none is named
DEFAULT_IMAGES = 64
IMAGES_OF_EACH = 8      # where several classes are asked for
LONGEST = 1000 * 3600   # seconds of a budget


def parse_duration(text: str) -> float:
    """"90s", "20m", "1h30m" -> seconds. Raises InputError for anything else."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip(), re.ASCII)
    seconds = sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0
    if not 0 < seconds <= LONGEST:
        raise InputError(f"--budget {text}: give a time such as 90s, 20m or 1h30m, {LONGEST // 3600}h at most")
    return seconds


def parse_fields(texts: Iterable[str]) -> dict[str, str]:
    """["training.learning_rate=1e-3", ...] -> {"training.learning_rate": "1e-3", ...}. Raises InputError."""
    fields: dict[str, str] = {}
    for text in texts:
        field, equals, value = (part.strip() for part in text.partition("="))
        if not (field and equals):
            raise InputError(f"--set {text}: write FIELD=VALUE, such as --set training.learning_rate=1e-3")
        if field in fields:
            raise InputError(f"--set {field} is given twice: leave one out")
        fields[field] = value
    return fields


def duration(seconds: float) -> str:
    """90 -> "1 min 30 s", 40000 -> "11 h 6 min"."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def parse_names(text: str) -> list[str]:
    """"dpm++2m, ab2" -> ["dpm++2m", "ab2"], each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


def parse_numbers(option: str, text: str, example: str) -> list[int]:
    """"3,7,20-29" -> [3, 7, 20, 21 ... 29]. Raises InputError that names the option."""
    parts = [re.fullmatch(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", part.strip()) for part in text.split(",")]
    ranges = [range(int(part[1]), int(part[2] or part[1]) + 1) for part in parts if part]
    if not all(parts) or not all(ranges):
        raise InputError(f"{option} {text}: give numbers and ranges such as {example}")
    if (count := sum(numbers.stop - numbers.start for numbers in ranges)) > MOST_IMAGES:
        raise InputError(f"{option} {text}: these are {short(count)} numbers, and {MOST_IMAGES:,} at most are taken")
    return [number for numbers in ranges for number in numbers]


def in_turn(labels: list[int] | None, count: int) -> list[int] | None:
    """[3, 5], 5 -> [3, 5, 3, 5, 3]: a label for each of `count` images."""
    return labels and [labels[k % len(labels)] for k in range(count)]


def parse_interval(text: str | None) -> tuple[int, int] | None:
    """--guidance-interval 20-80 -> (20, 80). Raises InputError."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})-([0-9]{1,9})", text.strip())
    if not match:
        raise InputError(f"--guidance-interval {text}: give the lowest and the highest timestep, such as 20-80")
    return int(match[1]), int(match[2])


def parse_seeds(n: int | None, seed: int | None, seeds: str | None, default: int = DEFAULT_IMAGES) -> list[int]:
    """--n N --seed S -> S ... S + N - 1; --seeds 3,7,20-29 names them (and excludes the other two). Raises InputError."""
    if seeds is not None:
        if n is not None or seed is not None:
            raise InputError("--seeds names every image: leave out --n and --seed")
        numbers = parse_numbers("--seeds", seeds, "3,7,20-29")
        within("--seeds: seed", max(numbers), 0, LARGEST_SEED)
        return numbers
    n = default if n is None else n
    return list(seed_range(n, seed or 0))


def seed_range(n: int, seed: int) -> range:
    """seed ... seed + n - 1. Raises InputError for fewer than one image, or more than one command draws."""
    if n < 1:
        raise InputError(f"--n {short(n)}: ask for at least 1 image")
    if seed < 0:
        raise InputError(f"--seed {short(seed)}: seeds count from 0")
    within("--n", n, 1, MOST_IMAGES)
    within("--seed", seed, 0, LARGEST_SEED - n)
    return range(seed, seed + n)
