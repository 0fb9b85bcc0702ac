"""python benchmarks/sampling.py mnist-fast mnist: images per second by the size of a batch, with
all threads for each batch or one thread for each, in fp32 and bf16, in turns.
"""

import statistics
import time
from itertools import product
from unittest.mock import patch

import tyro
from rich.table import Table
from tqdm.auto import tqdm
from tyro.conf import Positional

from nanoldm import LatentDiffusion
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.tables import printed

STEPS = 12


def images_per_second(model: LatentDiffusion, count: int, batch: int, threads: int) -> float:
    """Generate `count` images in batches, `threads` batches at a time."""
    model.batch_size = batch
    with patch.object(LatentDiffusion, "batches_at_a_time", threads):
        began = time.perf_counter()
        model.generate(count, sampler="ab3", steps=STEPS, spacing="shifted")
        return count / (time.perf_counter() - began)


def compare(models: Positional[tuple[str, ...]] = ("mnist-fast", "mnist"),
            batches: tuple[int, ...] = (64, 128, 256), rounds: int = 5,
            threads: int = 2) -> None:
    """Print the median of `rounds` turns; a star marks what `generate` does."""
    prepare_torch("cpu", threads)
    table = Table("model", "precision", "images per batch", "all threads for a batch",
                  "a thread for each batch")
    for name, precision in product(models, ("fp32", "bf16")):
        model = LatentDiffusion.from_pretrained(name).use_precision(precision)
        own, count = model.images_per_batch, threads * max(batches)
        cases = list(product(sorted({*batches, own}), (1, threads)))
        turns = [[images_per_second(model, count, *case) for case in cases]
                 for _ in tqdm(range(rounds + 1), desc=f"{name}, {precision}", unit="round")]
        speeds = dict(zip(cases, map(statistics.median, zip(*turns[1:], strict=True)),
                          strict=True))
        for batch in sorted({batch for batch, _ in cases}):
            table.add_row(name, precision, f"{batch}{' *' * (batch == own)}",
                          *(f"{speeds[batch, k]:.0f} images/s" for k in (1, threads)))
    print(printed(table))


if __name__ == "__main__":
    tyro.cli(compare)
