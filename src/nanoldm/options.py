"""Texts of the command line into numbers, with errors that name the option, and times into text. No torch here."""

import re

from nanoldm.errors import InputError

DEFAULT_IMAGES = 64


def parse_duration(text: str) -> float:
    """"90s", "20m", "1h30m" -> seconds. Raises InputError for anything else."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip())
    seconds = sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0
    if not 0 < seconds < float("inf"):
        raise InputError(f"--budget {text}: give a time such as 90s, 20m or 1h30m")
    return seconds


def duration(seconds: float) -> str:
    """90 -> "1 min 30 s", 40000 -> "11 h 6 min"."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def parse_passes(text: str) -> list[int]:
    """"4,8,16" -> [4, 8, 16]. Raises InputError for anything else than whole numbers."""
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d+", part) for part in parts):
        raise InputError(f"--passes {text}: give whole numbers such as 4,8,16,32")
    return [int(part) for part in parts]


def parse_names(text: str) -> list[str]:
    """"dpm++2m, ab2" -> ["dpm++2m", "ab2"], each once."""
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


def parse_seeds(n: int | None, seed: int | None, seeds: str | None) -> list[int]:
    """--n N --seed S -> S ... S + N - 1; --seeds 3,7,20-29 names them (and excludes the other two). Raises InputError."""
    if seeds is not None:
        if n is not None or seed is not None:
            raise InputError("--seeds names every image: leave out --n and --seed")
        parts = [re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip()) for part in seeds.split(",")]
        ranges = [range(int(part[1]), int(part[2] or part[1]) + 1) for part in parts if part]
        if not all(parts) or not all(ranges):
            raise InputError(f"--seeds {seeds}: give numbers and ranges such as 3,7,20-29")
        return [number for numbers in ranges for number in numbers]
    n, seed = DEFAULT_IMAGES if n is None else n, seed or 0
    if n < 1:
        raise InputError(f"--n {n}: ask for at least 1 image")
    if seed < 0:
        raise InputError(f"--seed {seed}: seeds count from 0")
    return list(range(seed, seed + n))
