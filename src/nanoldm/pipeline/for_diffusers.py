"""A saved model as a pipeline of diffusers: their loop and schedulers, our networks."""

import inspect
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from torch import Tensor

from nanoldm.pipeline.labels import label_tensor
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.errors import InputError


def random_options(generator: torch.Generator | None) -> dict[str, Any]:
    """Options of random numbers: the generator, and the device that it is on."""
    return {"generator": generator, "device": generator.device if generator else "cpu"}


class NanoLDMPipeline(DiffusionPipeline):
    """DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True) gives one.

    Any scheduler of diffusers may replace its own that takes what the network predicts:

        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    """

    def __init__(self, scheduler: Any):
        super().__init__()
        self.register_modules(scheduler=scheduler)
        self._model: LatentDiffusion | None = None
        self._place = torch.device("cpu")

    @property
    def model(self) -> LatentDiffusion:
        """The whole model, loaded from the same folder when it is used first."""
        if self._model is None:
            self._model = LatentDiffusion.from_pretrained(self.config._name_or_path)
        return self._model.to(self._place)

    def to(self, device: torch.device | str) -> "NanoLDMPipeline":
        self._place = torch.device(device)
        return self

    @property
    def device(self) -> torch.device:
        return self._place

    @torch.no_grad()
    def __call__(self, batch_size: int = 1, num_inference_steps: int | None = None,
                 generator: torch.Generator | None = None, class_labels: Any = None,
                 guidance_scale: float = 1.0, output_type: str = "pil") -> ImagePipelineOutput:
        """Generate images: those of `class_labels`, or `batch_size` of random classes.

        num_inference_steps: default all timesteps, at most 50.
        class_labels: numbers or names, one for each image; or one for all.
        guidance_scale: of classifier-free guidance; 1 is off.
        output_type: "pil", or "np" for an array (N, S, S, C) in [0, 1].
        """
        model, timesteps = self.model, self.scheduler.config.num_train_timesteps
        if model.student:
            raise InputError("this model is a student, which no scheduler of diffusers knows: use "
                             "LatentDiffusion.generate, or its teacher")
        count = len(class_labels) if np.ndim(class_labels) else batch_size
        labels = self._labels(class_labels, count, generator)
        self.scheduler.set_timesteps(num_inference_steps or min(timesteps, 50), device=self._place)
        x = torch.randn(count, *model.latent_shape, **random_options(generator))
        x = x.to(self._place) * getattr(self.scheduler, "init_noise_sigma", 1.0)
        options = inspect.signature(self.scheduler.step).parameters
        extra = {"generator": generator} if "generator" in options else {}
        scale = getattr(self.scheduler, "scale_model_input", lambda x, t: x)
        for t in self.progress_bar(self.scheduler.timesteps):
            output = self._output(scale(x, t), t, labels, guidance_scale)
            x = self.scheduler.step(output, t, x, **extra).prev_sample
        images = model.decode(x).permute(0, 2, 3, 1).numpy()
        return ImagePipelineOutput(images if output_type == "np" else self.numpy_to_pil(images))

    def _labels(self, given: Any, count: int, generator: torch.Generator | None) -> Tensor | None:
        """The labels that the network is conditioned on; random ones if none are given."""
        model = self.model
        if given is not None:
            return label_tensor(given, count, model.classes, model.class_names).to(self._place)
        if not model.denoiser.labels:
            return None
        choices = torch.tensor(model.label_choices)
        picks = torch.randint(len(choices), (count,), **random_options(generator))
        return choices[picks.cpu()].to(self._place)

    def _output(self, x: Tensor, t: Tensor, labels: Tensor | None, scale: float) -> Tensor:
        """The network's output with guidance. The timesteps of a flow of diffusers count from 1."""
        schedule = self.model.denoiser.schedule
        first = 1 if schedule.kind == "rectified" else 0
        level = (t.round().long() - first).clamp(0, schedule.timesteps - 1).reshape(1)
        output = self.model.denoiser.output(x, level, labels)
        if labels is None or scale == 1:
            return output
        without = self.model.denoiser.output(x, level, torch.full_like(labels, -1))
        return without + scale * (output - without)
