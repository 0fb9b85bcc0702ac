"""Labels from the data to the command line: trained with, generated from, an error where they do
not exist.
"""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from nanoldm import editing
from nanoldm.data.npz import load_images
from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.models import ConvAE, DiffusionNet
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator, seeded

GREY_LEVEL = 1 / 255


@pytest.fixture(scope="module")
def conditional() -> LatentDiffusion:
    """An untrained model of three classes whose pictures depend on the label."""
    with seeded(0), torch.no_grad():
        autoencoder = ConvAE()
        network = DiffusionNet(width=32, depth=1, heads=2, hidden=64, labels=3)
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
        network.label.weight.mul_(100)
        autoencoder.latent_std.fill_(3)
    return LatentDiffusion(autoencoder, Denoiser(network, NoiseSchedule("cosine", 100)), 3.0)


@pytest.fixture(scope="module")
def conditional_run(nanoldm, tiny_options):
    finished = nanoldm("train", "mnist-conditional", *tiny_options, "--steps", 12, "--out",
                       "conditional")
    assert finished.returncode == 0, finished.stderr
    return nanoldm.folder / "conditional"


# Pipeline


def test_an_image_depends_on_its_seed_and_label_alone(conditional, monkeypatch):
    together = conditional.generate([3, 4, 5], [0, 1, 2], steps=5)
    assert (together[1:2] - conditional.generate([4], 1, steps=5)).abs().max() <= GREY_LEVEL
    assert (together[1:2] - conditional.generate([4], 2, steps=5)).abs().max() > 10 * GREY_LEVEL
    frames = list(conditional.trajectory([3, 4, 5], [0, 1, 2], steps=5))
    assert (frames[-1][0] - together).abs().max() < 1e-4
    monkeypatch.setattr(conditional, "batch_size", 2)
    assert (conditional.generate([3, 4, 5], [0, 1, 2], steps=5)
            - together).abs().max() <= GREY_LEVEL


def test_without_labels_each_seed_has_a_random_one_and_all_classes_come_up(conditional):
    labels = conditional.draw_labels(300)
    assert torch.bincount(labels, minlength=3).min() > 60       # 100 expected, standard deviation 8
    assert torch.equal(conditional.draw_labels(range(100, 110)), labels[100:110])
    images = conditional.generate([7, 8], steps=5)
    assert torch.equal(images, conditional.generate([7, 8], labels[7:9].tolist(), steps=5))
    assert not torch.equal(images, conditional.generate([7, 8], -1, steps=5))


def test_guidance_reaches_the_sampler(conditional):
    plain = conditional.generate([1], 1, steps=5)
    assert torch.equal(plain, conditional.generate([1], 1, steps=5, guidance=1.0))
    assert not torch.equal(plain, conditional.generate([1], 1, steps=5, guidance=3.0))


@pytest.mark.parametrize(("labels", "match"), [
    ([0, 1], "3 images need 3 labels, not 2"),
    (np.array([[0], [1], [2]]), r"3 images need 3 labels, not an array \(3, 1\)"),
    (3, "choose 0 to 2"), ([0, -2, 1], "no label -2")])
def test_labels_that_do_not_fit_are_errors(conditional, labels, match):
    with pytest.raises(InputError, match=match):
        conditional.generate([1, 2, 3], labels, steps=2)


def test_a_model_without_labels_rejects_labels_and_guidance(tiny_pipeline):
    assert tiny_pipeline.draw_labels([1, 2]) is None
    with pytest.raises(InputError, match="trained without labels"):
        tiny_pipeline.generate([0], 0, steps=2)
    with pytest.raises(InputError, match="remove guidance"):
        tiny_pipeline.generate([0], steps=2, guidance=2.0)
    assert torch.equal(tiny_pipeline.generate([0], -1, steps=2),
                       tiny_pipeline.generate([0], steps=2))


def test_classes_survive_saving(conditional, tmp_path):
    conditional.save_pretrained(tmp_path)
    loaded = LatentDiffusion.from_pretrained(tmp_path)
    assert loaded.classes == 3
    assert torch.equal(loaded.generate([1], 2, steps=3), conditional.generate([1], 2, steps=3))


# Command line


def test_label_0_9_generates_every_class_in_a_row_of_its_own(nanoldm, conditional_run):
    made = nanoldm("sample", conditional_run, "--label", "0-9", "--n", 20, "--steps", 3,
                   "--guidance", 2, "--npz", "labelled.npz")
    assert made.returncode == 0, made.stderr
    arrays = np.load(nanoldm.folder / "labelled.npz")
    assert arrays["labels"].tolist() == [*range(10)] * 2
    expected = LatentDiffusion.from_pretrained(conditional_run).generate(
        20, [*range(10)] * 2, steps=3, guidance=2
    )
    assert np.abs(arrays["images"].astype(int) - (expected[:, 0] * 255).round().numpy()).max() <= 1
    sheet = Image.open(nanoldm.folder / "samples.png")
    assert sheet.height > 4 * sheet.width                       # ten rows of two


