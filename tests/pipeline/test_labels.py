"""Labels from the data to the command line: trained with, drawn by, refused where they do not exist."""

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
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import seeded

GREY_LEVEL = 1 / 255


@pytest.fixture(scope="module")
def knowing() -> LatentDiffusion:
    """An untrained model of three classes whose pictures depend on the label."""
    with seeded(0), torch.no_grad():
        autoencoder, network = ConvAE(), DiffusionNet(width=32, depth=1, heads=2, hidden=64, classes=3)
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
        network.label.weight.mul_(100)
        autoencoder.latent_std.fill_(3)
    return LatentDiffusion(autoencoder, Denoiser(network, NoiseSchedule("cosine", 100)), 3.0)


@pytest.fixture(scope="module")
def conditional_run(nanoldm, tiny_options):
    finished = nanoldm("train", "mnist-conditional", *tiny_options, "--steps", 12, "--out", "conditional")
    assert finished.returncode == 0, finished.stderr
    return nanoldm.folder / "conditional"


# Pipeline


def test_an_image_depends_on_its_seed_and_label_alone(knowing):
    together = knowing.generate([3, 4, 5], 5, labels=[0, 1, 2])
    assert (together[1:2] - knowing.generate([4], 5, labels=1)).abs().max() <= GREY_LEVEL
    assert (together[1:2] - knowing.generate([4], 5, labels=2)).abs().max() > 10 * GREY_LEVEL
    in_batches = knowing.generate([3, 4, 5], 5, labels=[0, 1, 2], batch_size=2)
    assert (in_batches - together).abs().max() <= GREY_LEVEL
    frames = list(knowing.trajectory([3, 4, 5], 5, labels=[0, 1, 2]))
    assert (frames[-1][0] - together).abs().max() < 1e-4


def test_without_labels_each_seed_draws_one_and_all_classes_come_up(knowing):
    labels = knowing.labels(range(300))
    assert torch.bincount(labels, minlength=3).min() > 60       # 100 expected, deviation 8
    assert torch.equal(knowing.labels(range(100, 110)), labels[100:110])
    drawn = knowing.generate([7, 8], 5)
    assert torch.equal(drawn, knowing.generate([7, 8], 5, labels=labels[7:9].tolist()))
    assert not torch.equal(drawn, knowing.generate([7, 8], 5, labels=-1))


def test_guidance_reaches_the_sampler(knowing):
    plain = knowing.generate([1], 5, labels=1)
    assert torch.equal(plain, knowing.generate([1], 5, labels=1, guidance=1.0))
    assert not torch.equal(plain, knowing.generate([1], 5, labels=1, guidance=3.0))


@pytest.mark.parametrize(("labels", "match"), [
    ([0, 1], "3 images need as many labels, not 2"), (3, "choose 0 to 2"), ([0, -2, 1], "no label -2")])
def test_labels_that_do_not_fit_are_errors(knowing, labels, match):
    with pytest.raises(InputError, match=match):
        knowing.generate([1, 2, 3], 2, labels=labels)


def test_a_model_without_labels_rejects_labels_and_guidance(tiny_pipeline):
    assert tiny_pipeline.labels([1, 2]) is None
    with pytest.raises(InputError, match="trained without labels"):
        tiny_pipeline.generate([0], 2, labels=0)
    with pytest.raises(InputError, match="leave guidance out"):
        tiny_pipeline.generate([0], 2, guidance=2.0)
    assert torch.equal(tiny_pipeline.generate([0], 2, labels=-1), tiny_pipeline.generate([0], 2))


def test_classes_survive_saving(knowing, tmp_path):
    knowing.save_pretrained(tmp_path)
    loaded = LatentDiffusion.from_pretrained(tmp_path)
    assert loaded.denoiser.classes == 3
    assert torch.equal(loaded.generate([1], 3, labels=2), knowing.generate([1], 3, labels=2))


# Command line


def test_label_0_9_draws_every_class_in_a_row_of_its_own(nanoldm, conditional_run):
    made = nanoldm("sample", conditional_run, "--label", "0-9", "--n", 20, "--steps", 3, "--guidance", 2, "--npz", "labelled.npz")
    assert made.returncode == 0, made.stderr
    arrays = np.load(nanoldm.folder / "labelled.npz")
    assert arrays["labels"].tolist() == [*range(10)] * 2
    expected = LatentDiffusion.from_pretrained(conditional_run).generate(range(20), 3, labels=[*range(10)] * 2, guidance=2)
    assert np.abs(arrays["images"].astype(int) - (expected[:, 0] * 255).round().numpy()).max() <= 1
    sheet = Image.open(nanoldm.folder / "samples.png")
    assert sheet.height > 4 * sheet.width                       # ten rows of two


