"""How long a run will take, and how many steps fit into a wall-time budget. Decided once, when a run starts, and stored."""

import math
import time
from pathlib import Path

import torch
from torch import Tensor

from nanoldm.data import ImageSet
from nanoldm.diffusion import LOG_SNRS
from nanoldm.experiments.config import Length, Recipe
from nanoldm.experiments.stages import PROXY_LATENTS, Stage, autoencoder_stage, count_classes, denoiser_stage, encode
from nanoldm.models import NETWORKS, ConvAE
from nanoldm.models.autoencoder import token_side
from nanoldm.utils.config import Config
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, refusing
from nanoldm.utils.images import images_at_a_time
from nanoldm.utils.limits import LARGEST_SIZE, check_memory
from nanoldm.utils.text import duration

AUTOENCODER_SHARE = 0.2     # of a budget, at most
SHOW_SHARE = 0.05           # of the denoiser's time for sample grids and test losses, at most
SHOWS = 8                   # of them in a run, at most
FEWEST = {"autoencoder_training": 1000, "training": 2000}       # steps of a stage below which it learns little


class Plan(Config):
    """plan.json: what is fixed when a run starts. A resumed run reads it instead of measuring again."""

    autoencoder_steps: Length
    denoiser_steps: Length
    show_every: Length                  # steps between two sample grids
    images_sha256: str                  # of the training images, with their labels where the network is told them
    test_sha256: str | None = None      # the same of the test images
    finished: bool = False
    model_sha256: dict[str, str] | None = None      # of a finished run: each file of its model


def read_plan(file: Path) -> Plan:
    """Raises InputError for a file that holds no plan."""
    with refusing(file):
        return Plan.model_validate(read_json(file))


def plan_of(folder: Path) -> Plan | None:
    """The plan of the run that a model in `folder` is of; None for a model that says nothing about it. Raises InputError."""
    files = [folder / "plan.json"] + [folder.parent / "plan.json"] * (folder.name == "model")       # older runs have it there alone
    return next((read_plan(file) for file in files if file.is_file()), None)


