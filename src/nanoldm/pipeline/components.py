"""The components of a model, on one device: encode, decode, load and save."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from nanoldm.diffusion import Denoiser
from nanoldm.models import ConvAE
from nanoldm.pipeline.folders import find_model
from nanoldm.pipeline.half import rounded
from nanoldm.pipeline.precision import CHOICES, seconds_per_evaluation, time_precisions
from nanoldm.pipeline.saving import Saved, load_model, save_model
from nanoldm.pipeline.settings import Sampling, default_settings, load_settings, save_settings
from nanoldm.utils.device import check_compiler, use_tf32
from nanoldm.utils.errors import InputError, check_choice
from nanoldm.utils.images import check_floats, chunks
from nanoldm.utils.noise import GENERATORS, Noise
from nanoldm.utils.ranges import seed_list

Seeds = int | Sequence[int]  # n means 0 ... n - 1
CPU_BATCH, CPU_TOKENS, GPU_BATCH = 256, 64 * 49, 1000  # images, tokens, images of a batch, at most


class Components:
    """A trained autoencoder and denoiser, and how to sample with them.

    clip_sample_range: the largest |normalised latent| of the training set, the limit of the clamp.
    settings: how the model generates by default.
    class_names: {number: name} of the classes; labels may be given by name.
    pseudo_labels: whether the labels of the network are clusters, which users cannot choose.
    student: an attribute: whether the network knows only the timesteps of `settings`, because
        `nanoldm distill` has trained it.
    """

    def __init__(self, autoencoder: ConvAE, denoiser: Denoiser, clip_sample_range: float, *,
                 settings: Sampling | None = None, class_names: Mapping[int, str] | None = None,
                 pseudo_labels: bool = False):
        self.autoencoder, self.denoiser = autoencoder.eval(), denoiser.eval()
        self.clip_sample_range, self.pseudo_labels = clip_sample_range, pseudo_labels
        self.settings = settings or default_settings(denoiser.schedule)
        self.class_names = dict(class_names or {})
        self.batch_size: int | None = None  # images at a time; None: by the device
        self.student, self.compiled, self.rng = False, False, "torch"
        self.name: str | None = None  # what `from_pretrained` loaded

    @classmethod
    def from_pretrained(cls, model: str | Path, device: torch.device | str = "cpu") -> Self:
        """Load a bundled model by name, a run folder, an exported folder, or USER/NAME of the
        Hugging Face hub.

        Raises InputError if there is no such model, or if a file is missing, damaged or foreign.
        """
        folder = find_model(model)
        saved = dict(vars(load_model(folder)))
        settings = load_settings(folder, saved["denoiser"].schedule)
        student = saved.pop("student")
        loaded = cls(**saved, settings=settings).to(device)
        loaded.name, loaded.student = str(model), student
        return loaded

    def halved(self) -> Self:
        """Round the weights to float16, which halves the files that `save_pretrained` writes.

        Computations stay in float32.
        """
        self.autoencoder = rounded(self.autoencoder).to(self.device)
        self.denoiser.network = rounded(self.denoiser.network).to(self.device)
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration and sampling settings to `folder`."""
        save_settings(Path(folder), self.settings)
        save_model(Path(folder), Saved(self.autoencoder, self.denoiser, self.clip_sample_range,
                                       self.class_names, self.pseudo_labels, self.student))

    @property
    def device(self) -> torch.device:
        return self.autoencoder.latent_mean.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, side, side) of one image."""
        config = self.autoencoder.config
        return config["image_channels"], config["image_size"], config["image_size"]

    @property
    def latent_shape(self) -> tuple[int, int]:
        """(tokens, channels) of one image."""
        return self.autoencoder.latent_shape

    @property
    def classes(self) -> int:
        """How many classes a user can choose from."""
        return 0 if self.pseudo_labels else self.denoiser.labels

    def settings_for(self, default: Sampling) -> Sampling:
        """The settings of a task: `default`. A student uses its own, because it knows no others."""
        return self.settings if self.student else default

    def to(self, device: torch.device | str) -> Self:
        self.autoencoder.to(device)
        self.denoiser.to(device)
        return self

    def compile(self) -> Self:
        """Use torch.compile for sampling: half a minute at first, then faster steps.

        A batch of another size compiles again. Raises InputError if there is no compiler.
        """
        check_compiler(self.device)
        self.denoiser.network.compile(dynamic=False)
        self.compiled = True
        return self

    def use_precision(self, precision: str) -> Self:
        """Compute the denoiser in "fp32" (the default), "bf16", "tf32", or "auto".

        bf16 multiplies matrices in bfloat16 (3 digits); images differ by about 0.002 from fp32.
        tf32 rounds the factors likewise, on CUDA GPUs alone. auto is the faster of fp32 and bf16.
        Raises InputError for a precision that does not exist here.
        """
        check_choice("precision", precision, CHOICES)
        use_tf32(self.device, precision == "tf32")
        if precision == "auto":
            precision, _ = time_precisions(precision, self._seconds_per_evaluation)
        self.denoiser.precision = precision
        return self

    def use_rng(self, rng: str) -> Self:
        """Draw noise and random labels by "torch" (the default) or by "portable".

        portable: the generator of the web page (docs/page.md), so that a seed gives one image in
        both. Raises InputError for another name.
        """
        check_choice("rng", rng, GENERATORS)
        self.rng = rng
        return self

    def _seconds_per_evaluation(self, precision: str) -> float:
        self.denoiser.precision = precision
        x = torch.zeros(self.images_per_batch, *self.latent_shape, device=self.device)
        return seconds_per_evaluation(self.denoiser, x)

    @property
    def images_per_batch(self) -> int:
        """`batch_size`, or what suits the device and the network (docs/performance.md)."""
        if self.batch_size is not None and self.batch_size < 1:
            raise InputError(f"batch_size {self.batch_size}: at least 1 is needed")
        if self.batch_size:
            return self.batch_size
        if self.device.type != "cpu":
            return GPU_BATCH
        patches = self.autoencoder.tokens // getattr(self.denoiser.network, "patch", 1) ** 2
        return max(1, min(CPU_BATCH, CPU_TOKENS // patches))

    @property
    def batches_at_a_time(self) -> int:
        """One for each CPU thread; 1 on a GPU, and after `compile`, which is for all threads."""
        return 1 if self.compiled or self.device.type != "cpu" else torch.get_num_threads()

    @property
    def images_at_a_time(self) -> int:
        """Of all batches that are computed at a time."""
        return self.images_per_batch * self.batches_at_a_time

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Images -> normalised tokens, on the model's device.

        Raises InputError for images of another shape, type or range.
        """
        check_floats(images, *self.image_shape[:2])
        return torch.cat([self.autoencoder.encode(part.to(self.device))
                          for part in chunks(images)])

    @torch.no_grad()
    def decode(self, tokens: Tensor) -> Tensor:
        """Normalised tokens -> images."""
        return self.autoencoder.decode(tokens).sigmoid().cpu()

    def reconstruct(self, images: Tensor) -> Tensor:
        """decode(encode(images)): the loss of the autoencoder alone."""
        return torch.cat([self.decode(self.encode(part)) for part in chunks(images)])

    def noise(self, seeds: Seeds) -> Tensor:
        """The x_T of `generate`: (N, tokens, channels) from N(0, I)."""
        return self._noise(self._streams(seed_list(seeds)))

    def _streams(self, seeds: Sequence[int]) -> list[Noise]:
        """The noise of each seed."""
        noise, _ = GENERATORS[self.rng]
        return [noise(seed) for seed in seeds]

    def _noise(self, streams: list[Noise]) -> Tensor:
        """(B, tokens, channels) from N(0, I), row k from streams[k]."""
        return torch.stack([stream(self.latent_shape) for stream in streams]).to(self.device)
