"""A whole run, end to end: images -> autoencoder -> statistics -> latents -> denoiser -> run folder. The same call resumes it."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.data import ImageSet, load
from nanoldm.data.clusters import cluster_count
from nanoldm.diffusion.time_sampling import sample_noise_levels
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.log import Figures, Interruption, Metrics, checked_mean
from nanoldm.experiments.plan import Plan, describe, make_plan, read_plan
from nanoldm.experiments.resume import check_one_process, check_run, check_same_images, copy_records, find_damage, model_files, note_place
from nanoldm.experiments.stages import (
    EVALUATION,
    Stage,
    autoencoder_stage,
    denoiser_stage,
    encode,
    encode_and_normalise,
    known,
    proxy_errors,
    training_cells,
)
from nanoldm.models import ConvAE
from nanoldm.pipeline.fast import load_fast
from nanoldm.pipeline.folders import RunFolder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.training import load_checkpoint, save_checkpoint
from nanoldm.utils import images as pictures
from nanoldm.utils.device import check_compiler
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import load_tensors, save_tensors, weights_digest, write_json
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import generator
from nanoldm.utils.text import shell

LOG_EVERY = 10              # steps between two lines of metrics.jsonl
CHECKPOINT_SHARE = 0.01     # of the time may go into checkpoints: a killed run loses a few seconds
GRID_SEEDS = range(16)      # the images that are drawn again and again while training
TEST_IMAGES = 2000          # of the test set, for the test loss


def train(recipe: Recipe, out: str | Path, device: torch.device | str = "cpu", began: float | None = None,
          compiled: bool = False) -> RunFolder:
    """Run `recipe` in the folder `out`, or continue the run that is there; a finished run is left as it is.

    began: time.monotonic() at which the wall time of a budget starts (default: now). compiled: train the denoiser through
    torch.compile; a run gives the same weights again, bit for bit, only if it is compiled again.
    Raises InputError if `out` holds something else or a run of another recipe, TrainingError on a loss that is not finite, and
    KeyboardInterrupt, after a checkpoint, on Ctrl-C.
    """
    began = time.monotonic() if began is None else began
    if compiled:
        check_compiler(device)
    check_one_process()
    run = RunFolder(out)
    check_run(run, recipe)
    train_set, test_set = load(recipe.data.name, recipe.data.size, recipe.data.holdout)
    plan = start_or_resume(run, recipe, (train_set, test_set), device, began, compiled)
    if plan.finished and (damage := find_damage(run, plan)) is None:
        print(f"{run.path} is finished: nothing to do. Draw from it with: nanoldm sample {shell(run.path)}")
        return run
    if plan.finished:
        source = run.checkpoints if run.checkpoint("denoiser").is_file() else "the images, since the checkpoints are gone"
        print(f"the run is finished, but its model is missing or damaged ({damage}): it is made again from {source}")

    with run.locked():
        autoencoder = train_autoencoder(run, recipe, plan, train_set, test_set, device)
        train_denoiser(run, recipe, plan, autoencoder, train_set, test_set, compiled)
        copy_records(run)
        write_json(run.plan, plan.replace(finished=True, model_sha256=model_files(run)).model_dump())
        copy_records(run)
    print(f"finished: the model is in {run.model}, pictures in {run.samples}. Draw from it with: nanoldm sample {shell(run.path)}")
    return run


def start_or_resume(run: RunFolder, recipe: Recipe, data: tuple[ImageSet, ImageSet], device: torch.device | str, began: float,
                    compiled: bool) -> Plan:
    """The plan of the run that is there, or a new one; then both recipe.json and plan.json exist. data: training set and test set."""
    if run.plan.exists():
        plan = read_plan(run.plan)
        check_same_images(run, recipe, plan, data)
        plan = note_place(run, recipe, plan)
        if not plan.finished:
            print(f"resuming the run in {run.path}")
        return plan
    for note in data[0].notes:
        print(f"images: {note}")
    plan, seconds = make_plan(recipe, *data, device, began, compiled)
    print(describe(recipe, plan, seconds))
    with run.locked():
        if run.plan.exists():       # written while this one was planned
            raise InputError(f"another process has begun a run in {run.path} meanwhile: choose another folder with --out")
        write_json(run.recipe, recipe.model_dump())
        write_json(run.plan, plan.model_dump())
    return plan


def train_autoencoder(run: RunFolder, recipe: Recipe, plan: Plan, train_set: ImageSet, test_set: ImageSet,
                      device: torch.device | str) -> ConvAE:
    stage = autoencoder_stage(recipe, train_set.images, device)
    test = to_float(test_set.images[:TEST_IMAGES]).to(device)

    def evaluate(step: int) -> Figures:
        with torch.inference_mode():
            rows = {"test images": test[:16], "reconstructions": stage.averaged.autoencoder(test[:16]).sigmoid()}
            sheet = pictures.captioned((name, pictures.grid(images.cpu(), 16)) for name, images in rows.items())
            pictures.save(sheet, run.samples / "reconstructions.png")
            return {"test_loss": mean_loss(stage.averaged, {"image": test})}

    run_stage(run, stage, plan.autoencoder_steps, plan.autoencoder_steps, evaluate)
    return stage.averaged.autoencoder.eval()


def load_or_make_clusters(run: RunFolder, recipe: Recipe, latents: Tensor, **belongs: str) -> Tensor:
    """The cells of the training latents, found once: a network that has learnt their numbers must not meet others after a resume.

    belongs: the digest of the autoencoder (`save_checkpoint`). Raises InputError if the file is damaged or of other latents.
    """
    file = run.checkpoint("cells")
    if not file.exists():
        save_tensors(file, {"cells": training_cells(recipe, latents)}, **belongs)
    tensors, metadata = load_tensors(file, "remove it, and the same command makes it again")
    cells, most = tensors.get("cells", torch.empty(0)), max(1, cluster_count(recipe.diffusion.cells, len(latents)))
    fits = cells.shape == latents.shape[:1] and cells.dtype == torch.long and cells.min() >= 0 and cells.max() < most
    if not fits or any(metadata.get(name, value) != value for name, value in belongs.items()):
        raise InputError(f"{file} is not of this run's latents: remove the run folder to start again, or choose another with --out")
    return cells


def train_denoiser(run: RunFolder, recipe: Recipe, plan: Plan, autoencoder: ConvAE, train_set: ImageSet, test_set: ImageSet,
                   compiled: bool) -> None:
    latents = encode_and_normalise(autoencoder, train_set.images)
    test_latents, test_labels = encode(autoencoder, test_set.images[:TEST_IMAGES]), test_set.labels[:TEST_IMAGES]
    belongs = {"autoencoder": weights_digest(autoencoder)}
    labels = load_or_make_clusters(run, recipe, latents, **belongs) if recipe.diffusion.cells else train_set.labels
    stage = denoiser_stage(recipe, latents, compiled, labels)
    limit = latents.abs().max().item()
    # Uniform timesteps in every recipe: test losses of recipes can be compared, but not with training losses over other timesteps.
    test = {"x0": test_latents, **sample_noise_levels(test_latents, recipe.diffusion.timesteps, generator(recipe.seed, EVALUATION))}
    names = train_set.names() if (classes := stage.loss_module.denoiser.classes) else None
    if classes:
        test["label"] = known(test_labels, classes).to(test_latents.device)
    weights = {"weights": stage.loss_module, "EMA weights": stage.averaged}
    models = {name: LatentDiffusion(autoencoder, loss.denoiser, limit, class_names=names) for name, loss in weights.items()}

    def evaluate(step: int) -> Figures:
        stage.loss_module.eval()
        sheets = [(f"{name}, step {step}", pictures.grid(model.generate(GRID_SEEDS))) for name, model in models.items()]
        pictures.save(pictures.captioned(sheets, across=True), run.samples / f"step-{step:06d}.png")
        copy_records(run)       # first: where model_index.json is, all else is
        models["EMA weights"].save_pretrained(run.model)
        figures = {"test_loss": mean_loss(stage.loss_module, test), "test_loss_ema": mean_loss(stage.averaged, test),
                   "proxy": proxy_errors(stage.loss_module.denoiser, test_latents, test_labels, limit),
                   "proxy_ema": proxy_errors(stage.averaged.denoiser, test_latents, test_labels, limit)}
        stage.loss_module.train()
        return figures

    gates = getattr(stage.loss_module.denoiser.network, "gates", None)      # only a DiffusionNet has them
    watch = (lambda: {"gates": gates(recipe.diffusion.timesteps)}) if gates else dict
    trained = run_stage(run, stage, plan.denoiser_steps, plan.show_every, evaluate, watch, **belongs)
    if not trained:             # nor shown: but the model may be missing
        copy_records(run)
        with suppress(InputError):      # the few-step setting that `compare --save` stored stays
            models["EMA weights"].fast = load_fast(run.model, stage.averaged.denoiser.schedule)
        models["EMA weights"].save_pretrained(run.model)


@torch.inference_mode()
def mean_loss(loss_module: torch.nn.Module, batch: dict[str, Tensor], size: int = 250) -> float:
    """The mean loss over a large batch, in pieces."""
    parts = zip(*(tensor.split(size) for tensor in batch.values()), strict=True)
    losses = [loss_module(**dict(zip(batch, part, strict=True))).item() * len(part[0]) for part in parts]
    return sum(losses) / len(next(iter(batch.values())))


def run_stage(run: RunFolder, stage: Stage, steps: int, show_every: int, evaluate: Callable[[int], Figures],
              watch: Callable[[], Figures] = dict, **belongs: str) -> bool:
    """Train a stage to its end from its checkpoint, with progress bar, metrics and checkpoints -> whether there was a step left to take.

    evaluate(step) -> figures for the log is called every `show_every` steps and after the last, the cheap watch() with every line.
    belongs: digests that the checkpoint keeps (`save_checkpoint`).
    """
    path, start = run.checkpoint(stage.name), 0
    if path.exists():
        start = load_checkpoint(path, stage.loss_module, stage.optimizer, stage.ema, steps, **belongs)
        print(f"{stage.name}: continuing from step {start:,} of {steps:,}" if start < steps else f"{stage.name}: done")
    metrics, next_save, losses = Metrics(run.metrics, stage.name, start), 0.0, []
    with Interruption() as interrupted, tqdm(desc=stage.name, total=steps, initial=start, unit="step") as bar:
        for step in stage.run(steps, start):
            bar.update()
            losses.append(step.loss)
            showing = step.number % show_every == 0 or step.number == steps
            if not (showing or interrupted or step.number == 1 or step.number % LOG_EVERY == 0):
                continue
            grad_norm = step.grad_norm.item()
            loss = checked_mean(losses, grad_norm, step.number, path)
            bar.set_postfix(loss=f"{loss:.4f}", lr=f"{step.learning_rate:.1e}", refresh=False)
            metrics.write(step.number, loss=loss, learning_rate=step.learning_rate, grad_norm=grad_norm, **watch())
            losses.clear()
            if showing:
                metrics.write(step.number, **evaluate(step.number))
            if showing or interrupted or time.monotonic() > next_save:
                began = time.monotonic()
                save_checkpoint(path, step.number, stage.loss_module, stage.optimizer, stage.ema, **belongs)
                next_save = began + (time.monotonic() - began) / CHECKPOINT_SHARE
            if interrupted:
                raise KeyboardInterrupt(f"{stage.name} stopped at step {step.number:,} of {steps:,}, checkpoint saved: "
                                        "the same command continues the run")
    return start < steps