def test_evaluate_judges_a_model_with_labels_by_them(nanoldm, conditional_run, tiny_features):
    done = nanoldm("evaluate", conditional_run, "--n", 30, "--steps", 2, "--guidance", 2,
                   "--features", tiny_features, "--out", "judged")
    assert done.returncode == 0, done.stderr
    report = json.loads((nanoldm.folder / "judged" / "report.json").read_text())
    assert 0 <= report["class_conditional"]["accuracy"] <= 1
    assert report["judged"]["nfe"] == 4
    assert "10 classes" in nanoldm("info", conditional_run).stdout


def test_images_without_labels_cannot_train_a_recipe_with_labels(nanoldm, digits, tmp_path):
    for k, file in enumerate(sorted(digits.rglob("*.png"))[:30]):
        (tmp_path / f"{k}.png").write_bytes(file.read_bytes())
    failed = nanoldm("train", "mnist-conditional", "--data", f"folder:{tmp_path}", "--size", 8,
                     "--steps", 2, "--out", "unlabelled")
    assert failed.returncode == 2
    assert "one subfolder per class" in failed.stderr
    assert not (nanoldm.folder / "unlabelled").exists()


def test_the_denoising_error_depends_on_the_labels(conditional):
    latents = torch.randn(8, *conditional.latent_shape, generator=generator(0))
    first, second = (conditional.denoising_error(latents, torch.full((8,), label))
                     for label in (0, 2))
    assert first != pytest.approx(second, rel=1e-3)


def test_the_clamp_goes_around_guidance(conditional):
    """Otherwise guidance would push x0 out of the data again."""
    denoise = conditional.conditioned(Sampling(guidance=8.0), torch.tensor([0, 1]))
    x_t = 5 * torch.randn(2, *conditional.latent_shape, generator=generator(0))
    assert denoise(x_t, torch.tensor([90])).x0.abs().max() == conditional.clip_sample_range


def test_edits_take_labels(conditional):
    """img2img to a class is denoise_from with its label; the others change with it."""
    image, seeds = conditional.generate([1], 0, steps=5), [2, 3]
    expected = conditional.denoise_from(image.expand(2, -1, -1, -1), 60, seeds, labels=[0, 2],
                                        steps=5)[1]
    assert torch.equal(editing.img2img(conditional, image, 60, seeds, labels=[0, 2],
                                       steps=5).images, expected)
    mask = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
    mask[..., 14:] = True
    for edit in (lambda label: editing.inpaint(conditional, image, mask, seeds, labels=label,
                                               steps=3),
                 lambda label: editing.vary(conditional, image, 0.5, seeds, labels=label, steps=5),
                 lambda label: editing.interpolate(conditional, [3, 4], 3, label, steps=5)):
        assert (edit(1).images - edit(2).images).abs().max() > 10 * GREY_LEVEL


def test_an_image_is_edited_towards_a_class_from_the_command_line(nanoldm, conditional_run):
    edited = nanoldm("img2img", conditional_run, "test:0", "--t", 30, "--label", "3,5",
                     "--guidance", 2, "--steps", 2)
    assert edited.returncode == 0, edited.stderr
    rejected = nanoldm("vary", "mnist", "test:0", "--label", "3")
    assert rejected.returncode == 2
    assert "trained without labels" in rejected.stderr


# Odd data


def test_guidance_that_could_do_nothing_is_an_error(conditional):
    for call in (lambda: conditional.generate([1], -1, steps=2, guidance=2.0),
                 lambda: conditional.denoise_from(torch.rand(1, 1, 28, 28), 9, [1], guidance=2.0)):
        with pytest.raises(InputError,
                           match="guidance needs labels: give labels, or remove guidance"):
            call()
    with pytest.raises(InputError, match="timesteps 0 to 99"):
        conditional.generate([1], 1, steps=2, guidance=2.0, guidance_interval=(200, 800))


def test_labels_that_are_no_whole_numbers_are_errors(conditional):
    with pytest.raises(InputError, match="whole numbers"):
        conditional.generate([1], [1.0], steps=2)
    assert torch.equal(conditional.generate([1], np.int64(1), steps=2),
                       conditional.generate([1], 1, steps=2))


@pytest.mark.parametrize("option", [["--label", "none"], ["--label", "None"], ["--label=None"]])
def test_none_in_any_case_of_letters_is_no_class(nanoldm, conditional_run, option):
    assert nanoldm("sample", conditional_run, "--n", 2, "--steps", 1, "--npz", "none.npz",
                   *option).returncode == 0
    assert load_images(nanoldm.folder / "none.npz").labels.tolist() == [-1, -1]
