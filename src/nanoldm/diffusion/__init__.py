"""The mathematics in separate pieces: schedule, prediction, denoiser, objective, samplers."""

from nanoldm.diffusion.denoiser import Clamped, Denoiser, Estimate
from nanoldm.diffusion.denoising_error import LOG_SNRS, denoising_error
from nanoldm.diffusion.guidance import Guided
from nanoldm.diffusion.objective import DenoisingLoss, DistillationLoss
from nanoldm.diffusion.prediction import PREDICTIONS
from nanoldm.diffusion.samplers import (
    ANCESTRAL,
    SAMPLERS,
    adams_bashforth,
    ddim,
    ddpm,
    dpm_solver_2m,
    evaluations,
    heun,
)
from nanoldm.diffusion.schedule import NoiseSchedule, corrupt
from nanoldm.diffusion.timesteps import SPACINGS, sampling_timesteps, trailing

__all__ = ["ANCESTRAL", "LOG_SNRS", "PREDICTIONS", "SAMPLERS", "SPACINGS", "Clamped", "Denoiser",
           "DenoisingLoss", "DistillationLoss", "Estimate", "Guided", "NoiseSchedule",
           "adams_bashforth", "corrupt", "ddim", "ddpm", "denoising_error", "dpm_solver_2m",
           "evaluations", "heun", "sampling_timesteps", "trailing"]
