"""How long the parts of a run take on this machine, and which form of the denoiser is fastest."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nanoldm.diffusion import LOG_SNRS, Denoiser
from nanoldm.experiments.latents import raw_tokens
from nanoldm.experiments.stage import Stage
from nanoldm.pipeline.latent_diffusion import ERROR_LATENTS
from nanoldm.pipeline.precision import GAIN, time_precisions
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.device import check_compiler
from nanoldm.utils.distributed import agreed
from nanoldm.utils.text import one_line

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


@torch.inference_mode()
def seconds_per_evaluation(denoiser: Denoiser, x: Tensor) -> float:
    t, began = torch.zeros(1, dtype=torch.long, device=x.device), time.perf_counter()
    for _ in range(3):
        denoiser(x, t).x0.sum().item()  # waits for a GPU
    return (time.perf_counter() - began) / 3


def seconds_per_preview(stage: Stage, settings: Sampling, latents: Tensor) -> float:
    """Two grids of 16 samples, two test losses over 2,000 latents, two denoising errors."""
    denoiser = stage.loss_module.denoiser.eval()
    samples, part, test = (seconds_per_evaluation(denoiser, latents[:1].repeat(count, 1, 1))
                           for count in (16, 250, ERROR_LATENTS))
    return 2 * (settings.nfe(denoiser.schedule) * samples + 8 * part + 2 * len(LOG_SNRS) * test)


def seconds_to_record(stage: Stage, pairs: dict[str, Tensor], nfe: int) -> float:
    """`pairs` of a teacher that needs so many network evaluations for an image."""
    x0, denoiser = pairs["x0"], stage.loss_module.denoiser.eval()
    x = x0[:PORTION].to(stage.device)
    return seconds_per_evaluation(denoiser, x) * nfe * len(x0) / len(x)


def seconds_to_encode(stage: Stage, images: Tensor) -> float:
    sample, began = images[:2000], time.perf_counter()
    raw_tokens(stage.loss_module.autoencoder, sample).sum().item()  # waits for a GPU
    return (time.perf_counter() - began) * len(images) / len(sample)
