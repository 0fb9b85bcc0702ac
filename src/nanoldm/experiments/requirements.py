"""Whether a recipe fits the size of the images and the memory of the machine."""

import torch

from nanoldm.data import ImageSet
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.stages import label_count, new_network, parameter_count
from nanoldm.models import ConvAE
from nanoldm.models.autoencoder import token_side
from nanoldm.utils.distributed import world_size
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import chunk_size
from nanoldm.utils.launched import processes_here
from nanoldm.utils.limits import LARGEST_SIZE, check_memory


def check_size(recipe: Recipe, size: int) -> None:
    """Raise InputError, with sizes that fit, unless the tokens can be cut into patches."""
    levels, patch = recipe.autoencoder.levels, recipe.network.patch

    def fits(side: int) -> bool:
        return side > 2 ** (levels - 1) and token_side(side, levels) % patch == 0

    if fits(size):
        return
    sides = range(size, 0, -4), range(size, LARGEST_SIZE + 1, 4)
    near = [str(side) for side in (next(filter(fits, part), None) for part in sides) if side]
    fix = f"choose size {' or '.join(near)}"
    if not near:
        fix = "choose fewer levels (autoencoder.levels) or a smaller patch (network.patch)"
    raise InputError(
        f"images of {size}x{size} pixels do not fit {recipe.recipe}, which halves their side "
        f"{levels} times and cuts the tokens into patches of {patch}x{patch}: {fix}")


def check_requirements(recipe: Recipe, train_set: ImageSet, device: torch.device | str,
               accumulate: int) -> None:
    """Raise InputError if the size does not fit the recipe, or a CPU has too little memory."""
    check_size(recipe, train_set.images.shape[-1])
    if torch.device(device).type == "cpu":
        what = f"{recipe.recipe} with {len(train_set):,} images"
        fix = "choose a smaller network, batch (training.batch_size) or size, or fewer images"
        check_memory(memory(recipe, train_set, accumulate) * processes_here(), what, fix)


def memory(recipe: Recipe, train_set: ImageSet, accumulate: int = 1) -> float:
    """Bytes that each process of a run needs at its peak besides the images, estimated.

    accumulate: the parts of a batch that it computes one after the other.
    """
    channels, side = train_set.images.shape[1:3]
    batch, network = recipe.training.batch_size / (accumulate * world_size()), recipe.network
    with torch.device("meta"):  # takes no memory
        autoencoder = ConvAE(side, channels, **recipe.autoencoder.model_dump())
        denoiser = new_network(recipe, autoencoder, label_count(recipe, train_set))
    parameters = parameter_count(autoencoder, denoiser)
    count = max(recipe.autoencoder_training.batch_size, chunk_size(train_set.images.shape[-1]))
    maps = count * side**2 * recipe.autoencoder.hidden_channels
    patches = autoencoder.tokens // network.patch**2
    tokens = batch * patches * (16 * network.width + 4 * network.hidden) * network.depth
    attention = 3 * batch * network.heads * patches**2 * network.depth
    latents = 3 * recipe.examples(len(train_set)) * autoencoder.tokens * autoencoder.latent_channels
    # 4 bytes per number; a parameter has a gradient, moments, EMA and a copy while it is timed.
    activations = recipe.passes * (tokens + attention)
    return 4 * (10 * parameters + max(2 * maps, activations) + latents)
