"""What a training step and a sample cost on this machine, and what the form of RoPE contributes.

    python benchmarks/step.py

The two forms of RoPE are timed in turns within one run, so that a noisy machine favours neither. Run it on an idle machine.
"""

import statistics
import time

import torch
from torch import Tensor

from nanoldm import Denoiser, DenoisingLoss, DiffusionNet, NoiseSchedule
from nanoldm.models.transformer import RoPE
from nanoldm.pipeline import LatentDiffusion
from nanoldm.training import fit, latent_batches

ROUNDS, STEPS = 5, 4


def four_products(rope: RoPE, x: Tensor) -> Tensor:
    """The specification's formula for a pair, written out."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rope.rotation.real[: x.shape[-2]], rope.rotation.imag[: x.shape[-2]]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def seconds_per_step(loss: DenoisingLoss, optimizer: torch.optim.Optimizer, latents: Tensor) -> float:
    batches = latent_batches(latents, 256, 100, seed=0)
    times = [time.perf_counter() for _ in fit(loss, batches, optimizer, steps=STEPS + 1, learning_rate=lambda k: 5e-4, gradient_clip=1.0)]
    return (times[-1] - times[0]) / STEPS


def main() -> None:
    torch.set_flush_denormal(True)
    square = torch.randn(4096, 4096)
    square @ square
    began = time.perf_counter()
    square @ square
    sgemm = 2 * 4096**3 / (time.perf_counter() - began) / 1e9
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, sgemm {sgemm:.0f} GFLOP/s")

    loss = DenoisingLoss(Denoiser(DiffusionNet(), NoiseSchedule()))
    for parameter in loss.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)      # the zeros of a new network would spare work
    optimizer = torch.optim.AdamW(loss.parameters(), lr=5e-4, fused=True)
    latents, complex_product = torch.randn(2560, 49, 6), RoPE.forward
    times: dict[str, list[float]] = {"complex product": [], "four products": []}
    for _ in range(ROUNDS):
        for name, form in (("complex product", complex_product), ("four products", four_products)):
            RoPE.forward = form
            times[name].append(seconds_per_step(loss, optimizer, latents))
    RoPE.forward = complex_product
    fast, slow = (statistics.median(values) for values in times.values())
    print(f"training step, batch 256: {fast:.3f} s with RoPE as a complex product, {slow:.3f} s with four products: {slow / fast:.2f}x")

    pipeline = LatentDiffusion.from_pretrained("mnist")
    for n in (1, 64, 250):
        began = time.perf_counter()
        pipeline.generate(range(n))
        print(f"sampling {n} images, 100 steps: {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
