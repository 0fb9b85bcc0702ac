"""Train one stage to its end: progress bar, log, checkpoints, interruption."""

import time
from collections.abc import Callable

import torch
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.experiments.log import Interruption, Metrics, Values, checked_mean
from nanoldm.experiments.stages import Stage
from nanoldm.pipeline.folders import RunFolder
from nanoldm.training import load_checkpoint, save_checkpoint

LOG_EVERY = 10  # steps
CHECKPOINT_SHARE = 0.01  # of the time for checkpoints: a killed run loses a few seconds


@torch.inference_mode()
def mean_loss(loss_module: torch.nn.Module, batch: dict[str, Tensor], size: int = 250) -> float:
    """The mean loss over a large batch, in parts."""
    parts = zip(*(tensor.split(size) for tensor in batch.values()), strict=True)
    total = sum(loss_module(**dict(zip(batch, part, strict=True))).item() * len(part[0])
                for part in parts)
    return total / len(next(iter(batch.values())))


def run_stage(folder: RunFolder, stage: Stage, lengths: tuple[int, int],
              evaluate: Callable[[int], Values], watch: Callable[[], Values] = dict,
              **origin: str) -> bool:
    """Train a stage from its checkpoint to its end -> whether there was a step to take.

    lengths: (steps, steps between two evaluations). evaluate(step) and watch() return metrics for
    the log: evaluate at every preview and at the end, watch (cheap) at every line.
    origin: digests for the checkpoint.
    """
    (steps, every), path, start = lengths, folder.checkpoint(stage.name), 0
    if path.exists():
        start = load_checkpoint(path, stage.loss_module, stage.optimizers, stage.ema, steps,
                                **origin)
        left = f"continuing from step {start:,} of {steps:,}" if start < steps else "done"
        print(f"{stage.name}: {left}")
    metrics, next_save, losses = Metrics(folder.metrics, stage.name, start), 0.0, []
    bar = tqdm(desc=stage.name, total=steps, initial=start, unit="step")
    with Interruption() as interrupted, bar:
        for step in stage.run(steps, start):
            bar.update()
            losses.append(step.loss)
            number = step.number
            showing = number % every == 0 or number == steps
            if not (showing or interrupted or number == 1 or number % LOG_EVERY == 0):
                continue
            norm = step.grad_norm.item()
            loss = checked_mean(losses, norm, number, path)
            bar.set_postfix(loss=f"{loss:.4f}", lr=f"{step.learning_rate:.1e}", refresh=False)
            line = dict(loss=loss, learning_rate=step.learning_rate, grad_norm=norm)
            metrics.write(number, **line, **watch())
            losses.clear()
            if showing:
                metrics.write(number, **evaluate(number))
            if showing or interrupted or time.monotonic() > next_save:
                began = time.monotonic()
                save_checkpoint(path, number, stage.loss_module, stage.optimizers, stage.ema,
                                **origin)
                next_save = began + (time.monotonic() - began) / CHECKPOINT_SHARE
            if interrupted:
                raise KeyboardInterrupt(f"{stage.name} stopped at step {number:,} of {steps:,}, "
                                        "checkpoint saved: the same command continues the run")
    return start < steps
