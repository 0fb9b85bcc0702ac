"""Training of any module that returns a loss: loop, optimisers, EMA, checkpoints. Knows no
diffusion and no data.
"""

from nanoldm.training.checkpoint import load_checkpoint, save_checkpoint
from nanoldm.training.ema import EMA
from nanoldm.training.loop import Step, fit
from nanoldm.training.muon import make_optimizers

__all__ = ["EMA", "Step", "fit", "load_checkpoint", "make_optimizers", "save_checkpoint"]
