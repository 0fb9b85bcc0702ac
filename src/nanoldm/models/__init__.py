"""Networks: tensors in, tensors out. They know no schedule, no data set and no training."""

from nanoldm.models.autoencoder import ConvAE, ReconstructionLoss
from nanoldm.models.dit import DiffusionNet, DiTBlock
from nanoldm.models.embedding import SinusoidalTimeEmbedding
from nanoldm.models.network import NetworkConfig
from nanoldm.models.transformer import MHA, Dropout, LayerNorm, RoPE, Transformer, TransformerBlock

# The denoising networks that a recipe can name. All take the fields of NetworkConfig.
NETWORKS = {"DiffusionNet": DiffusionNet, "Transformer": Transformer}

__all__ = ["MHA", "NETWORKS", "ConvAE", "DiTBlock", "DiffusionNet", "Dropout", "LayerNorm",
           "NetworkConfig", "ReconstructionLoss", "RoPE", "SinusoidalTimeEmbedding", "Transformer",
           "TransformerBlock"]
