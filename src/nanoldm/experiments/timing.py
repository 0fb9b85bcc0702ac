"""How long the parts of a run take on this machine, and which form of the denoiser is fastest."""

import time
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from nanoldm.diffusion import LOG_SNRS
from nanoldm.experiments.latents import raw_tokens
from nanoldm.experiments.stage import Stage
from nanoldm.pipeline.latent_diffusion import ERROR_LATENTS
from nanoldm.pipeline.precision import GAIN, seconds_per_evaluation, time_precisions
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.device import check_compiler
from nanoldm.utils.distributed import agreed
from nanoldm.utils.text import one_line

SHOWN, TEST_IMAGES, TEST_BATCH = 16, 2000, 250  # of a preview: samples, images of the test loss
COMPILE = ("auto", "on", "off")
PORTION = 500  # images that a teacher makes at a time
COMPILE_FROM = 240.0  # seconds of training of the denoiser; compiling takes about 30


class StepTiming(NamedTuple):
    """Precision and compilation of the denoiser, and the seconds of one step."""

    precision: str
    compiled: bool
    seconds: float


def choose_fastest(stage: Stage, precision: str, compile: str, probe: float,
                 duration: Callable[[float], float]) -> StepTiming:
    """Find and set the precision of the denoiser, and whether its step is compiled.

    precision: of the recipe.
    compile: "on", "off", or "auto": if the training takes COMPILE_FROM seconds, there is a
        compiler, and it makes the steps faster (by the factor GAIN).
    probe: seconds for each timing.
    duration: seconds of a step -> seconds of the denoiser's training.
    """
    precision, eager = time_precisions(precision,
                                       lambda name: stage.seconds_per_step(probe, name))
    stage.use_precision(precision)
    if compile == "off" or (compile == "auto" and duration(eager) < COMPILE_FROM):
        return StepTiming(precision, False, eager)
    print("compiling the denoiser (about half a minute) ...", flush=True)
    try:
        with agreed():
            check_compiler(stage.device)
            stage.use_compiler(True)
            stage.try_loss()
        compiled = stage.seconds_per_step(probe)
    except Exception as error:  # torch raises many kinds
        if compile == "on":
            raise
        print(f"note: the denoiser is not compiled ({one_line(error)})")
        compiled = float("inf")
    if compile == "on" or GAIN * compiled < eager:
        return StepTiming(precision, True, compiled)
    stage.use_compiler(False)
    return StepTiming(precision, False, eager)


def seconds_per_preview(stage: Stage, settings: Sampling, latents: Tensor) -> float:
    """Two grids of samples, two test losses, two denoising errors."""
    denoiser = stage.loss_module.denoiser.eval()
    samples, part, error = (
        seconds_per_evaluation(denoiser, latents[:1].repeat(count, 1, 1), repeats=3)
        for count in (SHOWN, TEST_BATCH, ERROR_LATENTS))
    loss = part * TEST_IMAGES / TEST_BATCH
    return 2 * (settings.nfe(denoiser.schedule) * samples + loss + 2 * len(LOG_SNRS) * error)


def seconds_to_record(stage: Stage, pairs: dict[str, Tensor], nfe: int) -> float:
    """`pairs` of a teacher that needs so many network evaluations for an image."""
    x0, denoiser = pairs["x0"], stage.loss_module.denoiser.eval()
    x = x0[:PORTION].to(stage.device)
    return seconds_per_evaluation(denoiser, x, repeats=3) * nfe * len(x0) / len(x)


def seconds_to_encode(stage: Stage, images: Tensor) -> float:
    sample, began = images[:2000], time.perf_counter()
    raw_tokens(stage.loss_module.autoencoder, sample).sum().item()  # waits for a GPU
    return (time.perf_counter() - began) * len(images) / len(sample)
