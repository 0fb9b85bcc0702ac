"""The mathematics, in separate pieces: schedule, prediction, denoiser, objective, grids, samplers. Imports torch alone."""

from nanoldm.diffusion.denoiser import Clamped, Denoiser, Estimate
from nanoldm.diffusion.grids import trailing
from nanoldm.diffusion.objective import DenoisingLoss
from nanoldm.diffusion.prediction import PREDICTIONS
from nanoldm.diffusion.proxy import LEVELS, proxy
from nanoldm.diffusion.samplers import ddpm
from nanoldm.diffusion.schedule import NoiseSchedule, corrupt

__all__ = ["LEVELS", "PREDICTIONS", "Clamped", "Denoiser", "DenoisingLoss", "Estimate", "NoiseSchedule", "corrupt", "ddpm", "proxy",
           "trailing"]
