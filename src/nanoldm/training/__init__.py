"""Training of any module that returns a loss: batches, loop, EMA, checkpoints. Knows no diffusion."""

from nanoldm.training.batches import image_batches, latent_batches
from nanoldm.training.cells import cell_count, latent_cells
from nanoldm.training.checkpoint import load_checkpoint, save_checkpoint
from nanoldm.training.ema import EMA
from nanoldm.training.loop import Step, fit
from nanoldm.training.muon import make_optimizer

__all__ = ["EMA", "Step", "cell_count", "fit", "image_batches", "latent_batches", "latent_cells", "load_checkpoint", "make_optimizer",
           "save_checkpoint"]
