"""How near to real digits other libraries come in the same time, each with its own example.

    python benchmarks/peers.py FOLDER --minutes 10 --names nanoldm diffusers

A peer trains for MINUTES on two cores and then generates SAMPLES images with its own sampler;
`nanoldm evaluate --samples` measures them. Peers are the networks, losses, optimisers and samplers
of the libraries' examples, at a size and a batch that a CPU can train. Run it on an idle machine,
or name the `--steps` that a peer takes in MINUTES there, such as three times those of 10 minutes.
Adds each result to benchmarks/peers.json and draws docs/peers.png.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import tyro
from curve import ROOT, measured, run
from throughput import machine
from torch import Tensor, nn
from tqdm.auto import tqdm

from nanoldm.data import load
from nanoldm.data.npz import load_images, save_npz
from nanoldm.evaluation import plots as charts
from nanoldm.training import EMA
from nanoldm.utils import images as pictures
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.files import read_json, write_json

RESULT = ROOT / "benchmarks" / "peers.json"
SAMPLES, BATCH, STEPS = 2000, 64, 50  # images to measure; images per training step; of DDIM


class Peer(NamedTuple):
    """The example of a library.

    loss: images (B, 1, 28, 28) in [-1, 1] -> scalar. sample: n -> images (n, 1, 28, 28) in [-1, 1].
    optimizer: of the parameters. ema: decay. annealed: whether the learning rate falls to 0.
    """

    network: nn.Module
    loss: Callable[[Tensor], Tensor]
    sample: Callable[[int], Tensor]
    optimizer: Callable[..., torch.optim.Optimizer]
    ema: float
    annealed: bool = False


def diffusers_unet() -> Peer:
    """UNet2DModel as in Hugging Face's diffusion course (MNIST), trained as in the library's
    unconditional example."""
    from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

    network = UNet2DModel(sample_size=28, in_channels=1, out_channels=1, layers_per_block=2,
                          block_out_channels=(32, 64, 64),
                          down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
                          up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"))
    noising, sampler = DDPMScheduler(1000), DDIMScheduler(1000)

    def loss(images: Tensor) -> Tensor:
        eps, t = torch.randn_like(images), torch.randint(1000, (len(images),))
        return (network(noising.add_noise(images, eps, t), t).sample - eps).pow(2).mean()

    def sample(count: int) -> Tensor:
        x = torch.randn(count, 1, 28, 28)
        sampler.set_timesteps(STEPS)
        for t in sampler.timesteps:
            x = sampler.step(network(x, t).sample, t, x).prev_sample
        return x

    adamw = partial(torch.optim.AdamW, lr=4e-4, betas=(0.95, 0.999), weight_decay=1e-6)
    # The example's EMA has the decay 1 - (1 + step)^-0.75: 0.99 after 450 steps.
    return Peer(network, loss, sample, adamw, ema=0.99, annealed=True)


def smalldiffusion_dit() -> Peer:
    """examples/fashion_mnist_dit.py, with batches of 64 images instead of 1,024."""
    from smalldiffusion import DiT, ScheduleDDPM, samples
    from smalldiffusion.diffusion import generate_train_sample

    network = DiT(in_dim=28, channels=1, patch_size=2, depth=6, head_dim=32, num_heads=6,
                  mlp_ratio=4.0)
    schedule = ScheduleDDPM(beta_start=0.0001, beta_end=0.02, N=1000)

    def loss(images: Tensor) -> Tensor:
        x0, sigma, eps, condition = generate_train_sample(images, schedule)
        return network.get_loss(x0, sigma, eps, cond=condition)

    def sample(count: int) -> Tensor:
        return list(samples(network, schedule.sample_sigmas(20), gam=1.6, batchsize=count))[-1]

    return Peer(network, loss, sample, partial(torch.optim.AdamW, lr=1e-3), ema=0.99)


def lucidrains_unet() -> Peer:
    """denoising-diffusion-pytorch: the README's Unet and GaussianDiffusion, 32 instead of 64 wide,
    three levels instead of four, and DDIM with fewer steps."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet

    network = Unet(dim=32, dim_mults=(1, 2, 4), channels=1)
    diffusion = GaussianDiffusion(network, image_size=28, timesteps=1000,
                                  sampling_timesteps=STEPS)

    def loss(images: Tensor) -> Tensor:
        return diffusion((images + 1) / 2)

    def sample(count: int) -> Tensor:
        return diffusion.sample(batch_size=count) * 2 - 1

    return Peer(network, loss, sample, partial(torch.optim.Adam, lr=8e-5, betas=(0.9, 0.99)),
                ema=0.995)


PEERS = {"diffusers": diffusers_unet, "smalldiffusion": smalldiffusion_dit,
         "denoising-diffusion-pytorch": lucidrains_unet}


