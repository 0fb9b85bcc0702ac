"""Many samples of a model, drawn once: a second call, or one after an interruption, continues from the file."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.data.npz import image_set, read_npz, save_npz
from nanoldm.diffusion import evaluations
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import digest
from nanoldm.utils.images import to_bytes
from nanoldm.utils.limits import check_memory
from nanoldm.utils.text import duration

STREAMS = "128 bits"    # how seeds become noise: images that were drawn from other streams are not reused
SAVE_EVERY = 256        # images: as many are lost when the drawing is stopped


class Drawing:
    """Images of `seeds` in `file` (.npz), drawn where they are missing. The file also holds the seeds, and the key of what drew them."""

    def __init__(self, pipeline: LatentDiffusion, file: Path, seeds: Sequence[int], sampling: Sampling):
        if not len(seeds) or min(seeds) < 0:
            raise InputError("ask for at least 1 image (--n), with seeds from 0 on (--seed)")
        check_memory(20 * len(seeds) * pipeline.autoencoder.config["image_channels"] * pipeline.autoencoder.config["image_size"] ** 2,
                     f"to judge {len(seeds):,} images", "ask for fewer")
        self.pipeline, self.file, self.seeds, self.sampling = pipeline, file, seeds, sampling
        self.timesteps = pipeline.timesteps(sampling)
        pipeline.told(seeds[:1], None, sampling)           # of one, since all draw a label or none does; refused before any work
        parts = {"network": pipeline.denoiser.network, "autoencoder": pipeline.autoencoder}
        weights = {f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}
        schedule = pipeline.denoiser.schedule
        self.key = digest(weights, schedule=f"{schedule.kind} {schedule.timesteps}", prediction=pipeline.denoiser.prediction,
                          limit=str(pipeline.clip_sample_range), visits=str(evaluations(self.sampler, self.timesteps)), sampler=self.sampler,
                          eta=str(float(sampling.eta)), clamp=str(sampling.clamp),
                          guidance=f"{float(sampling.guidance)} {sampling.guidance_interval}", streams=STREAMS)
        self.drawn = self._read()
        self.missing = [seed for seed in seeds if seed not in self.drawn]

    def facts(self) -> dict[str, Any]:
        return {"first_seed": self.seeds[0], **vars(self.sampling), "sampler": self.sampler, "steps": len(self.timesteps),
                "network_passes": self.passes, "drawing_sha256": self.key}

    @property
    def passes(self) -> int:
        """How often the network is called for an image."""
        return self.sampling.passes(self.pipeline.denoiser.schedule, self.timesteps)

    @property
    def sampler(self) -> str:
        return self.sampling.name(self.pipeline.denoiser.schedule)

    def _read(self) -> dict[int, Tensor]:
        """Seed -> image (C, S, S) uint8, as far as the file holds images of this model drawn in this way."""
        try:
            arrays = read_npz(self.file, "images", "seeds", "key")
            images = image_set(arrays, self.file).images
        except InputError:      # absent, damaged or foreign: draw again
            return {}
        mine = "seeds" in arrays and arrays["seeds"].shape == (len(images),) and str(arrays.get("key")) == self.key
        return dict(zip(arrays["seeds"].tolist(), images, strict=True)) if mine else {}

    def announce(self) -> list[str]:
        """What is there already, and what the rest will cost, from the time that a few reverse steps of one batch take; before that, what
        will be lost."""
        lost = [f"note: {self.file} holds samples that other weights or settings drew, or is damaged: it is replaced"
                ] if self.file.exists() and not self.drawn else []
        if not self.missing:
            return [f"reusing {len(self.seeds):,} samples of {self.file}"]
        reused = f", {len(self.seeds) - len(self.missing):,} more are reused" if len(self.missing) < len(self.seeds) else ""
        return [*lost, f"drawing {len(self.missing):,} samples of {self.passes} network passes: about {duration(seconds([self]))}{reused}; "
                "judging: about a minute"]

    def images(self, name: str = "samples") -> Tensor:
        """(N, C, S, S) uint8, in the order of the seeds. Writes the file every 256 images or more: a stop loses no others."""
        with tqdm(total=len(self.missing), desc=name, unit="image", delay=1, disable=not self.missing) as bar:
            portion = max(SAVE_EVERY, self.pipeline.batch_size)
            for k in range(0, len(self.missing), portion):
                batch = self.missing[k : k + portion]
                self.drawn |= dict(zip(batch, to_bytes(self.pipeline.generate(batch, **vars(self.sampling))), strict=True))
                save_npz(self.file, torch.stack(list(self.drawn.values())), seeds=np.array(list(self.drawn)), key=np.array(self.key))
                bar.update(len(batch))
        return torch.stack([self.drawn[seed] for seed in self.seeds])

    def labels(self) -> Tensor:
        """(N,) the class that each image shows; -1 where the model knows no classes."""
        labels = self.pipeline.labels(self.seeds)
        return torch.full((len(self.seeds),), -1) if labels is None else labels


def seconds(drawings: Sequence[Drawing]) -> float:
    """What the missing images of drawings of one model will cost, from the time that a few reverse steps of one batch take."""
    pipeline = drawings[0].pipeline
    batch = max((drawing.missing for drawing in drawings), key=len)[: pipeline.batch_size]
    if not batch:
        return 0.0
    times = []
    for steps in (1, 1, min(6, pipeline.denoiser.schedule.timesteps)):      # the first one warms up
        began = time.perf_counter()
        pipeline.generate(batch, steps)
        times.append(time.perf_counter() - began)
    step = (times[2] - times[1]) / max(1, steps - 1)
    return sum((times[1] + step * (drawing.passes - 1)) * len(drawing.missing) / len(batch) for drawing in drawings)
