"""Image-to-image and inpainting: known pixels are kept exactly, and generated pixels fit them."""

import pytest
import torch

from nanoldm import LatentDiffusion
from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.editing import Known, img2img, inpaint, invert
from nanoldm.utils.errors import InputError

GREY_LEVEL = 1 / 255


def test_img2img_is_denoise_from_with_one_image(tiny_pipeline, image):
    edited = img2img(tiny_pipeline, image, 30, [4, 5], steps=5)
    noised, expected = tiny_pipeline.denoise_from(image.repeat(2, 1, 1, 1), 30, [4, 5], steps=5)
    assert torch.equal(edited.images, expected)
    assert torch.equal(edited.shown["noised to t = 30"], noised)
    result, floor = edited.errors.values()
    assert result == pytest.approx((expected - image).square().mean().item())
    assert floor == pytest.approx((tiny_pipeline.reconstruct(image) - image).square().mean().item())


@pytest.mark.parametrize("settings",
                         [{}, {"sampler": "dpm++2m"}, {"sampler": "ab4", "spacing": "shifted"}])
def test_known_pixels_are_unchanged_bit_for_bit_and_the_others_depend_on_the_seed(
    tiny_pipeline, image, mask, settings
):
    images = inpaint(tiny_pipeline, image, mask, [1, 2], **{"steps": 6} | settings).images
    kept = ~mask.expand_as(images)
    assert torch.equal(images[kept], image.expand_as(images)[kept])
    assert not torch.equal(images[0], images[1])
    assert (inpaint(tiny_pipeline, image, mask, [2], **{"steps": 6} | settings).images[0]
            - images[1]).abs().max() < GREY_LEVEL


def test_the_default_is_ddpm_repaint_in_20_shifted_steps(tiny_pipeline, image, mask):
    named = inpaint(tiny_pipeline, image, mask, [1], steps=20, sampler="ddpm-repaint",
                    spacing="shifted").images
    assert torch.equal(inpaint(tiny_pipeline, image, mask, [1]).images, named)
    assert not torch.equal(inpaint(tiny_pipeline, image, mask, [1], steps=20, sampler="ddpm",
                                   spacing="shifted").images, named)


def test_generated_pixels_do_not_depend_on_the_pixels_they_replace(tiny_pipeline, image, mask):
    other = torch.where(mask, 1 - image, image)
    a, b = (inpaint(tiny_pipeline, picture, mask, [1], steps=6).images
            for picture in (image, other))
    assert torch.equal(a, b)


def test_a_known_image_pulls_the_model_to_its_reconstruction(digits_model, digit):
    """The generated pixels agree with the known ones about as well as the autoencoder allows."""
    mask = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
    mask[..., 14:] = True
    fit, floor, _ = inpaint(digits_model, digit[:1], mask, [0, 1], steps=20,
                            spacing="shifted").errors.values()
    assert fit < 3 * floor
    known = ~mask.expand(2, -1, -1, -1)
    free = digits_model.generate([0, 1], sampler="ddpm", steps=20, spacing="shifted")
    assert (free - digit[:1])[known].square().mean() > 20 * floor


def test_known_keeps_x0_and_eps_consistent_and_leaves_far_tokens_alone(tiny_pipeline, image):
    mask = torch.ones(1, 1, 28, 28, dtype=torch.bool)
    # the pixels of one token are known; its neighbours depend on some of them
    mask[..., :4, :4] = False
    denoise, x_t, t = Known(tiny_pipeline.denoiser, tiny_pipeline, image,
                            mask), tiny_pipeline.noise([0]), torch.tensor([50])
    with torch.no_grad():
        known, free = denoise(x_t, t), tiny_pipeline.denoiser(x_t, t)
    alpha, sigma = tiny_pipeline.denoiser.schedule(t)
    assert torch.allclose(alpha * known.x0 + sigma * known.eps, x_t, atol=1e-5)
    changed = (known.x0 != free.x0).any(2)[0].view(7, 7)
    assert changed[:2, :2].all()
    assert changed.sum() == 4


def test_editing_works_on_the_rectified_schedule(tiny_pipeline, image, mask):
    denoiser = Denoiser(tiny_pipeline.denoiser.network, NoiseSchedule("rectified", 100), "flow")
    model = LatentDiffusion(tiny_pipeline.autoencoder, denoiser, 3.0)
    assert torch.isfinite(inpaint(model, image, mask, [0], steps=5).images).all()
    assert torch.isfinite(invert(model, image, steps=5)[0]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda model, image, mask: img2img(model, image.repeat(2, 1, 1, 1), 5, [0]),
      "2 images: give one at a time"),
     (lambda model, image, mask: img2img(model, image, 100, [0]), "choose 0 to 99"),
     (lambda model, image, mask: inpaint(model, image, mask, [0], steps=0), "choose 1 to 100"),
     (lambda model, image, mask: inpaint(model, image, mask.float(), [0]), "give bool"),
     (lambda model, image, mask: inpaint(model, image, mask[..., :9], [0]), "give bool"),
     (lambda model, image, mask: inpaint(model, image, mask | True, [0]), "covers everything"),
     (lambda model, image, mask: inpaint(model, image, mask & False, [0]), "covers nothing")]
)
def test_bad_images_and_masks_are_errors(tiny_pipeline, image, mask, call, message):
    with pytest.raises(InputError, match=message):
        call(tiny_pipeline, image, mask)


@pytest.mark.parametrize("wrong", [lambda image: image * 2 - 1, lambda image: image.double(),
                                   lambda image: image[..., :8]])
def test_an_image_that_does_not_fit_is_an_error_before_any_work(tiny_pipeline, image, wrong,
                                                                monkeypatch):
    monkeypatch.setattr(LatentDiffusion, "generate", None)
    mask = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
    with pytest.raises(InputError, match=r"give|do not fit"):
        inpaint(tiny_pipeline, wrong(image), mask, [1])
