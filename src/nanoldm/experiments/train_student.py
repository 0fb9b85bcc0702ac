"""The second stage of a student's run: its teacher makes images, and the student learns them."""


import torch
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.experiments.config import Recipe
from nanoldm.experiments.latents import load_or_make
from nanoldm.experiments.plan import Plan
from nanoldm.experiments.previews import SEEDS, Sheets, sample_preview
from nanoldm.experiments.run_stage import run_stage
from nanoldm.experiments.stage import Stage
from nanoldm.experiments.stages import as_pairs, give_pairs, sampling_settings, teacher_settings
from nanoldm.experiments.timing import PORTION
from nanoldm.experiments.trackers import Trackers
from nanoldm.experiments.train_denoiser import save_again
from nanoldm.pipeline.folders import RunFolder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.distributed import from_main, gather_rows
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import weights_digest
from nanoldm.utils.images import grid

FIRST_SEED = 10**9  # of the teacher's images; previews and samples use seeds from 0
HELD_OUT = 1000  # of them, for the test loss


def load_teacher(recipe: Recipe, device: torch.device | str) -> LatentDiffusion:
    """The teacher of a student. Raises InputError if it has changed."""
    teacher = LatentDiffusion.from_pretrained(recipe.distillation.teacher, device)
    if weights_digest(teacher.denoiser.network) != recipe.distillation.network_sha256:
        raise InputError(f"{recipe.distillation.teacher} has other weights than when this run "
                         "started: choose another folder (out)")
    return teacher


def train_student(folder: RunFolder, recipe: Recipe, teacher: LatentDiffusion, stage: Stage,
                  plan: Plan, trackers: Trackers) -> None:
    """Record the images of the teacher, then train the student on them."""
    settings = teacher_settings(recipe, teacher.denoiser.schedule)
    made = load_or_make(folder.checkpoint("pairs"), lambda: make_pairs(recipe, teacher, settings),
                        teacher=recipe.distillation.network_sha256)
    pairs = as_pairs(stage, **made)
    give_pairs(stage, {name: values[:-HELD_OUT] for name, values in pairs.items()})
    student = student_of(recipe, teacher, stage)
    held_out = {name: values[-HELD_OUT:] for name, values in pairs.items()}
    theirs = grid(teacher.generate(SEEDS, settings=settings))

    def sheets(step: int) -> Sheets:
        return [("teacher", theirs), (f"student, step {step}", grid(student.generate(SEEDS)))]

    preview = sample_preview(folder, stage, student, held_out, sheets)
    if not run_stage(folder, stage, plan.denoiser_steps, plan.preview_every, preview, trackers,
                     teacher=recipe.distillation.network_sha256):
        from_main(lambda: save_again(folder, student))


def student_of(recipe: Recipe, teacher: LatentDiffusion, stage: Stage) -> LatentDiffusion:
    """The model that the run trains."""
    denoiser = stage.averaged.denoiser
    model = LatentDiffusion(teacher.autoencoder, denoiser, teacher.clip_sample_range,
                            settings=sampling_settings(recipe, denoiser.schedule),
                            class_names=teacher.class_names, pseudo_labels=teacher.pseudo_labels)
    model.student = True
    return model


def make_pairs(recipe: Recipe, teacher: LatentDiffusion, settings: Sampling) -> dict[str, Tensor]:
    """x_T, the latents x0 that the teacher makes of it, and the labels."""
    seeds = range(FIRST_SEED, FIRST_SEED + recipe.distillation.pairs + HELD_OUT)
    labels = teacher.draw_labels(seeds)
    if labels is not None:  # some without a label, as the teacher has learnt
        labels[:: max(2, round(1 / recipe.diffusion.label_dropout))] = -1
    x0 = gather_rows(lambda rows: teacher_latents(
        teacher, settings, seeds[rows], None if labels is None else labels[rows]), len(seeds))
    return {"x_T": teacher.noise(seeds), "x0": x0,
            "labels": torch.full((len(seeds),), -1) if labels is None else labels}


def teacher_latents(teacher: LatentDiffusion, settings: Sampling, seeds: range,
                    labels: Tensor | None) -> Tensor:
    """The latents that the teacher makes of the noise of `seeds` (N, tokens, channels)."""
    settings = teacher.choose(settings)
    found = []
    with tqdm(desc="images of the teacher", total=len(seeds), unit="image", delay=1) as bar:
        for k in range(0, len(seeds), PORTION):
            own = slice(k, k + PORTION)
            given = None if labels is None else labels[own]
            *_, (x, _) = teacher.sample(list(seeds[own]), given, settings)
            found.append(x)
            bar.update(len(x))
    return torch.cat(found)
