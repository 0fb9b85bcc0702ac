"""Samples to judge: generated once and kept in a file, or given as a file."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.data import ImageSet
from nanoldm.data.npz import image_set, load_images, read_npz, save_npz
from nanoldm.diffusion import evaluations
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.distributed import from_main, world_size
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import digest, named_tensors
from nanoldm.utils.images import to_bytes
from nanoldm.utils.limits import check_memory
from nanoldm.utils.text import duration

# Version of torch's random numbers: samples of another version are generated again.
STREAMS = "128 bits"
SAVE_EVERY = 256  # images, or up to four times as many, one batch of each thread


class SampleFile:
    """Ready samples of an .npz file."""

    def __init__(self, file: Path):
        self.file, self.images = file, load_images(file)

    def __len__(self) -> int:
        return len(self.images)

    def facts(self) -> dict[str, Any]:
        return {"file": str(self.file)}

    def announcement(self) -> list[str]:
        return [f"judging {len(self):,} images of {self.file}"]

    def image_set(self) -> ImageSet:
        return self.images


class SampleSet:
    """Images of `seeds`, generated if they are missing in `file` (.npz).

    Those of a sampler that is a function are always generated. The file also contains the seeds,
    and a key of the model and its settings.
    settings: default: the model's own.
    """

    def __init__(self, model: LatentDiffusion, file: Path, seeds: Sequence[int],
                 settings: Sampling | None = None):
        memory = 20 * len(seeds) * math.prod(model.image_shape)
        check_memory(memory, f"to judge {len(seeds):,} images", "generate fewer")
        self.model, self.file, self.seeds = model, file, seeds
        self.settings = model.choose(settings)
        model.conditioning([seeds[0]], None, self.settings)  # fails early for wrong guidance
        labels = model.draw_labels(seeds) if model.classes else torch.full((len(seeds),), -1)
        self.labels = dict(zip(seeds, labels.tolist(), strict=True))
        self.key = self._key()
        self.found = self._read()
        self.missing = from_main(lambda: [seed for seed in seeds if seed not in self.found])

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def nfe(self) -> int:
        return self.settings.nfe(self.model.denoiser.schedule)

    def _key(self) -> str:
        """A digest of everything that the images depend on."""
        model, settings = self.model, self.settings
        network, autoencoder = model.denoiser.network, model.autoencoder
        return digest(
            named_tensors(network=network, autoencoder=autoencoder),
            schedule=f"{model.denoiser.schedule.kind} {model.denoiser.schedule.timesteps}",
            prediction=model.denoiser.prediction, precision=model.denoiser.precision,
            limit=str(model.clip_sample_range),
            sampler=settings.name + " (a function)" * callable(settings.sampler),
            visits=str(evaluations(settings.name, settings.timesteps)),
            eta=str(float(settings.eta)), clamp=str(settings.clamp),
            guidance=f"{float(settings.guidance)} {settings.guidance_interval}",
            streams=STREAMS if model.rng == "torch" else model.rng
        )

    def _read(self) -> dict[int, Tensor]:
        """{seed: image (C, S, S) uint8} of the file; {} if it was generated in another way.

        A sampler that is a function may have changed: its name does not tell.
        """
        if callable(self.settings.sampler):
            return {}
        try:
            arrays = read_npz(self.file, "images", "seeds", "key")
            images = image_set(arrays, self.file).images
        except InputError:  # missing, damaged or foreign
            return {}
        seeds = arrays.get("seeds", np.empty(0))
        if seeds.shape != (len(images),) or str(arrays.get("key")) != self.key:
            return {}
        return dict(zip(seeds.tolist(), images, strict=True))

    def facts(self) -> dict[str, Any]:
        names = ("spacing", "eta", "clamp", "guidance", "guidance_interval")
        return {"file": None, "first_seed": self.seeds[0], "sampler": self.settings.name,
                "steps": len(self.settings.timesteps),
                **{name: getattr(self.settings, name) for name in names}, "nfe": self.nfe,
                "precision": self.model.denoiser.precision, "rng": self.model.rng,
                "samples_key": self.key}

    def announcement(self) -> list[str]:
        """What is reused, what will be replaced, and the estimated time."""
        notes = [self.settings.merged] if self.settings.merged else []
        if self.file.exists() and not self.found:
            reason = ("may be of another function" if callable(self.settings.sampler) else
                      "was generated with other weights or settings, or is damaged")
            notes.append(f"note: {self.file} {reason}: it is replaced")
        if not self.missing:
            return [*notes, f"reusing {len(self):,} samples of {self.file}"]
        reused = len(self) - len(self.missing)
        return [*notes,
                f"generating {len(self.missing):,} samples with {self.nfe} NFE: about "
                f"{duration(seconds([self]))}" + f" ({reused:,} more are reused)" * bool(reused)]

    def images(self, caption: str = "samples") -> Tensor:
        """(N, C, S, S) uint8, in the order of the seeds. Several processes share the work."""
        options = dict(desc=caption, unit="image", delay=1, disable=not self.missing)
        with tqdm(total=len(self.missing), **options) as bar:
            at_a_time = from_main(lambda: self.model.images_at_a_time)
            portion = min(max(SAVE_EVERY, at_a_time), 4 * SAVE_EVERY) * world_size()
            for k in range(0, len(self.missing), portion):
                batch = self.missing[k : k + portion]
                labels = [self.labels[seed] for seed in batch] if self.model.classes else None
                images = self.model.generate_shared(batch, labels, settings=self.settings)
                self.found |= dict(zip(batch, to_bytes(images), strict=True))
                from_main(self._write)
                bar.update(len(batch))
        return from_main(lambda: torch.stack([self.found[seed] for seed in self.seeds]))

    def _write(self) -> None:
        arrays = {"seeds": np.array(list(self.found)), "key": np.array(self.key)}
        save_npz(self.file, torch.stack(list(self.found.values())), **arrays)

    def image_set(self) -> ImageSet:
        """With the class that each image was conditioned on; -1 for a model without classes."""
        return ImageSet(self.images(), torch.tensor(list(self.labels.values())))


def seconds(sets: Sequence[SampleSet]) -> float:
    """Estimated time for the missing images of sets of one model, from a few steps of some."""
    model = sets[0].model
    batch = max((each.missing for each in sets), key=len)[: model.images_at_a_time]
    if not batch:
        return 0.0

    def timed(settings: Sampling) -> float:
        began = time.perf_counter()
        model.generate(batch, settings=settings)
        return time.perf_counter() - began

    if model.student:
        timed(sets[0].settings)  # warms up
        return timed(sets[0].settings) * sum(len(each.missing) for each in sets) / len(batch)
    counts = (1, 1, min(6, model.denoiser.schedule.timesteps))  # the first one warms up
    times = [timed(Sampling("ddim", steps)) for steps in counts]
    step = (times[2] - times[1]) / max(1, counts[2] - 1)
    return sum((times[1] + step * (each.nfe - 1)) * len(each.missing) / len(batch) for each in sets)
