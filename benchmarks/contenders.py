"""One contender of throughput.py, in a process of its own: networks of one width, depth, heads and
tokens, used as their users would, in fp32 or bf16 (autocast), eager or compiled.

It reads names of Worker's methods from standard input, one a line, and answers each with a line of
JSON.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nanoldm.diffusion import Clamped, Denoiser, DenoisingLoss, NoiseSchedule, ddpm, trailing
from nanoldm.experiments.batches import latent_batches
from nanoldm.models import DiffusionNet
from nanoldm.training import EMA, Step, fit
from nanoldm.utils.device import prepare_torch

# timesteps of the schedule; images and reverse steps of a sampling task
TIMESTEPS, SAMPLED, REVERSE_STEPS = 100, 64, 20
STEPS = 3                                           # training steps of a training task
# inputs and outputs of a block's linear layers
LAYERS = ((128, 384), (128, 128), (128, 512), (512, 128))
LIMIT = 3.0                                         # to which x0 is clamped while sampling


class Contender(NamedTuple):
    network: nn.Module                              # x_t (B, 49, 6), t (B,) -> (B, 49, 6)
    # noise (B, 49, 6) -> what REVERSE_STEPS of its own sampler make of it
    sample: Callable[[Tensor], Tensor]
    ours: bool = False  # then torch is set up as every command of ours sets it up


class OnMaps(nn.Module):
    """A network on maps (B, 6, 7, 7) behind the face of ours."""

    def __init__(self, network: nn.Module, call: Callable[[nn.Module, Tensor, Tensor], Tensor]):
        super().__init__()
        self.network, self.call = network, call

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return tokens(self.call(self.network, maps(x_t), t))


def maps(x: Tensor) -> Tensor:
    return x.transpose(1, 2).unflatten(2, (7, 7))  # (B, 6, 7, 7)


def tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)  # (B, 49, 6)


def nanoldm() -> Contender:
    denoiser = Denoiser(DiffusionNet(), NoiseSchedule("cosine", TIMESTEPS))

    def sample(x: Tensor) -> Tensor:
        denoiser.precision = "bf16" if torch.is_autocast_enabled(x.device.type) else "fp32"
        denoiser.to(x.device)
        visited = trailing(TIMESTEPS - 1, REVERSE_STEPS)
        return list(ddpm(Clamped(denoiser, LIMIT), x, denoiser.schedule, visited,
                         lambda: torch.randn_like(x)))[-1][0]

    return Contender(denoiser.network, sample, ours=True)


def diffusers() -> Contender:
    from diffusers import DDPMScheduler, DiTTransformer2DModel
    network = DiTTransformer2DModel(num_attention_heads=4, attention_head_dim=32, num_layers=4,
                                    in_channels=6, out_channels=6, sample_size=7, patch_size=1,
                                    num_embeds_ada_norm=10)
    scheduler = DDPMScheduler(TIMESTEPS, beta_schedule="squaredcos_cap_v2",
                              variance_type="fixed_large", timestep_spacing="trailing",
                              clip_sample_range=LIMIT)

    def call(network: nn.Module, x: Tensor, t: Tensor) -> Tensor:
        return network(x, t.expand(len(x)),
                       torch.zeros(len(x), dtype=torch.long, device=x.device)).sample

    def sample(x: Tensor) -> Tensor:
        scheduler.set_timesteps(REVERSE_STEPS)
        x = maps(x)
        for t in scheduler.timesteps:
            x = scheduler.step(call(network, x, t.to(x.device)), t, x).prev_sample
        return tokens(x)

    return Contender(OnMaps(network, call), sample)


def smalldiffusion() -> Contender:
    from smalldiffusion import DiT, ScheduleCosine, samples
    network, schedule = DiT(in_dim=7, channels=6, patch_size=1, depth=4, head_dim=32,
                            num_heads=4), ScheduleCosine(TIMESTEPS)

    def sample(x: Tensor) -> Tensor:
        sigmas = schedule.sample_sigmas(REVERSE_STEPS)
        # mu 0.5: DDPM
        return tokens(list(samples(network, sigmas, mu=0.5, xt=maps(x) * sigmas[0]))[-1])

    return Contender(OnMaps(network, lambda network, x, t: network(x, (t + 1.0).view(-1, 1, 1, 1))),
                     sample)


LIBRARIES = {"nanoldm": nanoldm, "diffusers": diffusers, "smalldiffusion": smalldiffusion}
PRECISIONS = ("fp32", "bf16")
# "diffusers, bf16, compiled" -> (library, precision, whether it is compiled)
CONTENDERS = {", ".join((name, precision, *["compiled"] * compiled)): (name, precision, compiled)
              for compiled in (False, True) for precision in PRECISIONS for name in LIBRARIES}


class Worker:
    """A contender and what can be asked of it. Every answer is a dictionary of numbers."""

    def __init__(self, name: str, batch_size: int, threads: int | None, device: str):
        library, self.precision, self.compiled = CONTENDERS[name]
        self.contender, self.batch_size, self.device = LIBRARIES[library](), batch_size, device
        if self.contender.ours:
            prepare_torch(device, threads)
        elif threads:
            torch.set_num_threads(threads)
        for parameter in self.contender.network.parameters():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.02)        # no work is spared on zeros
        self.network = self.contender.network.to(device)
        denoiser = Denoiser(self.network, NoiseSchedule("cosine", TIMESTEPS))
        denoiser.precision = self.precision
        self.loss = DenoisingLoss(denoiser).to(device)

    def facts(self) -> dict[str, Any]:
        return {"parameters": sum(p.numel() for p in self.network.parameters() if p.requires_grad)}

    @cached_property
    def steps(self) -> Iterator[Step]:
        """Endless training, the same for all: fused AdamW and clipping; and EMA for ours, since it
        belongs to our step.
        """
        optimizer = torch.optim.AdamW([p for p in self.loss.parameters() if p.requires_grad],
                                      lr=5e-4, fused=True)
        latents = torch.randn(max(10_000, self.batch_size), 49, 6, device=self.device)
        loss = torch.compile(self.loss, dynamic=False) if self.compiled else self.loss
        return fit(loss, latent_batches(latents, self.batch_size, TIMESTEPS, seed=0), [optimizer],
                   steps=sys.maxsize, learning_rate=lambda step: 5e-4, gradient_clip=1.0,
                   ema=EMA(self.loss, 0.999) if self.contender.ours else None)

    def train(self) -> dict[str, Any]:
        began = time.perf_counter()
        for _ in range(STEPS):
            step = next(self.steps)
        step.loss.item()                                    # a GPU has finished when it can be read
        return {"images": STEPS * self.batch_size, "seconds": time.perf_counter() - began}

    @torch.no_grad()
    def sample(self) -> dict[str, Any]:
        """Images and seconds, as if for all TIMESTEPS steps."""
        if self.network.training:
            self.network.eval()
            if self.compiled:
                self.network.compile(dynamic=False)
        began = time.perf_counter()
        x = torch.randn(SAMPLED, 49, 6, device=self.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            self.contender.sample(x).sum().item()
        return {"images": SAMPLED,
                "seconds": (time.perf_counter() - began) * TIMESTEPS / REVERSE_STEPS}

    def memory(self) -> dict[str, Any]:
        """The most that this process has held so far, in MB."""
        if self.device.startswith("cuda"):
            return {"peak_mb": torch.cuda.max_memory_allocated() / 1e6}
        try:
            import resource
        except ImportError:                                 # Windows has none
            return {"peak_mb": float("nan")}
        return {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                * (1 if sys.platform == "darwin" else 1024) / 1e6}

    def products(self) -> dict[str, Any]:
        """What matrix products cost: GFLOP of those in one training step; and in each precision
        GFLOP/s of a large one, and of those in the linear layers.
        """
        x0 = torch.randn(2, 49, 6, device=self.device)
        t = torch.zeros(2, dtype=torch.long, device=self.device)
        with FlopCounterMode(display=False) as counter:
            self.loss(x0, t, x0).backward()
        return {"step_gflop": counter.get_total_flops() / len(x0) * self.batch_size / 1e9,
                "gflops": {"fp32": self.speeds(torch.float32),
                           "bf16": self.speeds(torch.bfloat16)}}

    def speeds(self, dtype: torch.dtype) -> dict[str, float]:
        """GFLOP/s of matrix products."""
        options = dict(device=self.device, dtype=dtype)
        square = torch.randn(4096, 4096, **options)
        flop = seconds = 0.0
        for inputs, outputs in LAYERS:
            x, gradient = (torch.randn(self.batch_size * 49, width, **options)
                           for width in (inputs, outputs))
            weight = torch.randn(outputs, inputs, **options)
            flop += 3 * 2 * x.numel() * outputs  # forward, gradient of x, gradient of the weight
            seconds += fastest(lambda x=x, w=weight: x @ w.T)
            seconds += fastest(lambda g=gradient, w=weight: g @ w)
            seconds += fastest(lambda g=gradient, x=x: g.T @ x)
        return {"large": 2 * 4096**3 / fastest(lambda: square @ square) / 1e9,
                "layers": flop / seconds / 1e9}


def fastest(product: Callable[[], Tensor], times: int = 5) -> float:
    """Seconds of the fastest of several runs."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        product()[0, 0].item()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main() -> None:
    """python benchmarks/contenders.py '{"name": ..., "batch_size": ..., "threads": ..., "device":
    ...}'
    """
    worker = None
    for line in sys.stdin:
        try:
            worker = worker or Worker(**json.loads(sys.argv[1]))
            answer = getattr(worker, line.strip())()
        except Exception as error:      # whatever it is, the parent tells it to the user
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