def train(peer: Peer, images: Tensor, seconds: float, most: int | None = None) -> int:
    """Train for some seconds, or `most` steps, and return the steps taken.

    Leaves the EMA weights in the network.
    """
    parameters, ema = list(peer.network.parameters()), EMA(peer.network, peer.ema)
    optimizer, steps, began, done = peer.optimizer(parameters), 0, time.monotonic(), 0.0
    rate = optimizer.param_groups[0]["lr"]
    with tqdm(total=1000, desc="training") as bar:
        while done < 1:
            if peer.annealed:
                fraction = torch.tensor(torch.pi * done)
                optimizer.param_groups[0]["lr"] = rate * (1 + fraction.cos().item()) / 2
            batch = images[torch.randint(len(images), (BATCH,))].float() / 127.5 - 1
            loss = peer.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            steps += 1
            ema.update(steps)
            done = steps / most if most else (time.monotonic() - began) / seconds
            bar.set_postfix(step=steps, loss=f"{loss.item():.4f}", refresh=False)
            bar.update(round(1000 * done) - bar.n)
    peer.network.load_state_dict(ema.module.state_dict())
    return steps


@torch.no_grad()
def generate(peer: Peer, count: int, batch: int = 250) -> Tensor:
    """Images (count, 1, 28, 28), uint8."""
    peer.network.eval()
    parts = [peer.sample(min(batch, count - k)) for k in
             tqdm(range(0, count, batch), desc="sampling", unit="batch")]
    return ((torch.cat(parts) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def race(folder: Path, name: str, minutes: int, seed: int, most: int | None) -> dict[str, Any]:
    """Train, generate and measure one peer, or nanoldm, unless FOLDER has its samples already."""
    file = folder / f"{name}-{minutes}m-{seed}.npz"
    facts = file.with_suffix(".json")
    if not facts.exists():
        began = time.monotonic()
        if name == "nanoldm":
            model = folder / file.stem
            run("train", "mnist-fast", "--budget", f"{minutes}m", "--seed", seed, "--out", model)
            trained = time.monotonic() - began
            steps = read_json(model / "plan.json")["denoiser_steps"]
            run("sample", model, "--n", SAMPLES, "--npz", file, "--out", file.with_suffix(".png"))
        else:
            torch.manual_seed(seed)
            peer = PEERS[name]()
            steps = train(peer, load("mnist")[0].images, 60 * minutes, most)
            trained = time.monotonic() - began
            save_npz(file, generate(peer, SAMPLES))
        write_json(facts, {"seconds": trained, "steps": steps,
                           "sampling_seconds": time.monotonic() - began - trained})
    judged = folder / f"{file.stem}-judged"
    run("evaluate", "--samples", file, "--out", judged)
    return {"name": name, "minutes": minutes, "seed": seed, "machine": machine(),
            "samples": SAMPLES, **read_json(facts), **measured(read_json(judged / "report.json"))}


def draw(folder: Path, rows: list[dict[str, Any]]) -> None:
    """64 images of each, side by side, under their Frechet distances."""
    files = [(row, folder / f"{row['name']}-{row['minutes']}m-{row['seed']}.npz") for row in rows]
    files = [(row, file) for row, file in files if file.exists()]
    sheet, axes = charts.figure(1, len(files), height=3.6)
    for ax, (row, file) in zip(axes, files, strict=True):
        images = load_images(file).images[:64, 0]
        grid = images.unflatten(0, (8, 8)).transpose(1, 2).flatten(2).flatten(0, 1)
        ax.imshow(grid, cmap="gray", vmin=0, vmax=255)
        ax.set_title(f"{row['name']}, {row['minutes']} min\nFrechet {row['frechet_test'][0]:.1f}",
                     fontsize=9)
        ax.axis("off")
    pictures.save(charts.picture(sheet), ROOT / "docs" / "peers.png")


def main(folder: tyro.conf.Positional[Path], minutes: int = 10, seed: int = 0,
         names: tuple[str, ...] = ("nanoldm", *PEERS), steps: int | None = None) -> None:
    prepare_torch("cpu")
    folder.mkdir(parents=True, exist_ok=True)
    rows = json.loads(RESULT.read_text()) if RESULT.exists() else []
    for name in names:
        row = race(folder, name, minutes, seed, steps)
        keyed = {(r["name"], r["minutes"], r["seed"], r["machine"]): r for r in [*rows, row]}
        rows = [keyed[key] for key in sorted(keyed)]
        write_json(RESULT, rows)
        print(f"{name}: Frechet distance {row['frechet_test'][0]:.2f}", flush=True)
    draw(folder, [row for row in rows if row["minutes"] == minutes and row["seed"] == seed])


if __name__ == "__main__":
    tyro.cli(main)
