"""The mathematics, in separate pieces: schedule, prediction, denoiser, guidance, objective, grids, samplers. Imports torch alone."""

from nanoldm.diffusion.denoiser import Clamped, Denoiser, Estimate
from nanoldm.diffusion.denoising_error import LEVELS, proxy
from nanoldm.diffusion.guidance import Guided
from nanoldm.diffusion.objective import DenoisingLoss
from nanoldm.diffusion.prediction import PREDICTIONS
from nanoldm.diffusion.samplers import ANCESTRAL, SAMPLERS, adams_bashforth, ddim, ddpm, dpm_solver_2m, heun, visits
from nanoldm.diffusion.schedule import NoiseSchedule, corrupt
from nanoldm.diffusion.timesteps import GRIDS, trailing, visited

__all__ = ["ANCESTRAL", "GRIDS", "LEVELS", "PREDICTIONS", "SAMPLERS", "Clamped", "Denoiser", "DenoisingLoss", "Estimate", "Guided",
           "NoiseSchedule", "adams_bashforth", "corrupt", "ddim", "ddpm", "dpm_solver_2m", "heun", "proxy", "trailing", "visited",
           "visits"]
