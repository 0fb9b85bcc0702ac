"""LatentDiffusion: a trained autoencoder and denoiser as one object."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn
from tqdm.auto import tqdm

from nanoldm.diffusion import Clamped, Guided, corrupt, denoising_error
from nanoldm.diffusion.samplers.transition import Trajectory
from nanoldm.pipeline.components import Components, Seeds
from nanoldm.pipeline.labels import Labels, label_tensor
from nanoldm.pipeline.precision import keep_casts
from nanoldm.pipeline.settings import Sampling, capped, student_settings
from nanoldm.pipeline.threads import Stopped, even_batches, map_batches
from nanoldm.utils.distributed import gather_rows
from nanoldm.utils.errors import InputError, check_choice
from nanoldm.utils.images import pictures
from nanoldm.utils.limits import check_memory
from nanoldm.utils.noise import GENERATORS
from nanoldm.utils.ranges import seed_list
from nanoldm.utils.seeding import Stream, generator

Wrap = Callable[[nn.Module], nn.Module]
ERROR_LATENTS = 128  # of the denoising error


class LatentDiffusion(Components):
    """A trained model. Images are float (N, C, S, S) in [0, 1] on the CPU; one seed per image.

    `Components` lists the constructor's arguments and has encode, decode, load and save.
    """

    def generate(self, seeds: Seeds, labels: Labels = None, *, x_T: Tensor | None = None,
                 wrap: Wrap | None = None, progress: bool = False, output: str = "tensor",
                 **settings: Any) -> Tensor | list[Image]:
        """New images (N, C, S, S), one per seed. Image k depends on seeds[k] and labels[k] alone.

        seeds: n for the seeds 0 ... n - 1, or a list of seeds.
        labels: one for all images or one per image, as numbers or names, -1 for none. Default:
            `draw_labels(seeds)`.
        x_T: (N, tokens, channels) to start from (default: `noise(seeds)`).
        wrap: wraps the denoiser, such as `editing.Known`. On a CPU it is called by several threads.
        output: "tensor", or "pil" for a list of PIL images.
        settings: changes of `self.settings`, such as sampler="ddim", steps=20 or guidance=2; or
            settings=Sampling(...). A sampler may be a function with the signature of `ddpm`, and
            timesteps=[99, 50, 0] names the timesteps themselves.
        Raises InputError for seeds, labels and settings that do not exist or fit the model.
        """
        check_choice("output", output, ("tensor", "pil"))
        seeds, chosen = seed_list(seeds), self.choose(**settings)
        shape = (len(seeds), *self.latent_shape)
        if x_T is not None and not (isinstance(x_T, Tensor) and x_T.dtype == torch.float32
                                    and x_T.shape == shape):
            given = f"{getattr(x_T, 'dtype', '')} {tuple(getattr(x_T, 'shape', ()))}"
            raise InputError(f"x_T is {given}: {len(seeds)} seeds of this model need float32 "
                             f"{shape}")
        labels = self.conditioning(seeds, labels, chosen)
        images = self._generate(seeds, labels, chosen, x_T, wrap, progress)
        return pictures(images) if output == "pil" else images

    def generate_shared(self, seeds: Seeds, labels: Labels = None, progress: bool = False,
                        **settings: Any) -> Tensor:
        """The images of `generate`, in several processes (`utils.distributed`), each a part.

        All processes call this with the same arguments and get all images.
        """
        seeds, chosen = seed_list(seeds), self.choose(**settings)
        found = self.conditioning(seeds, labels, chosen)

        def generate(rows: slice) -> Tensor:
            if not seeds[rows]:  # more processes than images
                return torch.empty(0, *self.image_shape)
            own = None if found is None else found[rows]
            return self._generate(seeds[rows], own, chosen, None, None, progress)

        return gather_rows(generate, len(seeds))

    @torch.no_grad()
    def denoise_from(self, images: Tensor, t: int, seeds: Seeds, labels: Labels = -1,
                     progress: bool = False, **settings: Any) -> tuple[Tensor, Tensor]:
        """Noise images to timestep t, then denoise them -> (decoded x_t, result).

        The diagnostic of the specification. t: 0 ... T-1. seeds: one per image. labels, settings:
        as in `generate`, with at most t + 1 steps and timesteps from t on; default: no label.
        """
        seeds = seed_list(seeds)
        if len(seeds) != len(images):
            raise InputError(f"{len(images)} images need {len(images)} seeds, not {len(seeds)}")
        chosen = self.choose(start=t, **settings)
        labels = self.conditioning(seeds, labels, chosen)
        x0 = self.encode(images)
        alpha, sigma = self.denoiser.schedule(torch.full((len(x0),), t, device=self.device))
        x_t = corrupt(x0, self.noise(seeds), alpha, sigma)
        return self.decode(x_t), self._generate(seeds, labels, chosen, x_t, None, progress)

    def denoising_error(self, latents: Tensor, labels: Tensor) -> list[float]:
        """MSE of x0 at each of `diffusion.LOG_SNRS`, on the first ERROR_LATENTS of `latents`.

        latents: (N, tokens, channels) normalised, held out. labels: (N,) of the latents, for a
        model with classes. The noise is the same for every model.
        """
        x0 = latents[:ERROR_LATENTS]
        stream = generator(0, Stream.TEST_LOSS, 1)
        eps = torch.randn(x0.shape, generator=stream).to(x0.device)
        denoiser: nn.Module = self.denoiser
        if self.classes:
            label = self.known_labels(labels[:ERROR_LATENTS]).to(x0.device)
            denoiser = Guided(denoiser, label)
        return denoising_error(denoiser, x0, eps, self.clip_sample_range)

    def trajectory(self, seeds: Seeds, labels: Labels = None,
                   **settings: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of `generate` after each step: (decoded x_t, decoded estimate of x0)."""
        seeds, chosen = seed_list(seeds), self.choose(**settings)
        labels = self.conditioning(seeds, labels, chosen)
        for x, estimate in self.sample(seeds, labels, chosen):
            yield self.decode(x), self.decode(estimate.x0)

    def choose(self, settings: Sampling | None = None, start: int | None = None,
               **changes: Any) -> Sampling:
        """The settings (default: the model's own) with `changes`, and their timesteps.

        start: the first timestep (default: the noisiest).
        Raises InputError, also for timesteps that a student does not know.
        """
        schedule, own = self.denoiser.schedule, settings or self.settings
        if start is not None and not 0 <= start < schedule.timesteps:
            last = schedule.timesteps - 1
            raise InputError(f"timestep {start} does not exist: choose 0 to {last}")
        if self.student:
            return student_settings(self.settings.resolved(schedule), own, changes, start)
        if start is not None and changes.get("steps") is None:
            own = capped(own, start)
        return own.changed(**changes).resolved(schedule, start)

    def draw_labels(self, seeds: Seeds) -> Tensor | None:
        """A random label (or cluster) per seed (N,), uniform; None for an unconditional model."""
        if not self.denoiser.labels:
            return None
        _, choice = GENERATORS[self.rng]
        choices = self.label_choices
        return torch.tensor([choices[choice(seed, len(choices))] for seed in seed_list(seeds)])

    @property
    def label_choices(self) -> list[int]:
        """The labels (or clusters) with training images: those of random samples."""
        return sorted(self.class_names) or list(range(self.denoiser.labels))

    def conditioning(self, seeds: list[int], labels: Labels, settings: Sampling) -> Tensor | None:
        """The labels that the network is conditioned on (N,); None for an unconditional model.

        Raises InputError for labels that do not exist, and for guidance without labels.
        """
        if labels is None:
            found = self.draw_labels(seeds)
        else:
            found = label_tensor(labels, len(seeds), self.classes, self.class_names)
            found = found if self.classes else None  # clusters cannot be chosen
        if settings.guidance != 1 and (found is None or (found < 0).all()):
            fix = "remove guidance" if found is None else "give labels, or remove guidance"
            raise InputError(f"guidance needs labels: {fix}")
        return found

    def known_labels(self, labels: Tensor) -> Tensor:
        """Labels of test images, -1 for classes that no training image has."""
        known = self.label_choices if self.classes else []
        return labels.where(torch.isin(labels, torch.tensor(known, dtype=torch.long)), -1)

    def no_labels(self, count: int) -> Tensor | None:
        """-1 for each of `count` images; None for a model without classes."""
        return torch.full((count,), -1) if self.classes else None

    def conditioned(self, settings: Sampling, labels: Tensor | None = None) -> nn.Module:
        """The denoiser with labels, guidance and clamp."""
        denoise: nn.Module = self.denoiser
        if labels is not None:
            scale, interval = settings.guidance, settings.guidance_interval
            denoise = Guided(self.denoiser, labels.to(self.device), scale, interval)
        return Clamped(denoise, self.clip_sample_range) if settings.clamp else denoise

    @torch.no_grad()  # inactive while the generator waits: the caller's gradients are not changed
    def sample(self, seeds: list[int], labels: Tensor | None, settings: Sampling,
               x_T: Tensor | None = None, wrap: Wrap | None = None) -> Trajectory:
        """(x, Estimate) after each step of one batch. settings: from `choose`.

        The stream of a seed gives x_T first and then the noise of the steps. If x_T is given, the
        first is skipped, so that the noise of the steps does not repeat the noise in x_T.
        """
        denoise = self.conditioned(settings, labels)
        streams = self._streams(seeds)
        first = self._noise(streams)
        x_T = first if x_T is None else x_T.to(self.device)
        run = settings.function()
        yield from run(denoise if wrap is None else wrap(denoise), x_T, self.denoiser.schedule,
                       settings.timesteps, lambda: self._noise(streams))

    def _generate(self, seeds: list[int], labels: Tensor | None, settings: Sampling,
                  x_T: Tensor | None, wrap: Wrap | None, progress: bool) -> Tensor:
        """Images of all seeds, in batches."""
        memory = 8 * len(seeds) * math.prod(self.image_shape)
        check_memory(memory, f"{len(seeds):,} images", "generate fewer at a time")
        steps, options = len(settings.timesteps), dict(desc="sampling", unit="step", delay=1)
        batches = even_batches(len(seeds), self.images_per_batch, self.batches_at_a_time)
        with tqdm(total=len(seeds) * steps, disable=not progress, **options) as bar:

            def generate(part: slice, stopped: Stopped) -> Tensor:
                own = [None if rows is None else rows[part] for rows in (labels, x_T)]
                with keep_casts(self.device):
                    for x, _ in self.sample(seeds[part], own[0], settings, own[1], wrap):
                        bar.update(len(x))
                        if stopped():
                            return x
                    return self.decode(x)

            return torch.cat(map_batches(generate, batches, self.batches_at_a_time))
