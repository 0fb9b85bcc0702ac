"""LatentDiffusion: one seed is one image, whatever happens around it."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from nanoldm.diffusion import Denoiser, ddpm
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import pictures
from nanoldm.utils.seeding import generator, seeded

GREY_LEVEL = 1 / 255


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 1, 28, 28, generator=generator(5))


def noise(seeds, count=1):
    """The noise of the pipeline: `count` times (B, 49, 6), row k from the stream of seeds[k]."""
    streams = [generator(seed) for seed in seeds]
    return [torch.stack([torch.randn(49, 6, generator=stream) for stream in streams])
            for _ in range(count)]


def encode(pipeline, images):
    with torch.inference_mode():
        return pipeline.autoencoder.encode(images)


class Oracle(nn.Module):
    """The network that knows the answer: the eps that leads from x_t back to one given x0."""

    def __init__(self, schedule, x0):
        super().__init__()
        self.schedule, self.x0 = schedule, x0

    def forward(self, x_t, t):
        alpha, sigma = (level[:, None, None] for level in self.schedule(t))
        return (x_t - alpha * self.x0) / sigma


def test_images_are_floats_from_0_to_1_on_the_cpu(tiny_pipeline):
    made = tiny_pipeline.generate(range(3), steps=5)
    assert made.shape == (3, 1, 28, 28)
    assert (made.dtype, made.device.type) == (torch.float32, "cpu")
    assert 0 <= made.min() < made.max() <= 1


def test_images_can_be_pictures(tiny_pipeline):
    floats = tiny_pipeline.generate(2, steps=2)
    found = tiny_pipeline.generate(2, steps=2, output="pil")
    assert [(picture.mode, picture.size) for picture in found] == [("L", (28, 28))] * 2
    assert np.abs(np.array(found[1]) / 255 - floats[1, 0].numpy()).max() <= 0.5001 / 255
    assert pictures(torch.rand(1, 3, 8, 8))[0].mode == "RGB"
    with pytest.raises(InputError, match="unknown output 'jpg': choose one of tensor, pil"):
        tiny_pipeline.generate(2, output="jpg")


def test_the_same_seed_gives_the_same_bits_whatever_the_global_state(tiny_pipeline):
    first = tiny_pipeline.generate([3, 1], steps=10)
    with seeded(99):
        assert torch.equal(tiny_pipeline.generate([3, 1], steps=10), first)


def test_every_seed_gives_another_image(tiny_pipeline):
    made = tiny_pipeline.generate(range(6), steps=10)
    for i in range(6):
        for k in range(i):
            assert (made[i] - made[k]).abs().max() > 50 * GREY_LEVEL


@pytest.mark.parametrize(("steps", "clamp"), [(100, True), (20, False)])
def test_an_image_depends_on_its_own_seed_alone(tiny_pipeline, monkeypatch, steps, clamp):
    settings = {"steps": steps, "clamp": clamp}
    together = tiny_pipeline.generate(range(5), **settings)
    shuffled = tiny_pipeline.generate([4, 7, 2, 0], **settings)
    alone = tiny_pipeline.generate([2], **settings)
    monkeypatch.setattr(tiny_pipeline, "batch_size", 2)
    in_batches = tiny_pipeline.generate(range(5), **settings)
    assert (in_batches - together).abs().max() <= GREY_LEVEL
    assert (shuffled[[0, 2, 3]] - together[[4, 2, 0]]).abs().max() <= GREY_LEVEL
    assert (alone[0] - together[2]).abs().max() <= GREY_LEVEL


def test_fewer_steps_evaluate_the_network_less_often(tiny_pipeline):
    calls = []
    hook = tiny_pipeline.denoiser.network.register_forward_hook(
        lambda module, arguments, output: calls.append(arguments[1].tolist())
    )
    tiny_pipeline.generate([0, 1], steps=4)
    tiny_pipeline.generate([0])
    hook.remove()
    assert calls[:4] == [[99], [74], [49], [24]]             # one for the whole batch
    assert calls[4:] == [[t] for t in reversed(range(100))]


def test_without_clamp_generate_is_ddpm_run_by_hand(tiny_pipeline):
    denoiser, (x_T, *fresh) = tiny_pipeline.denoiser, noise([8, 9], 100)
    noises = iter(fresh)
    with torch.inference_mode():
        *_, (x, _) = ddpm(denoiser, x_T, denoiser.schedule, list(reversed(range(100))),
                          lambda: next(noises))
    assert torch.equal(tiny_pipeline.generate([8, 9], clamp=False), tiny_pipeline.decode(x))
    assert next(noises, None) is None
    assert (tiny_pipeline.generate([8, 9]) - tiny_pipeline.decode(x)).abs().max() > 50 * GREY_LEVEL


def test_without_clamp_denoising_is_the_update_of_the_specification(tiny_pipeline, images):
    """x_t-1 = (x_t - beta_t / sqrt(1 - alpha_bar_t) eps) / sqrt(1 - beta_t) + sqrt(beta_t) z, in 64
    bits, with the cosine table by hand.
    """
    f = [math.cos((t / 100 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(101)]
    start, (eps, *fresh) = 60, noise([4, 5, 6], 61)
    x = (f[start + 1] / f[0]) ** 0.5 * encode(tiny_pipeline, images).double() + (
        1 - f[start + 1] / f[0]
    ) ** 0.5 * eps
    for t, z in zip(range(start, -1, -1), [*fresh, torch.zeros(1)], strict=True):
        beta = 1 - f[t + 1] / f[t]
        with torch.inference_mode():
            predicted = tiny_pipeline.denoiser.network(x.float(), torch.full((3,), t)).double()
        x = (
            x - beta / (1 - f[t + 1] / f[0]) ** 0.5 * predicted
        ) / (1 - beta) ** 0.5 + beta**0.5 * z
    result = tiny_pipeline.denoise_from(images, start, [4, 5, 6], clamp=False)[1]
    assert (result - tiny_pipeline.decode(x.float())).abs().max() < 1e-3


@pytest.mark.parametrize("clamp", [True, False])
def test_the_last_frame_of_the_trajectory_is_the_image(tiny_pipeline, clamp):
    frames = list(tiny_pipeline.trajectory([1, 2], steps=7, clamp=clamp))
    assert len(frames) == 7
    for frame in frames[-1]:        # the last step goes to the estimate of x0 itself
        assert (frame - tiny_pipeline.generate([1, 2], steps=7, clamp=clamp)).abs().max() < 1e-4
    assert not torch.equal(frames[0][0], frames[-1][0])


def test_a_trajectory_does_not_switch_gradients_off_for_its_reader(tiny_pipeline):
    frames = tiny_pipeline.trajectory([0], steps=3)
    next(frames)
    inside = torch.is_grad_enabled()
    frames.close()
    assert inside


def test_images_that_come_out_can_be_trained_on(tiny_pipeline, images):
    made = [tiny_pipeline.generate([0], steps=2), tiny_pipeline.reconstruct(images),
            *tiny_pipeline.denoise_from(images, 1, [0, 1, 2])]
    for batch in made:
        weight = torch.ones(1, requires_grad=True)
        (batch * weight).sum().backward()
        assert weight.grad == pytest.approx(batch.sum().item(), rel=1e-4)


def test_reconstruction_is_the_sigmoid_of_the_decoded_code(tiny_pipeline, images):
    autoencoder = tiny_pipeline.autoencoder
    with torch.no_grad():
        expected = torch.sigmoid(autoencoder.decode(autoencoder.encode(images)))
    assert torch.equal(tiny_pipeline.reconstruct(images), expected)


@pytest.mark.parametrize("t", [0, 50, 99])
def test_noised_images_are_alpha_x0_plus_sigma_eps(tiny_pipeline, images, t):
    alpha, sigma = tiny_pipeline.denoiser.schedule(torch.tensor(t))
    noised, _ = tiny_pipeline.denoise_from(images, t, [7, 8, 9], steps=1)
    by_hand = alpha * encode(tiny_pipeline, images) + sigma * noise([7, 8, 9])[0]
    assert torch.allclose(noised, tiny_pipeline.decode(by_hand), atol=1e-5)


@pytest.mark.parametrize(("t", "steps"), [(0, None), (30, None), (75, 3), (90, 1)])
def test_a_network_that_knows_the_noise_brings_the_reconstruction_back(
    tiny_pipeline, images, t, steps
):
    schedule, x0 = tiny_pipeline.denoiser.schedule, encode(tiny_pipeline, images)
    oracle = LatentDiffusion(tiny_pipeline.autoencoder, Denoiser(Oracle(schedule, x0), schedule),
                             float(x0.abs().max()))
    _, result = oracle.denoise_from(images, t, [1, 2, 3], steps=steps)
    assert (result - oracle.reconstruct(images)).abs().max() < 1e-3


def test_batches_do_not_matter_for_denoising_either(tiny_pipeline, images, monkeypatch):
    whole = tiny_pipeline.denoise_from(images, 40, [1, 2, 3])
    monkeypatch.setattr(tiny_pipeline, "batch_size", 2)
    parts = tiny_pipeline.denoise_from(images, 40, [1, 2, 3])
    assert all((a - b).abs().max() <= GREY_LEVEL for a, b in zip(whole, parts, strict=True))


@pytest.mark.parametrize(("arguments", "message"),
                         [({"seeds": []}, "no seeds"), ({"seeds": [3, -1]}, "-1"),
                          ({"seeds": [0], "steps": 0}, "1 to 100"),
                          ({"seeds": [0], "steps": 101}, "1 to 100"),
                          ({"seeds": [0], "steps": -5}, "1 to 100")])
def test_seeds_and_steps_that_do_not_exist_are_errors(tiny_pipeline, arguments, message):
    with pytest.raises(InputError, match=message):
        tiny_pipeline.generate(**arguments)
    with pytest.raises(InputError, match=message):
        next(tiny_pipeline.trajectory(**arguments))


@pytest.mark.parametrize(("t", "seeds", "steps", "message"),
                         [(100, [1, 2, 3], None, "timestep 100 .* 0 to 99"),
                          (-1, [1, 2, 3], None, "timestep -1 .* 0 to 99"),
                          (10, [1, 2], None, "3 images .* not 2"), (10, [], None, "no seeds"),
                          (10, [1, -2, 3], None, "-2"), (10, [1, 2, 3], 12, "1 to 11"),
                          (10, [1, 2, 3], 0, "1 to 11")])
def test_what_cannot_be_denoised_is_an_error(tiny_pipeline, images, t, seeds, steps, message):
    with pytest.raises(InputError, match=message):
        tiny_pipeline.denoise_from(images, t, seeds, steps=steps)


@pytest.mark.parametrize("shape", [(2, 1, 30, 30), (2, 1, 32, 32), (2, 3, 28, 28), (28, 28)])
def test_images_of_another_shape_are_errors(tiny_pipeline, shape):
    for use in (tiny_pipeline.encode, tiny_pipeline.reconstruct):
        with pytest.raises(InputError, match=r"do not fit: this model needs \(N, 1, 28, 28\)"):
            use(torch.rand(shape))


def test_a_batch_size_below_1_is_an_error(tiny_pipeline, monkeypatch):
    monkeypatch.setattr(tiny_pipeline, "batch_size", -1)
    with pytest.raises(InputError, match="batch_size -1: at least 1"):
        tiny_pipeline.generate([0], steps=1)
