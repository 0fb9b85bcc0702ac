"""Train one stage to its end: progress bar, log, checkpoints, interruption."""

import time
from collections.abc import Callable

import torch
from PIL import Image
from tqdm.auto import tqdm

from nanoldm.experiments.log import Interruption, Metrics, Values, checked_mean
from nanoldm.experiments.stage import Stage
from nanoldm.experiments.trackers import Trackers
from nanoldm.pipeline.folders import RunFolder
from nanoldm.training import load_checkpoint, save_checkpoint
from nanoldm.utils.distributed import agreed, average, from_main, gather, is_main, shared

Preview = Callable[[int], tuple[Image.Image, Values]]  # step -> a picture, metrics for the log
LOG_EVERY = 10  # steps
CHECKPOINT_SHARE = 0.01  # of the time for checkpoints: a killed run loses a few seconds


def run_stage(folder: RunFolder, stage: Stage, steps: int, every: int, preview: Preview,
              trackers: Trackers, watch: Callable[[], Values] = dict, **origin: str) -> bool:
    """Train a stage from its checkpoint to its end -> whether there was a step to take.

    steps: of the whole training. every: steps between two previews.
    preview(step): a picture and metrics, also at the end. watch(): metrics for every line of the
        log, cheap ones.
    origin: digests for the checkpoint.

    Of several processes, rank 0 previews and writes; all see the same losses and interrupts.
    """
    path, start = folder.checkpoint(stage.name), 0
    if from_main(path.exists):
        start = load_checkpoint(path, stage.loss_module, stage.optimizers, stage.ema, steps,
                                **origin)
        left = f"continuing from step {start:,} of {steps:,}" if start < steps else "done"
        print(f"{stage.name}: {left}")
    with agreed():
        metrics = Metrics(folder.metrics, stage.name, start, trackers) if is_main() else None
    next_save, losses = 0.0, []
    bar = tqdm(desc=stage.name, total=steps, initial=start, unit="step")
    with Interruption() as interrupted, bar:
        for step in stage.run(steps, start):
            bar.update()
            losses.append(step.loss)
            number = step.number
            showing = number % every == 0 or number == steps
            logging = showing or number == 1 or number % LOG_EVERY == 0
            if not (logging or (interrupted and not shared())):
                continue
            stopping, norm = any(gather(bool(interrupted))), step.grad_norm.item()
            average([means := torch.stack(losses)])
            losses.clear()
            with agreed():
                loss = checked_mean(means, norm, number, path)
                if is_main():
                    bar.set_postfix(loss=f"{loss:.4f}", lr=f"{step.learning_rate:.1e}",
                                    refresh=False)
                    line = dict(loss=loss, learning_rate=step.learning_rate, grad_norm=norm)
                    metrics.write(number, **line, **watch())
                    if showing:
                        picture, values = preview(number)
                        metrics.write(number, **values)
                    if showing or stopping or time.monotonic() > next_save:
                        began = time.monotonic()
                        save_checkpoint(path, number, stage.loss_module, stage.optimizers,
                                        stage.ema, **origin)
                        next_save = began + (time.monotonic() - began) / CHECKPOINT_SHARE
                    if showing:
                        trackers.show(stage.name, number, picture)
            if stopping:
                raise KeyboardInterrupt(f"{stage.name} stopped at step {number:,} of {steps:,}, "
                                        "checkpoint saved: the same command continues the run")
    return start < steps
