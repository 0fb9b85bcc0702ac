"""The page's JavaScript against torch, in node; the vectors are computed here."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nanoldm.editing.inpainting import Known
from nanoldm.editing.interpolation import slerp
from nanoldm.editing.inversion import invert_images
from nanoldm.models import DiffusionNet, LayerNorm, Transformer
from nanoldm.page.tape import record
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling, inpainting_settings, inversion_settings
from nanoldm.utils.images import to_bytes
from nanoldm.utils.noise import philox, portable_choice, portable_normals
from nanoldm.utils.seeding import seeded

HERE = Path(__file__).parent
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")


class Shapes(nn.Module):
    """Views, broadcasts and joins of all kinds."""

    def forward(self, x):
        a, b = x.chunk(2, dim=-1)                                     # (B, 6, 4)
        c = torch.cat((a.transpose(1, 2).reshape(len(x), 6, 4), b), 1)
        d = c[:, 1::2]                                                # (B, 6, 4)
        e = d[:, :, None] - a[:, None, :1]
        return e.permute(2, 1, 0, 3).transpose(0, 2).contiguous() / (1 + b[:, :, None].exp())


class Functions(nn.Module):
    """Every function of one number, and the operators."""

    def forward(self, x):
        y = x.abs() + 0.5
        parts = [x.sin(), x.cos(), x.exp(), y.log(), -x, x.sigmoid(), x.tanh(), x.relu(), y.sqrt(),
                 y.rsqrt(), y.reciprocal(), nn.functional.silu(x), nn.functional.gelu(x), y**1.5,
                 2 - x, x * y, x / y, x + 1, y.pow(x)]
        return torch.stack(parts, 1)


class Attention(nn.Module):
    def forward(self, x):
        q, k, v = x.unflatten(-1, (2, 3, 4)).permute(3, 0, 2, 1, 4)   # (B, 2, tokens, 4) each
        return ((q @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).flatten(2)


class Tokens(nn.Module):
    """A token that is the same for all images, and GELU of a transposed array."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 6))

    def forward(self, x):
        x = torch.cat((self.token.expand(len(x), -1, -1), x), 1)
        return nn.functional.gelu(x.transpose(1, 2)).transpose(1, 2) * self.token.expand_as(x)


class Numbers(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 5)

    def forward(self, label, t):
        return self.table(label + 1) * t[:, None].sin()


def random(*shape):
    return lambda batch: {"x": torch.randn(batch, *shape)}


def operations():
    """name -> (module, inputs of a batch)"""
    with seeded(3):
        return {
            "linear": (nn.Linear(13, 21), random(5, 13)),
            "wide linear": (nn.Linear(64, 40, bias=False), random(64)),
            "attention": (Attention(), random(9, 24)),
            "tokens": (Tokens(), random(3, 6)),
            "norm": (LayerNorm(19), random(3, 19)), "functions": (Functions(), random(4, 5)),
            "shapes": (Shapes(), random(6, 8)),
            "convolution": (nn.Conv2d(3, 5, 4, 2, 1), random(3, 12, 12)),
            "odd convolution": (nn.Conv2d(2, 3, 3, 2, 1), random(2, 7, 7)),
            "transposed": (nn.ConvTranspose2d(5, 3, 4, 2, 1), random(5, 6, 6)),
            "odd transposed": (nn.ConvTranspose2d(5, 1, 3, 2, 1), random(5, 4, 4)),
            "rows": (Numbers(), lambda batch: {"label": torch.arange(batch) % 7 - 1,
                                               "t": torch.tensor([5])}),
            "patches": (denoiser(DiffusionNet, patch=2, labels=3), latents),
            "Transformer": (denoiser(Transformer, labels=3), latents),
        }


def denoiser(kind: type, **options) -> nn.Module:
    """A network whose every layer does something."""
    network = kind(tokens=16, channels=3, width=16, depth=1, heads=2, hidden=24, **options)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network


def latents(batch: int) -> dict:
    return {"x_t": torch.randn(batch, 16, 3), "t": torch.tensor([40]),
            "label": torch.arange(batch) % 4 - 1}


def listed(tensor) -> list:
    return tensor.flatten().tolist()


@torch.no_grad()
def operation_vectors(names=None) -> list[dict]:
    found = []
    for name, (module, inputs) in operations().items():
        if names and name not in names:
            continue
        tape, cases = record(module, inputs, name), []
        for batch in (1, 2, 7):
            given = inputs(batch)
            output = module.double()(*(v.double() if v.is_floating_point() else v
                                       for v in given.values()))
            cases.append({"batch": batch, "inputs": {k: listed(v) for k, v in given.items()},
                          "output": listed(output)})
            module.float()
        found.append({"name": name, "tape": tape.described(), "cases": cases,
                      "weights": [listed(weight) for weight in tape.weights.values()]})
    return found


