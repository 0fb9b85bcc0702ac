"""One training: a loss module with its optimiser, EMA and batches."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import nn

from nanoldm.experiments.batches import Batches
from nanoldm.experiments.config import Training
from nanoldm.models import Dropout
from nanoldm.training import EMA, Step, fit, make_optimizers
from nanoldm.training.batches import epoch_length
from nanoldm.training.muon import Muon
from nanoldm.utils.device import use_tf32
from nanoldm.utils.distributed import WHOLE, Part, gather, own_part, world_size
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import Stream, seeded


class Stage:
    """One training: a loss module with its optimiser, EMA and batches. Steps count from 1.

    loss_module: returns the loss of a batch and holds the weights.
    averaged: the same module with EMA weights; loss_module itself without EMA.
    batches(start): the batches from step `start` on, each as its `parts`.
    parts: the parts of each batch that this process computes, from `parts_of_batch`.
    Raises InputError for Muon without matrices.
    """

    def __init__(self, name: str, loss_module: nn.Module, training: Training, seed: int,
                 matrices: list[nn.Parameter] | None = None):
        self.name, self.loss_module, self.training, self.seed = name, loss_module, training, seed
        if training.optimizer == "Muon" and not matrices:
            raise InputError(f"the {name} has no method matrices, which lists what Muon trains: "
                             "choose AdamW and a learning rate for it, such as 5e-4")
        rate = training.learning_rate
        self.optimizers = make_optimizers(training.optimizer, loss_module, rate, matrices or [])
        averaging = training.ema_decay or training.ema_power
        self.ema = EMA(loss_module, training.ema_decay, training.ema_power) if averaging else None
        self.averaged = self.ema.module if self.ema else loss_module
        self.use_compiler(False)
        self.parts: Sequence[Part] = (WHOLE,)
        self.batches: Callable[[int], Batches]

    @property
    def has_dropout(self) -> bool:
        """Whether a step draws random numbers for dropout."""
        kinds = (Dropout, nn.modules.dropout._DropoutNd)
        return any(isinstance(part, kinds) and part.p for part in self.loss_module.modules())

    def length(self, images: int) -> int:
        """Steps of the whole training."""
        return self.training.steps or self.training.epochs * epoch_length(
            images, self.training.batch_size)

    def run(self, steps: int, start: int = 0) -> Iterator[Step]:
        """Take steps start + 1 ... steps, with the learning rate annealed over all of them."""

        def learning_rate(k: int) -> float:
            """Cosine annealing to 0 (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5)."""
            cosine = (1 + math.cos(math.pi * k / steps)) / 2
            return self.training.learning_rate * (
                cosine if self.training.annealing == "cosine" else 1)

        batches = self.batches(start)
        if self.device.type == "cuda" and self.module is not self.loss_module:
            batches = marked(batches)
        return fit(self.module, batches, self.optimizers, steps=steps, start=start,
                   learning_rate=learning_rate, gradient_clip=self.training.gradient_clip,
                   ema=self.ema, seed=self.seed if self.has_dropout else None, parts=self.parts)

    @property
    def device(self) -> torch.device:
        return next(self.loss_module.parameters()).device

    def use_compiler(self, use: bool) -> None:
        """Compile the step (torch.compile) when a loss is computed first, or do not.

        On a GPU, CUDA graphs start all its kernels at once (mode reduce-overhead).
        """
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"
        self.module = (torch.compile(self.loss_module, dynamic=False, mode=mode) if use
                       else self.loss_module)

    def try_loss(self) -> None:
        """Compute a loss and its gradient, and take no step: a compiler fails here, if it fails."""
        key = (self.seed, Stream.DROPOUT, 0)
        with self.unchanged(), seeded(*key, device=self.device, part=self.parts[0]):
            self.module(**next(self.batches(0))).backward()
        self.loss_module.zero_grad()

    def use_precision(self, precision: str) -> None:
        """Compute the denoiser, also that of the EMA, and Muon in a precision of `PRECISIONS`."""
        use_tf32(self.device, precision == "tf32")
        muon = [optimizer for optimizer in self.optimizers if isinstance(optimizer, Muon)]
        for each in (self.loss_module.denoiser, self.averaged.denoiser, *muon):
            each.precision = precision

    def seconds_per_step(self, seconds: float = 1.0, precision: str | None = None) -> float:
        """Mean time of a step, measured for about `seconds`. All processes find the same.

        precision: to measure in, which stays set; all else is unchanged afterwards.
        """
        if precision:
            self.use_precision(precision)
        with self.unchanged():
            run = self.run(1000)
            timed(run, 1)  # a warm-up
            step = timed(run, 3) / 3
            count = min(int(seconds / step), 900)
            return timed(run, count) / count if count > 3 else step

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Restore the weights, also those of the EMA, and the fresh optimisers afterwards."""
        weights = deepcopy(self.loss_module.state_dict())
        try:
            yield
        finally:
            self.loss_module.load_state_dict(weights)
            if self.ema:
                self.ema.module.load_state_dict(weights)
            for optimizer in self.optimizers:
                optimizer.state.clear()


def timed(run: Iterator[Step], count: int) -> float:
    """Seconds of the next `count` steps, the mean over all processes."""
    began = time.perf_counter()
    *_, last = itertools.islice(run, count)
    last.loss.item()  # waits for a GPU
    return sum(gather(time.perf_counter() - began)) / world_size()


def parts_of_batch(training: Training, name: str, images: int, accumulate: int) -> list[Part]:
    """The parts of each batch that this process computes.

    accumulate: how many it computes, one after the other, for less memory.
    name: of the training in the recipe. Raises InputError for parts that are not equal.
    """
    index, processes = own_part()
    count, batch = processes * accumulate, min(training.batch_size, images)
    if batch % count:
        parts = " times ".join(f"{n} {what}" for n, what in
                               ((processes, "processes"), (accumulate, "parts each")) if n > 1)
        raise InputError(f"{name}.batch_size {batch} is not a multiple of {count} ({parts}): "
                         f"choose {max(1, batch // count) * count}")
    return [Part(index * accumulate + k, count) for k in range(accumulate)]


def marked(batches: Batches) -> Batches:
    """Tell CUDA graphs before each batch that they may overwrite the results of the last step."""
    for batch in batches:
        torch.compiler.cudagraph_mark_step_begin()
        yield batch
