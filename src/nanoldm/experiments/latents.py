"""What the denoiser trains on: latents and clusters, made once and kept with the checkpoints."""

from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from nanoldm.data.clusters import cluster_latents
from nanoldm.models import ConvAE
from nanoldm.utils.distributed import from_main, gather_rows
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import load_tensors, save_tensors
from nanoldm.utils.images import check_images, images_at_a_time, to_float

STATISTICS = ("latent_mean", "latent_std")  # buffers of the autoencoder


@torch.inference_mode()
def raw_tokens(autoencoder: ConvAE, images: Tensor) -> Tensor:
    """Images (N, C, S, S) uint8 -> tokens (N, tokens, channels) before normalisation."""
    check_images(images)
    device, parts = autoencoder.latent_mean.device, images.split(images_at_a_time(images))
    return torch.cat([autoencoder.encode_raw(to_float(part.to(device))) for part in parts])


def normalised_latents(autoencoder: ConvAE, images: Tensor) -> Tensor:
    """Set the latent statistics from the training images -> their normalised latents.

    Several processes encode a part each.
    """
    tokens = gather_rows(lambda rows: raw_tokens(autoencoder, images[rows]), len(images))
    autoencoder.set_statistics(tokens)
    return autoencoder.normalise(tokens)


def load_or_encode(file: Path, autoencoder: ConvAE, images: Tensor, /, **origin: str) -> Tensor:
    """`normalised_latents`, kept in a file: a resumed run encodes nothing.

    origin: digest of the autoencoder's weights. A file of another one, or a damaged one, is
    replaced.
    """
    shape = (len(images), autoencoder.tokens, autoencoder.latent_channels)

    def kept() -> dict[str, Tensor] | None:
        with suppress(InputError, KeyError):
            tensors, metadata = load_tensors(file)
            if origin.items() <= metadata.items() and tensors["latents"].shape == shape:
                return tensors
        return None

    if tensors := from_main(kept):
        for name in STATISTICS:
            getattr(autoencoder, name).copy_(tensors[name])
        return tensors["latents"].to(autoencoder.latent_mean.device)
    latents = normalised_latents(autoencoder, images)
    own = {name: getattr(autoencoder, name) for name in STATISTICS}
    from_main(lambda: save_tensors(file, {"latents": latents, **own}, **origin))
    return latents


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
                         "again, or choose another with --out")
    return found