def make_plan(recipe: Recipe, train_set: ImageSet, test_set: ImageSet, device: torch.device | str, began: float,
              compiled: bool = False) -> tuple[Plan, float]:
    """(plan, expected seconds from now). Times a few steps of both stages on copies that are thrown away."""
    probe = (recipe.budget or 0) * 0.015 + 1      # seconds of timing for each stage
    images = train_set.images
    check_room(recipe, train_set, device)
    first = autoencoder_stage(recipe, images, device)
    autoencoder = first.loss_module.autoencoder
    latents = torch.randn(len(images), autoencoder.tokens, autoencoder.latent_channels, device=device)
    second = denoiser_stage(recipe, latents, compiled, any_labels(recipe, train_set.labels))
    step_1, step_2, show = first.seconds_per_step(probe), second.seconds_per_step(probe), seconds_per_show(second)
    encoding = seconds_to_encode(first, images)

    if recipe.budget is None:
        steps_1, steps_2 = first.steps, second.steps
        shows = shows_within(steps_2 * step_2, show)
    else:
        left = recipe.budget - (time.monotonic() - began) - encoding
        steps_1 = min(max(first.steps, least_steps(recipe)["autoencoder_training"]), int(AUTOENCODER_SHARE * left / step_1))
        left -= steps_1 * step_1
        shows = shows_within(left, show)
        steps_2 = int((left - shows * show) / step_2)
        if min(steps_1, steps_2) < 1:
            before = recipe.budget - left + shows * show
            raise InputError(f"a budget of {recipe.budget:g} s is too short: start, timing, encoding, pictures take about {before:.0f} s "
                             f"here before there is time for one step of each stage: give --budget {3 * before:.0f}s or more")
    seconds = encoding + steps_1 * step_1 + steps_2 * step_2 + shows * show
    train_sha256, test_sha256 = (data.digest(recipe.diffusion.uses_labels) for data in (train_set, test_set))
    return Plan(autoencoder_steps=steps_1, denoiser_steps=steps_2, show_every=-(-steps_2 // shows), images_sha256=train_sha256,
                test_sha256=test_sha256), seconds


def check_room(recipe: Recipe, train_set: ImageSet, device: torch.device | str) -> None:
    """Raise InputError if the images are of a size that the recipe cannot take, or a run on the CPU would take more memory than there
    is."""
    check_size(recipe, train_set.images.shape[-1])
    if torch.device(device).type == "cpu":
        check_memory(memory(recipe, train_set), f"{recipe.recipe} with {len(train_set):,} images",
                     "choose a smaller network, batch (training.batch_size) or --size, or fewer images")


def check_size(recipe: Recipe, size: int) -> None:
    """Raise InputError, with sizes that work, unless images of size x size become tokens that the network can cut into its patches."""
    levels, patch = recipe.autoencoder.levels, recipe.network.patch

    def fits(side: int) -> bool:
        return side > 2 ** (levels - 1) and token_side(side, levels) % patch == 0

    if not fits(size):
        below, above = (next(filter(fits, sides), None) for sides in (range(size, 0, -4), range(size, LARGEST_SIZE + 1, 4)))
        near = " or ".join(str(side) for side in (below, above) if side)
        mend = f"give --size {near}" if near else "choose fewer levels (autoencoder.levels) or a smaller patch (network.patch)"
        raise InputError(f"images of {size}x{size} pixels do not fit {recipe.recipe}, which halves their side {levels} times and cuts the "
                         f"result into patches of {patch}x{patch}: {mend}")


def memory(recipe: Recipe, train_set: ImageSet) -> float:
    """Bytes that a run takes at its peak beside the images, about. Networks are counted on torch's meta device, where they take none."""
    side, number = train_set.images.shape[-1], 4
    batch, first, second = recipe.training.batch_size, recipe.autoencoder_training, recipe.network
    with torch.device("meta"):
        autoencoder = ConvAE(side, train_set.images.shape[1], **recipe.autoencoder.model_dump())
        network = NETWORKS[second.kind](autoencoder.tokens, autoencoder.latent_channels, classes=count_classes(
            recipe, any_labels(recipe, train_set.labels)), cells=recipe.diffusion.cells or 0, **second.model_dump(exclude={"kind"}))
    parameters = sum(p.numel() for module in (autoencoder, network) for p in module.parameters())
    maps = max(first.batch_size, images_at_a_time(train_set.images)) * side**2 * recipe.autoencoder.hidden_channels
    tokens = batch * network.patches * (16 * second.width + 4 * second.hidden) * second.depth
    weights = 3 * batch * second.heads * network.patches**2 * second.depth      # of attention
    latents = 3 * len(train_set) * autoencoder.tokens * autoencoder.latent_channels
    return number * (10 * parameters + max(2 * maps, tokens + weights) + latents)       # 10: gradients, moments, EMA, copies to be timed


def any_labels(recipe: Recipe, labels: Tensor) -> Tensor:
    """The data's labels, or for a recipe with cells any (N,): to count and to time by before there are latents to cut."""
    return torch.zeros_like(labels) if recipe.diffusion.cells else labels


def shows_within(seconds: float, show: float) -> int:
    return max(1, min(SHOWS, int(SHOW_SHARE * seconds / show)))


@torch.inference_mode()
def seconds_per_show(stage: Stage) -> float:
    """Two grids of 16 samples, two test losses over 2,000 latents, and two proxies: 128 latents at up to two timesteps for each level."""
    denoiser, latents = stage.loss_module.denoiser, next(stage.batches(0))["x0"]
    timesteps = denoiser.schedule.timesteps

    def forward(count: int) -> float:
        x = latents[:1].repeat(count, 1, 1)
        began = time.perf_counter()
        for _ in range(3):
            denoiser(x, torch.zeros(count, dtype=torch.long, device=x.device)).x0.sum().item()
        return (time.perf_counter() - began) / 3

    return 2 * (timesteps * forward(16) + 8 * forward(250) + 2 * len(LOG_SNRS) * forward(PROXY_LATENTS))


def seconds_to_encode(stage: Stage, images: Tensor) -> float:
    sample = images[:2000]
    began = time.perf_counter()
    encode(stage.loss_module.autoencoder, sample)
    return (time.perf_counter() - began) * len(images) / len(sample)


def describe(recipe: Recipe, plan: Plan, seconds: float) -> str:
    form = "%H:%M" if seconds < 12 * 3600 else "%d %B, %H:%M" if seconds < 3e7 else "%Y"
    end = time.strftime(form, time.localtime(time.time() + seconds)) if seconds < 3e9 else "the next century"
    text = (f"recipe {recipe.recipe}: {plan.autoencoder_steps:,} steps of the autoencoder and {plan.denoiser_steps:,} of the denoiser, "
            f"about {duration(seconds)} on this machine (until about {end})")
    window = 1 / (1 - recipe.training.ema_decay) if recipe.training.ema_decay else 0
    if plan.denoiser_steps < 3 * window:
        text += (f"\nnote: the EMA weights, from which samples are drawn, average about {window:,.0f} steps: in a run this short they "
                 "lag behind the raw weights; samples/ shows both")
    return text + "".join(f"\nnote: {note}" for note in short_stages(recipe, plan))


def least_steps(recipe: Recipe) -> dict[str, int]:
    """Stage -> steps below which it learns little; 0 for one whose length is given in steps: that was meant."""
    return {name: 0 if getattr(recipe, name).steps else least for name, least in FEWEST.items()}


def short_stages(recipe: Recipe, plan: Plan) -> list[str]:
    """What is too short to learn much, and what would be enough."""
    steps, notes = {"autoencoder_training": plan.autoencoder_steps, "training": plan.denoiser_steps}, []
    for name, least in least_steps(recipe).items():
        if steps[name] < least:
            epochs = math.ceil(least * getattr(recipe, name).epochs / steps[name])
            what, option = {"training": ("the denoiser", "--epochs"), "autoencoder_training": ("the autoencoder", "--ae-epochs")}[name]
            mend = "give a longer --budget" if recipe.budget else (f"few images make short epochs: give {option} {epochs:,} for {least:,} "
                                                                   "steps, or --budget 20m, which chooses enough")
            notes.append(f"{steps[name]:,} steps of {what} are too few to learn much: {mend}")
    return notes