@torch.no_grad()
def model_vectors(model: LatentDiffusion, file: Path, name: str, steps: int) -> dict:
    """Passes, images and trajectories of a model whose weights are float16 numbers."""
    model.use_rng("portable")
    last, passes = model.denoiser.schedule.timesteps - 1, []
    for k in range(8):
        x, t = model.noise([k, 90 + k]), round(last * k / 7)
        labels = [-1, k % max(model.classes, 1)]
        given = [torch.tensor(labels)] if model.denoiser.labels else []
        output = model.denoiser.network(x, torch.tensor([t]), *given)
        passes.append({"x": listed(x), "t": t, "labels": labels, "output": listed(output)})
    pixels = model.generate(range(50, 58))
    latents = model.encode(pixels)
    images = {"pixels": listed(pixels), "latents": listed(latents),
              "decoded": listed(model.decode(latents))}
    return {"name": name, "file": str(file), "passes": passes, "images": images,
            "bounds": {"pass": 2e-5, "trajectory": 1e-3},
            "trajectories": trajectories(model, pixels[:1], steps)}


def trajectories(model: LatentDiffusion, image, steps: int) -> list[dict]:
    """Sampling, with and without guidance, from noise and from an image, forth and back."""
    found, seeds = [], [7, 8, 2**40 + 1]
    labels = [3, -1, 5] if model.classes else None

    def add(what, settings, table, start=None, wrap=None, **job):
        chosen, given = model.choose(settings, start=start), job.get("labels")
        found_labels = model.conditioning(seeds, given, chosen)
        x = torch.tensor(job["x"]).reshape(3, *model.latent_shape) if "x" in job else None
        run = [*model.sample(seeds, found_labels, chosen, x, wrap)]
        images = listed(to_bytes(model.decode(run[-1][0])))
        found.append({"what": what, "job": {"seeds": seeds, "table": table, **job}, "last": images,
                      "steps": [{"x": listed(x), "x0": listed(e.x0)} for x, e in run]})

    for name in ("ab3", "dpm++2m", "ddim", "heun", "ddpm"):
        own = {"labels": labels} if labels else {}
        add(f"{steps} steps of {name}", Sampling(name, steps, "shifted"),
            ["samplers", name, str(steps)], **own)
    own = model.settings
    add("random labels", own, ["samplers", own.name, str(own.steps)])
    if labels:
        guided = Sampling("ab3", steps, "shifted", guidance=2.5)
        add("guidance", guided, ["samplers", "ab3", str(steps)], labels=labels, guidance=2.5)
    mask = torch.zeros(1, 1, *image.shape[-2:], dtype=torch.bool)
    mask[..., image.shape[-1] // 2:] = True
    add("inpainting", inpainting_settings(model.denoiser.schedule), ["inpainting"],
        wrap=lambda denoise: Known(denoise, model, image, mask), masked=listed(mask),
        labels=[-1] * 3)
    path = Sampling("ddim", 20)
    x_T = invert_images(model, image, inversion_settings().changed(steps=20))
    found.append({"what": "inversion", "last": None, "steps": [{"x": listed(x_T)}],
                  "job": {"seeds": [0], "labels": [-1], "table": ["inversion"],
                          "x": listed(model.encode(image))}})
    add("the path", path, ["path"], labels=[-1] * 3)
    return found


@torch.no_grad()
def write_vectors(path: Path, models: list[dict], names=None) -> None:
    ones, pi = [0xFFFFFFFF] * 4, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    keys = [[0, 0], ones[:2], [0xA4093822, 0x299F31D0]]
    words = [[counter, key, philox(np.array([counter]), key)[0].tolist()]
             for counter, key in zip([[0] * 4, ones, pi], keys, strict=True)]
    bits = np.array([0, 1, 0x03FF, 0x0400, 0x3C00, 0xBC01, 0x7BFF, 0x8001], np.uint16)
    a, b = torch.randn(2, 1, 40)
    content = {
        "philox": words, "models": models, "operations": operation_vectors(names),
        "normals": [[seed, draw, portable_normals(seed, draw, 64).tolist()]
                    for seed in (0, 7, 2**40 + 3) for draw in (0, 5)],
        "labels": [[seed, [*range(12)], portable_choice(seed, 12)] for seed in range(20)],
        "halves": [bits.tolist(), bits.view(np.float16).astype(float).tolist()],
        "slerp": {"a": listed(a), "b": listed(b),
                  "between": [[s, listed(slerp(a, b, s))] for s in (0, 0.25, 0.9, 1)]},
    }
    path.write_text(json.dumps(content))


def run_node(vectors: Path) -> None:
    done = subprocess.run(["node", "--test", HERE / "parity.test.mjs"], capture_output=True,
                          text=True, env={"VECTORS": str(vectors), "PATH": "/usr/bin:/bin"})
    failures = [part for part in done.stdout.split("# Subtest: ") if "\nnot ok" in part]
    assert done.returncode == 0, "\n".join(part[:400] for part in failures)
    assert "# pass 0" not in done.stdout


@needs_node
def test_the_generator_and_some_operations_are_those_of_python(tmp_path):
    names = ("attention", "shapes", "odd transposed")
    write_vectors(tmp_path / "vectors.json", [], names)
    run_node(tmp_path / "vectors.json")


@pytest.mark.slow
@needs_node
def test_the_page_computes_what_torch_computes(colourful, page, tmp_path):
    write_vectors(tmp_path / "vectors.json", [model_vectors(colourful, page, "colourful", 6)])
    run_node(tmp_path / "vectors.json")
