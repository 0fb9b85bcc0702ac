"""Edits in noise space: identities that hold for any model, and digits inverted by the bundled one.
"""

import pytest
import torch

from nanoldm.diffusion import ddim
from nanoldm.editing import interpolate, invert, slerp, vary
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator

GREY_LEVEL = 1 / 255


def test_slerp_goes_from_end_to_end_on_the_sphere():
    a, b = torch.randn(2, 3, 49, 6, generator=generator(2), dtype=torch.float64)
    b = b / b.flatten(1).norm(dim=1)[:, None, None] * a.flatten(1).norm(dim=1)[:, None, None]
    assert torch.equal(slerp(a, b, 0), a)
    assert torch.equal(slerp(a, b, 1), b)
    for share in (0.1, 0.5, 0.8):
        assert torch.allclose(slerp(a, b, share).flatten(1).norm(dim=1), a.flatten(1).norm(dim=1))
        assert torch.allclose(slerp(a, b, share), slerp(b, a, 1 - share))
    assert torch.allclose(slerp(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), 1 / 3),
                          torch.tensor([[3**0.5, 1.0]]))
    assert torch.allclose(slerp(a, a, 0.3), a)          # no angle between the two: a straight line


def test_slerp_of_noise_is_noise():
    a, b = torch.randn(2, 100, 400, generator=generator(3))
    assert slerp(a, b, 0.5).var() == pytest.approx(1, abs=0.02)
    assert (0.5 * a + 0.5 * b).var() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("settings",
                         [{}, {"sampler": "dpm++2m", "steps": 12},
                          {"sampler": "heun", "steps": 5, "spacing": "shifted"}])
def test_the_ends_of_an_interpolation_are_the_images_of_its_seeds(tiny_pipeline, settings):
    edited = interpolate(tiny_pipeline, [3, 7], 4, **settings)
    expected = tiny_pipeline.generate([3, 7], **{"sampler": "ddim"} | settings)
    assert len(edited.images) == 4
    assert (edited.images[[0, -1]] - expected).abs().max() < GREY_LEVEL
    moved = (edited.images[1:] - edited.images[:-1]).square().mean((1, 2, 3)).tolist()
    mean, largest, ratio = edited.errors.values()
    assert (mean, largest) == pytest.approx((sum(moved) / 3, max(moved)))
    assert ratio == pytest.approx(largest / mean)


def test_inversion_returns_to_the_image_and_three_iterations_are_more_exact_than_one(
    digits_model, digit
):
    errors = [invert(digits_model, digit, iterations, steps=40)[1].errors for iterations in (1, 3)]
    near = "there and back, from the reconstruction"
    assert errors[1][near] < errors[0][near]
    floor = errors[1]["reconstruction, from the input (the floor)"]
    assert floor == pytest.approx((digits_model.reconstruct(digit) - digit).square().mean().item())
    assert errors[1]["there and back, from the input"] < 1.5 * floor


def test_generate_returns_from_the_inverted_noise(tiny_pipeline, image):
    x_T, edited = invert(tiny_pipeline, image, steps=20)
    assert x_T.shape == (1, 49, 6)
    assert (tiny_pipeline.generate([9], x_T=x_T, sampler="ddim", steps=20)
            - edited.images).abs().max() < GREY_LEVEL
    settings, schedule = tiny_pipeline.choose(Sampling("ddim", 20)), tiny_pipeline.denoiser.schedule
    with torch.no_grad():
        *_, (latents, _) = ddim(tiny_pipeline.conditioned(settings), x_T, schedule,
                                settings.timesteps, None)
    error = (latents - tiny_pipeline.encode(image)).square().mean().item()
    assert edited.errors["there and back, latents"] == pytest.approx(error, rel=1e-3)


def test_an_interpolation_of_images_begins_and_ends_with_them(digits_model, digit):
    edited = interpolate(digits_model, digit, 3, steps=40)
    floor = edited.errors["reconstruction of the inputs (the floor)"]
    assert max(edited.errors["first frame, from its input"],
               edited.errors["last frame, from its input"]) < 3 * floor
    assert (edited.images[1] - digit).square().mean() > 10 * floor


def test_a_variation_of_strength_0_is_the_image_and_of_strength_1_the_image_of_the_seed(
    digits_model, digit
):
    settings = {"steps": 25, "spacing": "shifted"}
    none = vary(digits_model, digit[:1], 0, [1, 2], **settings)
    assert none.errors[
        "variations, from the input"
    ] < 2 * none.errors["reconstruction, from the input (the floor)"]
    assert none.errors["variations, from their mean (spread)"] < 1e-6
    some = vary(digits_model, digit[:1], 0.3, [1, 2], **settings)
    assert some.errors["variations, from their mean (spread)"] > 1e-4
    full = vary(digits_model, digit[:1], 1, [1, 2], **settings)
    assert (full.images
            - digits_model.generate([1, 2], sampler="ddim", **settings)).abs().max() < GREY_LEVEL


def test_the_noise_of_the_steps_does_not_repeat_x_T(tiny_pipeline):
    seeds = [3, 8]
    given = tiny_pipeline.generate(seeds, steps=9, x_T=tiny_pipeline.noise(seeds))
    assert torch.equal(given, tiny_pipeline.generate(seeds, steps=9))


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda model, image: interpolate(model, [3]), "1 ends"),
     (lambda model, image: interpolate(model, [3, 4], 1), "choose a number from 2"),
     (lambda model, image: interpolate(model, [3, 4], sampler="ddpm"), "adds noise"),
     (lambda model, image: interpolate(model, [3, 4], sampler="ddim", eta=1.0), "adds noise"),
     (lambda model, image: vary(model, image, 0.5, [0], sampler="heun"),
      "inversion reverses steps of ddim"),
     (lambda model, image: interpolate(model, image.repeat(2, 1, 1, 1), sampler="dpm++2m"),
      "inversion reverses steps of ddim"),
     (lambda model, image: invert(model, image, iterations=0), "choose a number from 1"),
     (lambda model, image: invert(model, image, steps=101), "choose 1 to 100"),
     (lambda model, image: vary(model, image, 1.5, [0]), "from 0 .* to 1"),
     (lambda model, image: vary(model, image, float("nan"), [0]), "from 0 .* to 1"),
     (lambda model, image: model.generate([0, 1], x_T=torch.zeros(1, 49, 6)),
      "2 seeds of this model need")]
)
def test_bad_ends_samplers_and_strengths_are_errors(tiny_pipeline, image, call, message):
    with pytest.raises(InputError, match=message):
        call(tiny_pipeline, image)


def test_many_images_are_inverted_in_batches(tiny_pipeline, monkeypatch):
    images = tiny_pipeline.generate(range(5), steps=5)
    whole, together = invert(tiny_pipeline, images, steps=6)
    monkeypatch.setattr(tiny_pipeline, "batch_size", 2)
    parts, edited = invert(tiny_pipeline, images, steps=6)
    torch.testing.assert_close(parts, whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(edited.images, together.images, atol=1e-3, rtol=0)
