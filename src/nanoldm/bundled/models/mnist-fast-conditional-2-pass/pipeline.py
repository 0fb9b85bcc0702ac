"""For DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)."""

from nanoldm.pipeline.for_diffusers import NanoLDMPipeline

__all__ = ["NanoLDMPipeline"]