def test_evaluate_judges_a_model_with_labels_by_them(nanoldm, conditional_run, tiny_features):
    done = nanoldm("evaluate", conditional_run, "--n", 30, "--steps", 2, "--guidance", 2, "--features", tiny_features, "--out", "judged")
    assert done.returncode == 0, done.stderr
    report = json.loads((nanoldm.folder / "judged" / "report.json").read_text())
    assert 0 <= report["class_conditional"]["accuracy"] <= 1
    assert report["judged"]["network_passes"] == 4
    assert "10 classes" in nanoldm("info", conditional_run).stdout


@pytest.mark.parametrize(("options", "match"), [
    (["--label", "10"], "choose 0 to 9"), (["--label", "x"], "knows no class 'x': choose 0 to 9"), (["--guidance", "-1"], "guidance -1"),
    (["--guidance-interval", "20-80"], "needs guidance"), (["--guidance", "2", "--guidance-interval", "80-20"], "guidance interval")])
def test_bad_labels_and_guidance_are_one_line(nanoldm, conditional_run, options, match):
    failed = nanoldm("sample", conditional_run, "--n", 1, "--steps", 1, "--out", "refused.png", *options)
    assert failed.returncode == 2
    assert match in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert not (nanoldm.folder / "refused.png").exists()


def test_images_without_labels_cannot_train_a_recipe_with_labels(nanoldm, digits, tmp_path):
    for k, file in enumerate(sorted(digits.rglob("*.png"))[:30]):
        (tmp_path / f"{k}.png").write_bytes(file.read_bytes())
    failed = nanoldm("train", "mnist-conditional", "--data", f"folder:{tmp_path}", "--size", 8, "--steps", 2, "--out", "unlabelled")
    assert failed.returncode == 2
    assert "subfolder for each class" in failed.stderr
    assert not (nanoldm.folder / "unlabelled").exists()


def test_edits_take_labels(knowing):
    """img2img to a class is denoise_from with its label; the other two change with it."""
    image, seeds = knowing.generate([1], 5, labels=0), [2, 3]
    expected = knowing.denoise_from(image.expand(2, -1, -1, -1), 60, seeds, 5, labels=[0, 2])[1]
    assert torch.equal(editing.img2img(knowing, image, 60, seeds, 5, labels=[0, 2]).images, expected)
    mask = torch.zeros(1, 1, 28, 28, dtype=torch.bool)
    mask[..., 14:] = True
    for edit in (lambda label: editing.inpaint(knowing, image, mask, seeds, 3, labels=label),
                 lambda label: editing.vary(knowing, image, 0.5, seeds, 5, labels=label)):
        assert (edit(1).images - edit(2).images).abs().max() > 10 * GREY_LEVEL


def test_an_image_is_edited_towards_a_class_from_the_command_line(nanoldm, conditional_run):
    edited = nanoldm("img2img", conditional_run, "test:0", "--t", 30, "--label", "3,5", "--guidance", 2, "--steps", 2)
    assert edited.returncode == 0, edited.stderr
    refused = nanoldm("vary", "mnist", "test:0", "--label", "3")
    assert refused.returncode == 2
    assert "trained without labels" in refused.stderr


# Odd data


def test_guidance_that_could_do_nothing_is_an_error(knowing):
    for call in (lambda: knowing.generate([1], 2, labels=-1, guidance=2.0), lambda: knowing.denoise_from(torch.rand(1, 1, 28, 28), 9, [1],
                                                                                                       guidance=2.0)):
        with pytest.raises(InputError, match="none is told here"):
            call()
    with pytest.raises(InputError, match="timesteps 0 to 99"):
        knowing.generate([1], 2, labels=1, guidance=2.0, guidance_interval=(200, 800))


def test_labels_that_are_no_whole_numbers_are_errors(knowing):
    with pytest.raises(InputError, match="whole numbers"):
        knowing.generate([1], 2, labels=[1.0])
    assert torch.equal(knowing.generate([1], 2, labels=np.int64(1)), knowing.generate([1], 2, labels=1))


@pytest.mark.parametrize("option", [["--label", "none"], ["--label", "None"], ["--label=None"]])
def test_none_in_any_case_of_letters_is_no_class(nanoldm, conditional_run, option):
    assert nanoldm("sample", conditional_run, "--n", 2, "--steps", 1, "--npz", "none.npz", *option).returncode == 0
    assert load_images(nanoldm.folder / "none.npz").labels.tolist() == [-1, -1]
