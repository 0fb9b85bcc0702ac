"""Distillation: a student that generates in a few passes learns the images of its teacher."""

from pathlib import Path
from typing import Any

from nanoldm.diffusion import ANCESTRAL
from nanoldm.experiments.config import (
    MOST_PASSES,
    PAIRS,
    STUDENT_STEPS,
    Distillation,
    Recipe,
    SamplingFields,
)
from nanoldm.experiments.run import Run
from nanoldm.experiments.run_checks import read_recipe
from nanoldm.experiments.train import train
from nanoldm.pipeline.folders import RECIPE, absolute_model, find_model
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import quick_settings
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import weights_digest
from nanoldm.utils.limits import within

TRAINING = {"optimizer": "Muon", "learning_rate": 2e-3, "annealing": "cosine", "batch_size": 256,
            "gradient_clip": 1.0, "ema_decay": None, "ema_power": 6.94}


def distill(model: str | Path, passes: int = 2, out: str | Path | None = None, *,
            data: Any = None, device: str = "auto", compile: str = "auto",
            **options: Any) -> Run:
    """Train a student of `model` that generates an image in so many network passes -> its run.

    The same as `nanoldm distill`; the same call resumes. The student is a model like its teacher,
    with sampling settings of its own.

    out: the run folder (default: runs/RECIPE-PASSES-pass).
    data: the images of the teacher's training, if a program gave them, as in `train`.
    device, compile: of `train`. options: of `student_recipe`.
    Raises InputError for a model that cannot have students.
    """
    recipe = student_recipe(model, passes, **options)
    return train(recipe, out, data=data, device=device, compile=compile)


def student_recipe(model: str | Path, passes: int = 2, *, pairs: int = PAIRS,
                   steps: int = STUDENT_STEPS, guidance: float = 1.0, seed: int = 0) -> Recipe:
    """The recipe of a student.

    model: the teacher, a name or path.
    passes: network passes of the student per image.
    pairs: images of the teacher that the student learns.
    steps: of the training.
    guidance: scale at which the teacher generates; the student needs no second pass for it.
    seed: of the training.
    Raises InputError for a model without a recipe, with epsilon-prediction, or that is a student.
    """
    within("passes", passes, 1, MOST_PASSES)
    folder = find_model(model)
    teacher = LatentDiffusion.from_pretrained(folder)
    if not (folder / RECIPE).is_file():
        raise InputError(f"{folder / RECIPE} is missing, which says how {model} was trained: copy "
                         "it from the run (nanoldm export does)")
    if teacher.student:
        raise InputError(f"{model} is a student: distill its teacher")
    if teacher.denoiser.prediction == "epsilon":
        raise InputError(f"{model} predicts epsilon, which hardly determines x0 in the first pass: "
                         "distill a model with v-prediction, such as mnist-fast")
    given, own = absolute_model(model), teacher.settings
    if own.sampler in ANCESTRAL:  # whose result depends on more than x_T
        own = quick_settings(teacher.denoiser.schedule)
    teacher.conditioning([0], None, teacher.choose(own, guidance=guidance))  # checks guidance
    sampling = SamplingFields(sampler=own.name, steps=own.steps, spacing=own.spacing)
    distillation = Distillation(teacher=given, pairs=pairs, guidance=guidance, sampling=sampling,
                                network_sha256=weights_digest(teacher.denoiser.network))
    recipe = read_recipe(folder / RECIPE)
    return recipe.replace(
        recipe=f"{recipe.recipe}-{passes}-pass", seed=seed, budget=None, autoencoder_from=given,
        distillation=distillation.model_dump(),
        training=TRAINING | {"steps": steps, "epochs": None},
        sampling={"sampler": "ddim", "steps": passes, "spacing": "shifted"})
