"""Models broken on purpose: the doctor names the rung and the cause."""

import json
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from nanoldm.data import load
from nanoldm.diffusion import NoiseSchedule
from nanoldm.evaluation import doctor
from nanoldm.evaluation.features import load_features
from nanoldm.models import DiffusionNet
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import generator, seeded


@pytest.fixture(scope="module")
def test_images() -> Tensor:
    return to_float(load("mnist")[1].images[: doctor.LATENTS])


@pytest.fixture
def model(monkeypatch) -> LatentDiffusion:
    """The bundled model, to be broken; fewer images make the ladder quick."""
    monkeypatch.setattr(doctor, "IMAGES", 64)
    return deepcopy(LatentDiffusion.from_pretrained("mnist"))


def first_broken(model: LatentDiffusion, images: Tensor, until: str = "denoise from t = 75") -> tuple[str | None, str]:
    """The first broken rung and its cause; the rungs are climbed one by one, up to `until`."""
    for rung, sheet in doctor.climb(model, images, load_features().networks["classifier"]):
        assert sheet.width > 100
        if not rung.passed:
            return rung.name, doctor.find_cause(model, images, rung)
        if rung.name == until:
            break
    return None, ""


def test_the_bundled_model_holds_every_rung(model, test_images):
    assert first_broken(model, test_images, "sample from noise") == (None, "")


def test_wrong_latent_statistics(model, test_images):
    model.autoencoder.latent_std.mul_(2)
    rung, cause = first_broken(model, test_images)
    assert rung == "latent statistics"
    assert "set_statistics" in cause


def test_a_shuffled_decoder(model, test_images):
    weight = model.autoencoder.decoder[0].weight
    weight.data = weight.data[torch.randperm(len(weight), generator=generator(1))]
    rung, cause = first_broken(model, test_images)
    assert rung == "reconstruct"
    assert "do not belong together" in cause


def test_a_clamp_that_cuts_latents(model, test_images):
    model.clip_sample_range = 2.0
    rung, cause = first_broken(model, test_images)
    assert rung == "clamp"
    assert "clip_sample_range" in cause


def test_an_untrained_ema(model, test_images):
    with seeded(0):
        model.denoiser.network = DiffusionNet().eval()
    rung, cause = first_broken(model, test_images)
    assert rung in ("denoise from t = 25", "denoise from t = 50")
    assert "an EMA that never took in the trained ones" in cause


def test_a_schedule_that_the_network_was_not_trained_with(model, test_images):
    model.denoiser.schedule = NoiseSchedule("linear", 100)
    rung, cause = first_broken(model, test_images)
    assert rung in ("denoise from t = 25", "denoise from t = 50")
    assert "another noise schedule" in cause


def test_weights_that_are_not_numbers_do_not_pass(model, test_images):
    torch.nn.init.constant_(model.denoiser.network.out_proj.bias, float("nan"))
    assert first_broken(model, test_images)[0] == "denoise from t = 25"


def test_a_model_of_forty_steps_fails_on_the_command_line(nanoldm, trained_run, tiny_features):
    failed = nanoldm("doctor", trained_run, "--features", tiny_features, "--out", "examined", "--threads", 1)
    assert failed.returncode == 1, failed.stderr
    found = json.loads((nanoldm.folder / "examined" / "doctor.json").read_text())
    assert f"breaks at: {found['first_broken']}. Usually: {found['cause']}" in failed.stdout
    assert [rung["name"] for rung in found["rungs"]][-1] == "sample from noise"
    assert (nanoldm.folder / "examined" / "doctor.png").stat().st_size > 1000


def test_networks_for_other_images_are_refused(nanoldm, trained_run):
    refused = nanoldm("doctor", trained_run)
    assert refused.returncode == 2
    assert "train networks with: nanoldm features" in refused.stderr


def test_a_model_that_knows_labels_is_told_those_of_the_images(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "IMAGES", 16)
    told = []
    denoise_from = LatentDiffusion.denoise_from
    monkeypatch.setattr(LatentDiffusion, "denoise_from", lambda model, images, t, seeds, *, labels, progress: (
        told.append(labels), denoise_from(model, images, t, seeds, 2, labels=labels))[1])
    doctor.examine("mnist-conditional", out=tmp_path)
    assert [labels.tolist() for labels in told] == [load("mnist")[1].labels[:16].tolist()] * 4
