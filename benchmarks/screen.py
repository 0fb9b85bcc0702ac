"""Which change reaches a smaller distance in the same time? Short trainings, judged on held-out digits.

    python benchmarks/screen.py FOLDER SECONDS RECIPE [FIELD=VALUE ...] [-- RECIPE [FIELD=VALUE ...] ...]

    python benchmarks/screen.py /tmp/screen 300 mnist -- mnist-v -- mnist-v training.learning_rate=1e-3 network.position=rope+learned

Each run trains a denoiser for about SECONDS with one thread, its learning rate annealed to the end, on 55,000 training images; the other
5,000 judge it: Frechet distance of 2,000 samples (16 steps of dpm++2m on the shifted grid, EMA weights) and of reconstructions (the floor
of the autoencoder), and the proxy, which compares only runs of one latent space that are told alike. Autoencoders are trained first, not
counted, and kept in FOLDER; with 0 SECONDS they alone are judged. (The judge's own networks have seen all 60,000 training images.)
Appends a line to benchmarks/screen.jsonl for each run. Two of these at once, one on each core, are fair to each other.
"""

import itertools
import json
import sys
import time
from pathlib import Path

import torch
from nanoldm.experiments.overrides import override
from nanoldm.utils.options import parse_fields
from tqdm import tqdm

from nanoldm.data import ImageSet, load
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import NEAREST, Judge
from nanoldm.evaluation.plots import mean
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.recipes import mnist
from nanoldm.experiments.stages import (
    autoencoder_stage,
    denoiser_stage,
    encode,
    encode_and_normalise,
    proxy_errors,
)
from nanoldm.models import ConvAE
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.files import digest, load_module, save_tensors
from nanoldm.utils.images import to_bytes, to_float

RESULT = Path(__file__).parent / "screen.jsonl"
SAMPLES, SAMPLING = 2000, {"steps": 16, "sampler": "dpm++2m", "grid": "shifted"}
MEASURES = ("frechet_test", "rotation_frechet_test", "confidence")


def autoencoder(recipe: Recipe, train: ImageSet, folder: Path) -> tuple[ConvAE, torch.Tensor]:
    """The recipe's autoencoder, from FOLDER if it is there, and the training set's normalised latents."""
    name = f"{recipe.autoencoder}{recipe.autoencoder_training}{recipe.seed}"
    path = folder / f"{digest({}, recipe=name)[:16]}.safetensors"
    stage = autoencoder_stage(recipe, train.images)
    if path.exists():
        load_module(stage.loss_module.autoencoder, path)
    else:
        for _ in tqdm(stage.run(), total=stage.steps, desc="autoencoder", unit="step", mininterval=10):
            pass
        save_tensors(path, stage.loss_module.autoencoder.state_dict())
    found = stage.loss_module.autoencoder.eval()
    return found, encode_and_normalise(found, train.images)


def screen(recipe: Recipe, train: ImageSet, held_out: ImageSet, judge: Judge, folder: Path, seconds: float, name: str) -> dict:
    found, latents = autoencoder(recipe, train, folder)
    test, limit = encode(found, held_out.images), latents.abs().max().item()
    stage = denoiser_stage(recipe, latents, labels=None if recipe.diffusion.cells else train.labels)

    def judged(images: torch.Tensor) -> dict[str, float]:
        return judge.summarise(judge.observe(to_bytes(images), nearest=False), NEAREST)

    reconstructions = LatentDiffusion(found, stage.averaged.denoiser, limit).reconstruct(to_float(held_out.images))
    floor = {"reconstruction": round(judged(reconstructions)["frechet_test"], 4)}
    if not seconds:
        return floor
    steps = int(seconds / stage.seconds_per_step(5))
    began = time.perf_counter()
    for _ in tqdm(stage.run(steps), total=steps, desc=name, unit="step", mininterval=10):
        pass
    took = time.perf_counter() - began
    samples = judged(LatentDiffusion(found, stage.averaged.denoiser, limit).generate(range(SAMPLES), **SAMPLING))
    proxies = {kind: mean(proxy_errors(loss.denoiser.eval(), test, held_out.labels, limit))
               for kind, loss in (("raw", stage.loss_module), ("ema", stage.averaged))}
    return {"steps": steps, "batch": stage.training.batch_size, "seconds": round(took, 1)} | {
        f"proxy_{kind}": round(value, 5) for kind, value in proxies.items()} | {
        measure: round(samples[measure], 4) for measure in MEASURES} | floor


def main() -> None:
    folder, seconds, *words = sys.argv[1:]
    prepare_torch("cpu", threads=1)
    Path(folder).mkdir(parents=True, exist_ok=True)
    train, held_out = load("mnist", None, 5000)
    judge = Judge(load_features("digits-v1"), train, held_out)
    for name, *fields in (list(run) for separator, run in itertools.groupby(words, lambda word: word == "--") if not separator):
        recipe = override(name, parse_fields(fields), steps=1)          # the length is decided below
        if recipe.data != mnist().data:
            raise SystemExit(f"{name}: only recipes on mnist are screened here")
        found = screen(recipe, train, held_out, judge, Path(folder), float(seconds), " ".join([name, *fields]))
        line = {"recipe": name, "fields": fields, **found}
        print(json.dumps(line), flush=True)
        with open(RESULT, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
