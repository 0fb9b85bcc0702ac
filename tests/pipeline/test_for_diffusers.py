"""A saved folder is a pipeline of diffusers."""

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.experiments.export import export
from nanoldm.models import ConvAE, DiffusionNet
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import seeded


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """The bundled model with labels, exported and loaded by diffusers."""
    folder = tmp_path_factory.mktemp("exported") / "digits"
    export("mnist-fast-conditional", folder)
    return load(folder, tmp_path_factory.mktemp("modules"))


def load(folder, modules):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(modules))
        return DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def classes_of(images):
    """What the bundled classifier sees in images (N, S, S, 1)."""
    from nanoldm.evaluation.features import load_features

    network = load_features("digits-v1").networks["classifier"].eval()
    with torch.no_grad():
        return network(torch.from_numpy(images).permute(0, 3, 1, 2))[1].argmax(1)


@pytest.mark.parametrize("scheduler", [None, DDIMScheduler])
def test_it_makes_the_digits_asked_for_also_with_another_scheduler(loaded, scheduler,
                                                                   monkeypatch):
    if scheduler:
        other = scheduler.from_config(loaded.scheduler.config)
        monkeypatch.setattr(loaded, "scheduler", other)
    labels = [3, 1, 4, 1, 5, 9, 2, 6, 7, 8, 0, 0]
    options = dict(class_labels=labels, num_inference_steps=15, output_type="np")
    images = loaded(**options, generator=stream()).images
    assert (classes_of(images) == torch.tensor(labels)).sum() >= 11
    assert np.array_equal(loaded(**options, generator=stream()).images, images)
    assert not np.array_equal(loaded(**options, generator=stream(1)).images, images)


def test_guidance_and_random_labels_and_pictures(loaded):
    options = dict(class_labels=[3, 5], num_inference_steps=3, output_type="np")
    plain = loaded(**options, generator=stream()).images
    guided = loaded(**options, generator=stream(), guidance_scale=3.0).images
    assert np.abs(plain - guided).max() > 0.1
    pictures = loaded(batch_size=2, num_inference_steps=2, generator=stream()).images
    assert [picture.size for picture in pictures] == [(28, 28)] * 2
    sevens = loaded(batch_size=3, **options | {"class_labels": 7}, generator=stream()).images
    listed = loaded(**options | {"class_labels": [7, 7, 7]}, generator=stream()).images
    assert np.array_equal(sevens, listed)
    with pytest.raises(InputError, match="no label 11"):
        loaded(class_labels=[11], num_inference_steps=2)


def test_the_loop_of_diffusers_gives_what_ours_gives(loaded, monkeypatch):
    """DDIM with all timesteps, from the same noise and with the same clamp."""
    ddim = DDIMScheduler.from_config(loaded.scheduler.config)
    monkeypatch.setattr(loaded, "scheduler", ddim)
    model, seeds = loaded.model, range(3)
    x_T = torch.randn(3, *model.latent_shape, generator=stream())
    ours = model.generate(seeds, labels=[1, 2, 3], x_T=x_T, sampler="ddim", clamp=True)
    theirs = loaded(class_labels=[1, 2, 3], num_inference_steps=100, generator=stream(),
                    output_type="np").images
    assert np.abs(theirs[..., 0] - ours[:, 0].numpy()).max() < 2e-3


@pytest.mark.parametrize(("schedule", "prediction", "scheduler"),
                         [("rectified", "flow", FlowMatchEulerDiscreteScheduler),
                          ("cosine", "v", EulerDiscreteScheduler)])
def test_schedulers_that_count_in_sigma_work(schedule, prediction, scheduler, tmp_path):
    with seeded(0):
        autoencoder, network = ConvAE(), DiffusionNet(width=16, depth=1, heads=2, hidden=16)
    denoiser = Denoiser(network, NoiseSchedule(schedule, 100), prediction)
    LatentDiffusion(autoencoder, denoiser, 3.0).save_pretrained(tmp_path / "model")
    pipe = load(tmp_path / "model", tmp_path / "modules")
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    asked = []
    pipe.model.denoiser.network.register_forward_pre_hook(lambda _, given: asked.append(given[1]))
    images = pipe(batch_size=2, num_inference_steps=5, generator=stream(), output_type="np").images
    assert np.isfinite(images).all()
    levels = torch.cat(asked).tolist()
    assert levels == sorted(levels, reverse=True)
    assert 90 <= levels[0] <= 99
    assert levels[-1] < 30
