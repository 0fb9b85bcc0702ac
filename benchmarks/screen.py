"""Which change reaches a smaller distance in the same time? Short trainings on held-out digits.

    python benchmarks/screen.py FOLDER SECONDS RECIPE [FIELD=VALUE ...] [-- RECIPE ...]

    python benchmarks/screen.py /tmp/screen 300 mnist -- mnist-v training.learning_rate=1e-3

Each run trains a denoiser for about SECONDS with one thread, its learning rate annealed to the end,
on 55,000 training images. The other 5,000 are the reference of the metrics: Frechet distance of
2,000 samples (16 steps of dpm++2m, spacing shifted, EMA weights) and of reconstructions (the floor
of the autoencoder), and the denoising error, which compares only runs of one latent space with the
same labels. Autoencoders are trained first, not counted, and kept in FOLDER; with 0 SECONDS only
they are measured. (The feature networks were trained on all 60,000 training images.) Appends a line
to benchmarks/screen.jsonl for each run. Two of these at once, one per core, are fair to each other.
"""

import itertools
import json
import sys
import time
from pathlib import Path
from statistics import fmean as mean

from torch import Tensor
from tqdm import tqdm

from nanoldm.data import ImageSet, load
from nanoldm.data.clusters import cluster_latents
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import Judge
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.latents import normalised_latents
from nanoldm.experiments.recipes import find_recipe, mnist
from nanoldm.experiments.stage import Stage
from nanoldm.experiments.stages import autoencoder_stage, denoiser_stage, give_latents, label_count
from nanoldm.models import ConvAE
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.files import digest, load_module, save_tensors
from nanoldm.utils.images import to_bytes, to_float

RESULT = Path(__file__).parent / "screen.jsonl"
SAMPLES, SETTINGS = 2000, Sampling("dpm++2m", 16, "shifted")
METRICS = ("frechet_test", "rotation_frechet_test", "confidence")


def changed(recipe: Recipe, fields: list[str]) -> Recipe:
    """fields: such as training.learning_rate=1e-3; None is None."""
    for field in fields:
        path, _, value = field.partition("=")
        group, _, name = path.partition(".")
        value = None if value == "None" else value
        recipe = recipe.replace(**{group: {name: value} if name else value})
    return recipe


def autoencoder(recipe: Recipe, train: ImageSet, folder: Path) -> tuple[ConvAE, Tensor]:
    """The recipe's autoencoder, from `folder` if possible, and normalised training latents."""
    name = f"{recipe.autoencoder}{recipe.autoencoder_training}{recipe.seed}"
    path = folder / f"{digest({}, recipe=name)[:16]}.safetensors"
    stage = autoencoder_stage(recipe, train.images)
    found = stage.loss_module.autoencoder
    if path.exists():
        load_module(found, path)
    else:
        run(stage, stage.length(len(train)), "autoencoder")
        save_tensors(path, found.state_dict())
    return found.eval(), normalised_latents(found, train.images)


def run(stage: Stage, steps: int, name: str) -> float:
    """Train for `steps` steps -> seconds."""
    began = time.perf_counter()
    for _ in tqdm(stage.run(steps), total=steps, desc=name, unit="step", mininterval=10):
        pass
    return time.perf_counter() - began


def screen(recipe: Recipe, judge: Judge, found: ConvAE, latents: Tensor, seconds: float | None,
           name: str) -> dict:
    """Train and measure one denoiser. found, latents: as `autoencoder` returns them.

    seconds: of the training; None for the steps of the recipe; 0 for the autoencoder alone.
    """
    train, held_out, clusters = judge.train_set, judge.test_set, bool(recipe.diffusion.clusters)
    count = label_count(recipe, train)
    stage = denoiser_stage(recipe, found, count)
    give_latents(stage, recipe, latents,
                 cluster_latents(latents, count) if clusters else train.labels)
    if recipe.precision != "auto":
        stage.use_precision(recipe.precision)
    limit = latents.abs().max().item()
    raw, averaged = (LatentDiffusion(found, loss.denoiser, limit, pseudo_labels=clusters)
                     for loss in (stage.loss_module, stage.averaged))

    def measure(images: Tensor) -> dict[str, float]:
        found = judge.summarise(judge.observe(to_bytes(images), nearest=False))
        return {name: round(found[name], 4) for name in METRICS}

    copies = measure(averaged.reconstruct(to_float(held_out.images)))
    floor = {"reconstruction": copies["frechet_test"]}
    if seconds == 0:
        return floor
    steps = int(seconds / stage.seconds_per_step(5)) if seconds else stage.length(len(latents))
    took = run(stage, steps, name)
    stage.loss_module.eval()
    test = averaged.encode(to_float(held_out.images[:1000]))
    errors = {
        f"denoising_error_{kind}": round(mean(model.denoising_error(test, held_out.labels)),
                                         5) for kind, model in (("raw", raw), ("ema", averaged))
    }
    facts = {"steps": steps, "batch": stage.training.batch_size, "seconds": round(took, 1)}
    return facts | errors | measure(averaged.generate(SAMPLES, settings=SETTINGS)) | floor


def record(**result) -> None:
    """Print a line of results and append it to RESULT."""
    line = json.dumps(result)
    print(line, flush=True)
    with open(RESULT, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def main(folder: Path, seconds: float, words: list[str]) -> None:
    prepare_torch("cpu", threads=1)
    folder.mkdir(parents=True, exist_ok=True)
    train, held_out = load("mnist", None, 5000)
    judge = Judge(load_features("digits-v1"), train, held_out)
    for separator, run_words in itertools.groupby(words, lambda word: word == "--"):
        if separator:
            continue
        name, *fields = run_words
        recipe = changed(find_recipe(name)(), fields)
        if recipe.data != mnist().data:
            raise SystemExit(f"{name}: only recipes on mnist can be screened")
        parts = autoencoder(recipe, train, folder)
        found = screen(recipe, judge, *parts, seconds, " ".join([name, *fields]))
        record(recipe=name, fields=fields, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
