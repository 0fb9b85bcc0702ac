"""nanoldm: a complete latent diffusion system whose core you read in an afternoon.

    from nanoldm import LatentDiffusion
    model = LatentDiffusion.from_pretrained("mnist-fast")
    images = model.generate(64)                  # (64, 1, 28, 28) in [0, 1], from seeds 0 ... 63

Names are imported on first use: `import nanoldm` and `nanoldm --help` do not wait for torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

EXPORTS = {"nanoldm.pipeline.latent_diffusion": ["LatentDiffusion"],
           "nanoldm.pipeline.settings": ["Sampling"],
           "nanoldm.models": ["ConvAE", "DiTBlock", "DiffusionNet", "Dropout", "LayerNorm", "MHA",
                              "ReconstructionLoss", "RoPE", "SinusoidalTimeEmbedding",
                              "Transformer", "TransformerBlock"],
           "nanoldm.diffusion": ["Clamped", "Denoiser", "DenoisingLoss", "DistillationLoss",
                                 "Estimate", "NoiseSchedule", "corrupt", "ddpm", "trailing"],
           "nanoldm.training": ["EMA", "fit"],
           "nanoldm.evaluation.metrics": ["FeatureNet", "density_coverage", "frechet_distance",
                                          "kernel_distance"],
           "nanoldm.experiments.config": ["Recipe"],
           "nanoldm.experiments.distill": ["distill"],
           "nanoldm.experiments.recipes": ["RECIPES", "load_recipe"],
           "nanoldm.experiments.run": ["Run"],
           "nanoldm.experiments.train": ["train"],
           "nanoldm.utils.errors": ["InputError", "TrainingError"]}
HOME = {name: module for module, names in EXPORTS.items() for name in names}

__all__ = sorted(["__version__", *HOME])


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module 'nanoldm' has no attribute {name!r}")
    return getattr(import_module(HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
