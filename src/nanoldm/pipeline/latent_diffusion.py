"""LatentDiffusion: a trained autoencoder and denoiser as one object that generates, reconstructs, is saved and loaded."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from nanoldm.data import images_at_a_time
from nanoldm.diffusion import ANCESTRAL, Clamped, Denoiser, Guided, corrupt, visited
from nanoldm.diffusion.samplers.ddpm import check_signal
from nanoldm.models import ConvAE
from nanoldm.pipeline.fast import default_fast, keep_fast, load_fast
from nanoldm.pipeline.folders import find_model
from nanoldm.pipeline.saving import load_model, save_model
from nanoldm.pipeline.settings import Labels, Sampling, checked_seeds, labels_for
from nanoldm.utils.device import check_compiler
from nanoldm.utils.errors import InputError
from nanoldm.utils.limits import check_memory
from nanoldm.utils.seeding import generator


class LatentDiffusion:
    """Images in and out are float (N, C, S, S) in [0, 1] on the CPU; randomness comes from one seed per image.

    clip_sample_range: the largest |normalised latent| of the training set, to which `Clamped` limits x0 while sampling.
    fast: steps, sampler and grid of its few-step setting, as `nanoldm compare --save` stored them (default: `default_fast`);
    generate(seeds, **model.fast) draws by it.
    class_names: number -> name of the classes that had training images; labels may be given by name.
    """

    def __init__(self, autoencoder: ConvAE, denoiser: Denoiser, clip_sample_range: float, fast: Mapping[str, Any] | None = None,
                 class_names: Mapping[int, str] | None = None):
        self.autoencoder, self.denoiser, self.clip_sample_range = autoencoder.eval(), denoiser.eval(), clip_sample_range
        self.fast, self.class_names = dict(fast or default_fast(denoiser.schedule)), dict(class_names or {})

    @property
    def device(self) -> torch.device:
        return self.autoencoder.latent_mean.device

    def to(self, device: torch.device | str) -> "LatentDiffusion":
        self.autoencoder.to(device)
        self.denoiser.to(device)
        return self

    def compile(self) -> "LatentDiffusion":
        """Sample through torch.compile from now on: half a minute at first, and again for a batch of another size; then faster steps.

        Raises InputError where torch finds no compiler.
        """
        check_compiler(self.device)
        self.denoiser.network.compile(dynamic=False)
        return self

    @property
    def batch_size(self) -> int:
        """Images that are sampled at a time: on a CPU few enough for its cache, on a GPU enough to fill it (benchmarks/RESULTS.md)."""
        return 64 if self.device.type == "cpu" else 1000

    def generate(self, seeds: Sequence[int], steps: int | None = None, *, labels: Labels = None,
                 x_T: Tensor | None = None, around: Callable[[nn.Module], nn.Module] | None = None,
                 batch_size: int | None = None, progress: bool = False, **sampling: Any) -> Tensor:
        """New images, one for each seed. Image k depends on seeds[k] (and labels[k]) alone, not on its neighbours or the batch size.

        steps: reverse steps, 1 ... T (default: all T). labels: a class for all, or one for each image, -1 for none (default, where
        the model knows classes or cells: one drawn from each seed). batch_size: images at a time (default: what suits the device).
        x_T: (N, tokens, channels), to start from instead of `noise(seeds)`. around: a wrapper to put around the denoiser (`editing.Known`).
        sampling: the other settings of `Sampling`, such as sampler="ddim", grid="log-snr", clamp=False or guidance=2.
        Raises InputError for no seeds, negative seeds, or settings and labels that do not exist or do not fit the model.
        """
        needed = (len(seeds := checked_seeds(seeds)), *self.latent_shape)
        if x_T is not None and not (isinstance(x_T, Tensor) and x_T.dtype == torch.float32 and x_T.shape == needed):
            given = f"{getattr(x_T, 'dtype', '')} {tuple(getattr(x_T, 'shape', ()))}"
            raise InputError(f"x_T is {given}: {len(seeds)} seeds of this model need a tensor, float32 {needed}")
        settings = Sampling(steps=steps, **sampling)
        return self._sample_in_batches(seeds, x_T, settings, None, batch_size, progress, self.told(seeds, labels, settings), around)

    @torch.no_grad()
    def denoise_from(self, images: Tensor, t: int, seeds: Sequence[int], steps: int | None = None, *,
                     labels: Labels = -1, batch_size: int | None = None, progress: bool = False,
                     **sampling: Any) -> tuple[Tensor, Tensor]:
        """Noise real images to timestep t (0 ... T-1), then run the reverse process -> (decoded x_t, result), one seed per image.

        The specification's diagnostic. steps: 1 ... t + 1 (default: all). labels: of the images (default: none).
        The rest is as in `generate`.
        """
        seeds = checked_seeds(seeds)
        if len(seeds) != len(images):
            raise InputError(f"{len(images)} images need as many seeds, not {len(seeds)}")
        if not 0 <= t < self.denoiser.schedule.timesteps:
            raise InputError(f"timestep {t} does not exist: choose 0 to {self.denoiser.schedule.timesteps - 1}")
        settings = Sampling(steps=steps, **sampling)
        self.timesteps(settings, t)                                                           # refused before any work
        told = self.told(seeds, labels, settings)
        x0 = self.encode(images)
        alpha, sigma = self.denoiser.schedule(torch.full((len(x0),), t, device=self.device))
        x_t = corrupt(x0, self.noise(seeds), alpha, sigma)
        return self.decode(x_t), self._sample_in_batches(seeds, x_t, settings, t, batch_size, progress, told)

    def trajectory(self, seeds: Sequence[int], steps: int | None = None, *, labels: Labels = None,
                   **sampling: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """The same images as `generate`, step by step: (decoded x_t, decoded estimate of x0) after each reverse step."""
        settings = Sampling(steps=steps, **sampling)
        seeds = checked_seeds(seeds)
        for x, estimate in self._sample(seeds, None, settings, labels=self.told(seeds, labels, settings)):
            yield self.decode(x), self.decode(estimate.x0)

    def noise(self, seeds: Sequence[int]) -> Tensor:
        """The x_T that `generate` starts from: (N, tokens, channels) from N(0, I)."""
        return self._noise([generator(seed) for seed in checked_seeds(seeds)])

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """decode(encode(images)): what the autoencoder alone loses."""
        self.check_images(images)
        return torch.cat([self.decode(self.encode(part)) for part in images.split(images_at_a_time(images))])

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images -> normalised tokens, on the model's device. Raises InputError for images of another shape, type or range."""
        self.check_images(images)
        return torch.cat([self.autoencoder.encode(part.to(self.device)) for part in images.split(images_at_a_time(images))])

    def check_images(self, images: Tensor) -> None:
        """Raise InputError unless images are float (N, C, S, S) in [0, 1], of the model's own shape."""
        channels, size = (self.autoencoder.config[name] for name in ("image_channels", "image_size"))
        if images.shape[1:] != (channels, size, size):
            raise InputError(f"images of shape {tuple(images.shape)} do not fit: this model needs (N, {channels}, {size}, {size})")
        if images.dtype != torch.float32:
            raise InputError(f"images are {str(images.dtype).removeprefix('torch.')}: give float32 in [0, 1], as images.float() / 255 "
                             "makes them of uint8")
        if len(images) and not (images.min() >= -0.01 and images.max() <= 1.01):       # also for nan
            raise InputError(f"images range from {images.min():g} to {images.max():g}: give pixels from 0 to 1")

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """Normalised tokens -> images."""
        return self.autoencoder.decode(tokens).sigmoid().cpu()

    def timesteps(self, sampling: Sampling, start: int | None = None) -> list[int]:
        """The timesteps that a sampler visits, from `start` (default: the noisiest). Raises InputError."""
        timesteps = visited(self.denoiser.schedule, sampling.steps, start, sampling.grid)
        if sampling.name(self.denoiser.schedule) in ANCESTRAL:
            check_signal(self.denoiser.schedule, timesteps[0], self.device)
        return timesteps

    def labels(self, seeds: Sequence[int], labels: Labels = None) -> Tensor | None:
        """The class of each image (N,), -1 for none; None for a model without classes. labels: as given to `generate`.

        Raises InputError for labels that do not exist.
        """
        return labels_for(self.denoiser.classes, seeds, labels, self.class_names)

    def told(self, seeds: Sequence[int], labels: Labels, sampling: Sampling) -> Tensor | None:
        """What the network is told of each image: its label, or, if it was trained with cells, one drawn from the seed unless labels
        are given. The errors of `labels`; InputError where the guidance of `sampling` does not fit them."""
        found = labels_for(self.denoiser.cells, seeds) if self.denoiser.cells and labels is None else self.labels(seeds, labels)
        sampling.check_guidance(found, self.denoiser.schedule.timesteps)
        return found

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(tokens, channels) of one image."""
        return self.autoencoder.tokens, self.autoencoder.latent_channels

    def _noise(self, streams: list[torch.Generator]) -> Tensor:
        """(B, tokens, channels) from N(0, I), row k from streams[k]."""
        return torch.stack([torch.randn(self.latent_shape, generator=stream) for stream in streams]).to(self.device)

    @torch.no_grad()      # as a decorator it is lifted while the generator rests: the caller's own gradients are left alone
    def _sample(self, seeds: Sequence[int], x_T: Tensor | None, sampling: Sampling, start: int | None = None,
                labels: Tensor | None = None, around: Callable[[nn.Module], nn.Module] | None = None) -> Iterator:
        denoise = self.prepared(sampling, labels)
        denoise = denoise if around is None else around(denoise)
        streams = [generator(seed) for seed in seeds]
        own = self._noise(streams)          # drawn even where x_T is given: the noise on the way must not be that of x_T again
        x_T = own if x_T is None else x_T.to(self.device)
        schedule = self.denoiser.schedule
        yield from sampling.function(schedule)(denoise, x_T, schedule, self.timesteps(sampling, start), lambda: self._noise(streams))

    def prepared(self, sampling: Sampling, labels: Tensor | None = None) -> nn.Module:
        """The denoiser as `sampling` wants it: told the labels and guided, then clamped. labels: as `self.told` gives them."""
        denoise = self.denoiser if labels is None else Guided(self.denoiser, labels.to(self.device), sampling.guidance,
                                                              sampling.guidance_interval)
        return Clamped(denoise, self.clip_sample_range) if sampling.clamp else denoise

    def _sample_in_batches(self, seeds: Sequence[int], x_T: Tensor | None, sampling: Sampling, start: int | None,
                           batch_size: int | None, progress: bool, labels: Tensor | None,
                           around: Callable[[nn.Module], nn.Module] | None = None) -> Tensor:
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size {batch_size}: at least 1 is needed")
        images, batch_size, steps = [], batch_size or self.batch_size, len(self.timesteps(sampling, start))
        check_memory(8 * len(seeds) * self.autoencoder.config["image_channels"] * self.autoencoder.config["image_size"] ** 2,
                     f"{len(seeds):,} images", "ask for fewer at a time")
        with tqdm(total=len(seeds) * steps, desc="sampling", unit="step", delay=1, disable=not progress) as bar:
            for k in range(0, len(seeds), batch_size):
                part = slice(k, k + batch_size)
                x_T_part, labels_part = (None if rows is None else rows[part] for rows in (x_T, labels))
                for x, _ in self._sample(seeds[part], x_T_part, sampling, start, labels_part, around):
                    bar.update(len(x))
                images.append(self.decode(x))
        return torch.cat(images)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights (safetensors) and configuration in diffusers' layout: model_index.json and one folder per component."""
        folder = Path(folder)
        keep_fast(folder, self.fast, self.denoiser.schedule)
        save_model(folder, self.autoencoder, self.denoiser, self.clip_sample_range, self.class_names)

    @classmethod
    def from_pretrained(cls, model: str | Path, device: torch.device | str = "cpu") -> "LatentDiffusion":
        """Load a bundled model by name, a run folder or an exported folder.

        Raises InputError if there is no such model, or a file of it is missing, truncated, altered or foreign.
        """
        folder = find_model(model)
        autoencoder, denoiser, clip_sample_range, names = load_model(folder)
        return cls(autoencoder, denoiser, clip_sample_range, load_fast(folder, denoiser.schedule), names).to(device)
