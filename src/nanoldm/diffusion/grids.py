"""Which timesteps a sampler visits."""

from nanoldm.errors import InputError


def trailing(start: int, steps: int) -> list[int]:
    """`steps` timesteps, evenly spaced and descending, from `start` inclusive; the step after the last one reaches the clean level.

    ("Trailing" spacing: Lin et al. 2023, arXiv 2305.08891, table 2: the noisiest level is always visited.)
    Raises InputError unless 1 <= steps <= start + 1.
    """
    if not 1 <= steps <= start + 1:
        raise InputError(f"{steps} steps do not fit between timestep {start} and clean: choose 1 to {start + 1}")
    return [round((start + 1) * (steps - i) / steps) - 1 for i in range(steps)]
