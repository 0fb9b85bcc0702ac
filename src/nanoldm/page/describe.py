"""What the page knows of a model: its networks, its sampling, its names and sizes."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.page.operands import Tape
from nanoldm.page.rows import levels_of
from nanoldm.page.tables import tables_of
from nanoldm.page.tape import record
from nanoldm.pipeline.half import rounded
from nanoldm.pipeline.labels import parse_labels
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.parts import Decoder, Encoder
from nanoldm.utils.errors import InputError
from nanoldm.utils.text import plain, quoted, shell

LARGEST_IMAGE, LARGEST, IMAGES = 256, 400e6, 16  # pixels; bytes; images that are made at a time


def tapes_of(model: LatentDiffusion) -> dict[str, Tape]:
    """The tapes of network, encoder and decoder. Raises InputError."""
    network, autoencoder = rounded(model.denoiser.network), rounded(model.autoencoder)
    last, labels = torch.tensor([model.denoiser.schedule.timesteps - 1]), model.denoiser.labels

    def network_inputs(batch: int) -> dict[str, Tensor]:
        given = {"x": torch.zeros(batch, *model.latent_shape), "t": last}
        return given | ({"label": torch.arange(batch) % labels} if labels else {})

    def latents(batch: int) -> dict[str, Tensor]:
        return {"latents": torch.zeros(batch, *model.latent_shape)}

    def images(batch: int) -> dict[str, Tensor]:
        return {"images": torch.zeros(batch, *model.image_shape)}

    parts = {"network": (network, network_inputs), "encoder": (Encoder(autoencoder), images),
             "decoder": (Decoder(autoencoder), latents)}
    return {name: record(*part, name)
            for name, part in tqdm(parts.items(), desc="networks", unit="network", delay=1)}


def boxes_of(model: LatentDiffusion) -> list[list[int]]:
    """The pixels that each token depends on: [top, bottom, left, right], the ends not included."""
    size, side = model.image_shape[1], math.isqrt(model.autoencoder.tokens)
    rows = torch.eye(size, dtype=torch.bool)[:, None, :, None].expand(-1, 1, -1, size)
    covered = model.autoencoder.tokens_covering(rows)[..., 0]         # (size, tokens)
    marked = [covered[:, token].nonzero()[:, 0].tolist() for token in range(0, side**2, side)]
    spans = [(min(lines), max(lines) + 1) for lines in marked]        # of columns, too
    return [[*spans[row], *spans[column]] for row in range(side) for column in range(side)]


def label_option(number: int, names: Mapping[int, str]) -> str | None:
    """The option of a command that names a class; None if neither its name nor number does."""
    for text in (names[number], str(number)):
        with suppress(InputError):
            named = text.strip() and text.lower() != "none"
            if named and plain(text) == text and parse_labels(text, names) == [number]:
                return quoted(f"--label={text}")
    return None


def check_page_size(tapes: Mapping[str, Tape]) -> None:
    """Raise InputError for a model that is too large for a browser."""
    stored = 2 * sum(weight.numel() for tape in tapes.values() for weight in tape.weights.values())
    used = 4 * max(tape.most_elements(IMAGES) for tape in tapes.values())
    for size, what in ((stored, "a file"), (used, f"memory for {IMAGES} images")):
        if size > LARGEST:
            raise InputError(f"the page would need {what} of {size / 1e6:,.0f} MB, and the limit "
                             f"is {LARGEST / 1e6:,.0f} MB: train a smaller network, or one with "
                             "fewer tokens (network.patch, autoencoder.levels)")


def check_image_size(model: LatentDiffusion) -> None:
    """Raise InputError for images that the page cannot show."""
    channels, size, _ = model.image_shape
    if size > LARGEST_IMAGE or channels not in (1, 3):
        raise InputError(f"the page shows grey and RGB images of at most {LARGEST_IMAGE} x "
                         f"{LARGEST_IMAGE} pixels, and this model makes {channels} x {size} x "
                         f"{size}: train it on smaller images")


def is_light(model: LatentDiffusion) -> bool:
    """Whether the images of a model are mostly light, such as dark strokes on white."""
    return bool(model.decode(torch.zeros(1, *model.latent_shape)).mean() > 0.5)


def classes_of(model: LatentDiffusion) -> list[dict[str, Any]]:
    """Number, name and option of each class that a user can choose."""
    if not model.classes:
        return []
    names = {number: model.class_names.get(number, str(number)) for number in model.label_choices}
    return [{"number": number, "name": text.strip() or str(number),
             "option": label_option(number, names)} for number, text in names.items()]


def describe(model: LatentDiffusion, name: str,
             facts: Mapping[str, str]) -> tuple[dict[str, Any], list[Tensor]]:
    """(the page as JSON, the weights in their order).

    name: of the model, for a command. facts: what the foot of the page says. The model moves to
    the CPU. Raises InputError for a model that the page cannot run.
    """
    check_image_size(model)
    tapes = tapes_of(model.to("cpu"))
    check_page_size(tapes)
    (channels, size, _), (tokens, width) = model.image_shape, model.latent_shape
    parameters = sum(part.numel() for part in model.denoiser.network.parameters())
    page = {
        "model": shell(name), "facts": list(facts.items()),
        "summary": f"{parameters:,} parameters in its denoiser, {size} x {size} pixels as "
        f"{tokens} tokens of {width} channels",
        "image": {"channels": channels, "size": size, "light": is_light(model)},
        "latent": {"tokens": tokens, "channels": width},
        "clamp": None if model.student else model.clip_sample_range,
        "classes": classes_of(model),
        "choices": model.label_choices if model.denoiser.labels else [],
        "levels": levels_of(model.denoiser.schedule, model.denoiser.prediction),
        "boxes": boxes_of(model), **tables_of(model),
        "tapes": {part: tape.described() for part, tape in tapes.items()},
    }
    return page, [weight for tape in tapes.values() for weight in tape.weights.values()]
