"""What the denoiser trains on is made once and kept with the checkpoints."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from nanoldm.data.clusters import cluster_latents
from nanoldm.models import ConvAE
from nanoldm.utils.distributed import from_main, gather_rows
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import load_tensors, save_tensors
from nanoldm.utils.images import check_images, chunks, to_float

STATISTICS = ("latent_mean", "latent_std")  # buffers of the autoencoder


@torch.inference_mode()
def raw_tokens(autoencoder: ConvAE, images: Tensor) -> Tensor:
    """Images (N, C, S, S) uint8 -> tokens (N, tokens, channels) before normalisation."""
    check_images(images)
    device = autoencoder.latent_mean.device
    return torch.cat([autoencoder.encode_raw(to_float(part.to(device)))
                      for part in chunks(images)])


def normalised_latents(autoencoder: ConvAE, images: Tensor) -> Tensor:
    """Set the latent statistics from the training images -> their normalised latents.

    Several processes encode a part each.
    """
    tokens = gather_rows(lambda rows: raw_tokens(autoencoder, images[rows]), len(images))
    autoencoder.set_statistics(tokens)
    return autoencoder.normalise(tokens)


def load_or_make(file: Path, make: Callable[[], dict[str, Tensor]], /,
                 **origin: str) -> dict[str, Tensor]:
    """The tensors of `make`, kept in a file: a resumed run makes nothing.

    origin: digest of the weights that make them. A file of others, or a damaged one, is replaced.
    """

    def read() -> dict[str, Tensor] | None:
        with suppress(InputError):
            tensors, metadata = load_tensors(file)
            return tensors if origin.items() <= metadata.items() else None
        return None

    if tensors := from_main(read):
        return tensors
    tensors = make()
    from_main(lambda: save_tensors(file, tensors, **origin))
    return tensors


def load_or_encode(file: Path, autoencoder: ConvAE, images: Tensor, /, **origin: str) -> Tensor:
    """`normalised_latents`, by `load_or_make`."""

    def encode() -> dict[str, Tensor]:
        latents = normalised_latents(autoencoder, images)
        return {"latents": latents} | {name: getattr(autoencoder, name) for name in STATISTICS}

    tensors = load_or_make(file, encode, **origin)
    for name in STATISTICS:
        getattr(autoencoder, name).copy_(tensors[name])
    return tensors["latents"].to(autoencoder.latent_mean.device)


def load_or_make_clusters(file: Path, latents: Tensor, count: int, /, **origin: str) -> Tensor:
    """The cluster of each training latent (N,), kept in a file: a resumed run uses the same.

    origin: digest of the autoencoder's weights.
    Raises InputError if the file is damaged or of other latents.
    """
    if not file.exists():
        save_tensors(file, {"clusters": cluster_latents(latents, count)}, **origin)
    tensors, metadata = load_tensors(file, "remove it, and the same command makes it again")
    found = tensors.get("clusters", torch.empty(0))
    fits = found.shape == latents.shape[:1] and found.dtype == torch.long
    fits = fits and found.min() >= 0 and found.max() < max(1, count)
    if not fits or any(metadata.get(name, value) != value for name, value in origin.items()):
        raise InputError(f"{file} is not of this run's latents: remove the run folder to start "
                         "again, or choose another (out)")
    return found
