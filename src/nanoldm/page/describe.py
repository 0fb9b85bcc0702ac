"""What the page knows of a model: its tapes, its samplers as rows, its names and sizes."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.page.operands import Tape
from nanoldm.page.rows import inversion_rows, levels_of, rows_of
from nanoldm.page.tape import record
from nanoldm.pipeline.half import rounded
from nanoldm.pipeline.labels import parse_labels
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.parts import Decoder, Encoder
from nanoldm.pipeline.settings import (
    Sampling,
    inpainting_settings,
    inversion_settings,
    quick_settings,
)
from nanoldm.utils.errors import InputError
from nanoldm.utils.text import plain, shell

SAMPLERS, STEPS = ("ab3", "dpm++2m", "ddim", "heun", "ddpm"), (4, 6, 8, 12, 20, 50)
MOST_EVALUATIONS = 32  # of the settings that the page begins with
MOST_TIMESTEPS = 250  # of which the page offers all
STARTS = 50  # noise levels of the slider
PATH_STEPS, ITERATIONS = 20, 3  # between two images: of ddim, and of its inversion
LARGEST_IMAGE, LARGEST, IMAGES = 256, 400e6, 16  # pixels; bytes; images that are made at a time


def tapes_of(model: LatentDiffusion) -> dict[str, Tape]:
    """The tapes of network, encoder and decoder. Raises InputError."""
    network, autoencoder = rounded(model.denoiser.network), rounded(model.autoencoder)
    last, labels = torch.tensor([model.denoiser.schedule.timesteps - 1]), model.denoiser.labels

    def network_inputs(batch: int) -> dict[str, Tensor]:
        given = {"x": torch.randn(batch, *model.latent_shape), "t": last}
        return given | ({"label": torch.arange(batch) % labels} if labels else {})

    def latents(batch: int) -> dict[str, Tensor]:
        return {"latents": torch.randn(batch, *model.latent_shape)}

    def images(batch: int) -> dict[str, Tensor]:
        return {"images": torch.rand(batch, *model.image_shape)}

    parts = {"network": (network, network_inputs), "encoder": (Encoder(autoencoder), images),
             "decoder": (Decoder(autoencoder), latents)}
    return {name: record(*part, name)
            for name, part in tqdm(parts.items(), desc="networks", unit="network", delay=1)}


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
        except InputError:  # a sampler that divides by alpha, on a schedule that reaches 0
            continue
        found.setdefault(settings.name, {}).setdefault(settings.steps, rows)
    return {name: dict(sorted(tables.items())) for name, tables in found.items()}


def starts_of(model: LatentDiffusion, own: Sampling) -> list[dict[str, Any]]:
    """The noise levels of the slider: t, and the rows from there."""
    last, found = model.denoiser.schedule.timesteps - 1, []
    levels = sorted({round(last * k / (STARTS - 1)) for k in range(STARTS)})
    for t in tqdm(levels, desc="noise levels", unit="table", delay=1):
        settings = replace(own, steps=min(own.steps, t + 1))
        rows = rows_of(model.choose(settings, start=t), model.denoiser.schedule)
        found.append({"t": t, "rows": rows, "options": options(settings)})
    return found


def boxes_of(model: LatentDiffusion) -> list[list[int]]:
    """The pixels that each token depends on: [top, bottom, left, right], the ends not included."""
    size, tokens = model.image_shape[1], model.autoencoder.tokens
    marks = torch.eye(size, dtype=torch.bool)
    found = []
    for lines in (marks[:, None, :, None].expand(-1, 1, -1, size),
                  marks[:, None, None, :].expand(-1, 1, size, -1)):
        covered = torch.cat([model.autoencoder.tokens_covering(line[None].to(model.device))
                             for line in lines])[..., 0].cpu()         # (size, tokens)
        for token in range(tokens):
            marked = covered[:, token].nonzero()[:, 0].tolist()
            found.append([min(marked), max(marked) + 1])
    return [[*found[token], *found[tokens + token]] for token in range(tokens)]


def label_option(number: int, names: Mapping[int, str]) -> str | None:
    """The option of a command that names a class; None if neither its name nor number does."""
    for text in (names[number], str(number)):
        with suppress(InputError):
            named = text.strip() and text.lower() != "none"
            if named and plain(text) == text and parse_labels(text, names) == [number]:
                return shlex.quote(f"--label={text}")
    return None


def check_memory(tapes: Mapping[str, Tape]) -> None:
    """Raise InputError for a model that is too large for a browser."""
    stored = 2 * sum(weight.numel() for tape in tapes.values() for weight in tape.weights.values())
    used = 4 * max(tape.most_elements(IMAGES) for tape in tapes.values())
    for size, what in ((stored, "a file"), (used, f"memory for {IMAGES} images")):
        if size > LARGEST:
            raise InputError(f"the page would need {what} of {size / 1e6:,.0f} MB, and the limit "
                             f"is {LARGEST / 1e6:,.0f} MB: train a smaller network, or one with "
                             "fewer tokens (network.patch, autoencoder.levels)")


def describe(model: LatentDiffusion, name: str,
             facts: Mapping[str, str]) -> tuple[dict[str, Any], list[Tensor]]:
    """(the page as JSON, the weights in their order).

    name: of the model, for a command. facts: what the foot of the page says. The model moves to
    the CPU.
    Raises InputError for a model that the page cannot run.
    """
    channels, size, _ = model.image_shape
    if size > LARGEST_IMAGE or channels not in (1, 3):
        raise InputError(f"the page shows grey and RGB images of at most {LARGEST_IMAGE} x "
                         f"{LARGEST_IMAGE} pixels, and this model makes {channels} x {size} x "
                         f"{size}: train it on smaller images")
    model.to("cpu")
    own, schedule = own_settings(model), model.denoiser.schedule
    tapes, (tokens, width) = tapes_of(model), model.latent_shape
    check_memory(tapes)
    path = replace(inversion_settings(), steps=min(PATH_STEPS, schedule.timesteps))
    visited = model.choose(path).timesteps
    numbers = model.label_choices if model.denoiser.labels else []
    names = {number: model.class_names.get(number, str(number)) for number in numbers}
    classes = [{"number": number, "name": text.strip() or str(number),
                "option": label_option(number, names)}
               for number, text in names.items()] if model.classes else []
    page = {
        "model": shell(name), "facts": list(facts.items()),
        "image": {"channels": channels, "size": size},
        "latent": {"tokens": tokens, "channels": width}, "clamp": model.clip_sample_range,
        "classes": classes, "choices": numbers,
        "own": {"sampler": own.name, "steps": own.steps},
        "levels": levels_of(schedule, model.denoiser.prediction),
        "samplers": samplers_of(model, own), "starts": starts_of(model, own),
        "inpainting": table(model, inpainting_settings(schedule)), "path": table(model, path),
        "inversion": {"rows": inversion_rows(schedule, visited, ITERATIONS)},
        "boxes": boxes_of(model),
        "tapes": {part: tape.described() for part, tape in tapes.items()},
    }
    parameters = sum(part.numel() for part in model.denoiser.network.parameters())
    page["summary"] = (f"{parameters:,} parameters in its denoiser, {size} x {size} pixels as "
                       f"{tokens} tokens of {width} channels")
    return page, [weight for tape in tapes.values() for weight in tape.weights.values()]
