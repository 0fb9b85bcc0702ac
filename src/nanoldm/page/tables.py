"""The sampling settings that the page offers, as tables of rows."""

from dataclasses import replace
from typing import Any

from tqdm.auto import tqdm

from nanoldm.diffusion.inversion import ITERATIONS
from nanoldm.page.rows import inversion_rows, rows_of
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import (
    Sampling,
    capped,
    inpainting_settings,
    inversion_settings,
    quick_settings,
)
from nanoldm.utils.errors import InputError

SAMPLERS, STEPS = ("ab3", "dpm++2m", "ddim", "heun", "ddpm"), (4, 6, 8, 12, 20, 50)
MOST_EVALUATIONS = 32  # of the settings that the page begins with
MOST_TIMESTEPS = 250  # of which the page offers all
STARTS = 50  # noise levels of the slider
PATH_STEPS = 20  # of ddim, between two images


def own_settings(model: LatentDiffusion) -> Sampling:
    """The settings that the page begins with: the model's own, or quick ones if those are slow.

    Of the model's own: sampler, steps and spacing, which a command can name.
    """
    schedule, own = model.denoiser.schedule, model.settings
    slow = callable(own.sampler) or own.nfe(schedule) > MOST_EVALUATIONS
    settings = quick_settings(schedule) if slow else own
    return Sampling(settings.sampler, settings.steps or schedule.timesteps, settings.spacing)


def options(settings: Sampling) -> str:
    """The options of these settings on the command line."""
    return f"--sampler {settings.name} --steps {settings.steps} --spacing {settings.spacing}"


def table(model: LatentDiffusion, settings: Sampling) -> dict[str, Any]:
    """Rows of settings, and the options of a command that uses them."""
    chosen = model.choose(settings)
    return {"rows": rows_of(chosen, model.denoiser.schedule), "options": options(settings)}


def samplers_of(model: LatentDiffusion, own: Sampling) -> dict[str, dict[int, Any]]:
    """{sampler: {steps: table}}, the page's own settings among them."""
    total, found = model.denoiser.schedule.timesteps, {}
    steps = [count for count in STEPS if count < total]
    choices = [Sampling(name, count, "shifted") for name in SAMPLERS for count in steps]
    if total <= MOST_TIMESTEPS:
        choices += [Sampling(name, total) for name in SAMPLERS]
    for settings in tqdm([own, *choices], desc="samplers", unit="table", delay=1):
        try:
            rows = table(model, settings)
        except InputError:  # it divides by an alpha of 0, or the model is a student
            continue
        found.setdefault(settings.name, {}).setdefault(settings.steps, rows)
    return {name: dict(sorted(tables.items())) for name, tables in found.items()}


def starts_of(model: LatentDiffusion, own: Sampling) -> list[dict[str, Any]]:
    """The noise levels of the slider, those that a student knows: t, and the rows from there."""
    last, found = model.denoiser.schedule.timesteps - 1, []
    levels = sorted({round(last * k / (STARTS - 1)) for k in range(STARTS)})
    if model.student:
        levels = sorted(model.choose(own).timesteps)
    for t in tqdm(levels, desc="noise levels", unit="table", delay=1):
        settings = own if model.student else capped(own, t)
        rows = rows_of(model.choose(settings, start=t), model.denoiser.schedule)
        found.append({"t": t, "rows": rows, "options": options(settings)})
    return found


def tables_of(model: LatentDiffusion) -> dict[str, Any]:
    """All tables: for new images, noised images, inpainting, the path between two, inversion.

    A student has its own settings in all of them, and no inversion.
    """
    own, schedule = own_settings(model), model.denoiser.schedule
    steps = min(PATH_STEPS, schedule.timesteps)
    path, inversion = model.settings_for(replace(inversion_settings(), steps=steps)), None
    if not model.student:
        visited = model.choose(path).timesteps
        inversion = {"rows": inversion_rows(schedule, visited, ITERATIONS)}
    return {"own": {"sampler": own.name, "steps": own.steps},
            "samplers": samplers_of(model, own), "starts": starts_of(model, own),
            "inpainting": table(model, model.settings_for(inpainting_settings(schedule))),
            "path": table(model, path), "inversion": inversion}
