"""Models broken on purpose: the doctor names the failed check and the cause."""

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
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import generator, seeded


@pytest.fixture(scope="module")
def test_images() -> Tensor:
    return to_float(load("mnist")[1].images[: doctor.LATENTS])


@pytest.fixture
def model(monkeypatch) -> LatentDiffusion:
    """The bundled model, to be broken; fewer images save time."""
    monkeypatch.setattr(doctor, "IMAGES", 64)
    return deepcopy(LatentDiffusion.from_pretrained("mnist"))


def first_failed(model: LatentDiffusion, images: Tensor,
                 until: str = "denoise from t = 75") -> tuple[str | None, str]:
    """The first failed check and its cause; later checks than `until` are not run."""
    network = load_features().networks["classifier"]
    for check, sheet in doctor.run_checks(model, images, network):
        assert sheet.width > 100
        if not check.passed:
            return check.name, doctor.find_cause(model, images, check)
        if check.name == until:
            break
    return None, ""


@pytest.mark.slow
def test_the_bundled_model_passes_every_check(model, test_images):
    assert first_failed(model, test_images, "sample from noise") == (None, "")


def test_wrong_latent_statistics(model, test_images):
    model.autoencoder.latent_std.mul_(2)
    name, cause = first_failed(model, test_images)
    assert name == "latent statistics"
    assert cause == doctor.CAUSES["latent statistics"]


def test_a_shuffled_decoder(model, test_images):
    weight = model.autoencoder.decoder[0].weight
    weight.data = weight.data[torch.randperm(len(weight), generator=generator(1))]
    name, cause = first_failed(model, test_images)
    assert name == "reconstruct"
    assert cause == doctor.CAUSES["reconstruct"]


def test_a_clamp_that_cuts_latents(model, test_images):
    model.clip_sample_range = 2.0
    name, cause = first_failed(model, test_images)
    assert name == "clamp"
    assert cause == doctor.CAUSES["clamp"]


@pytest.mark.slow
def test_an_untrained_network(model, test_images):
    with seeded(0):
        model.denoiser.network = DiffusionNet().eval()
    name, cause = first_failed(model, test_images)
    assert name in ("denoise from t = 25", "denoise from t = 50")
    assert cause == doctor.CAUSES["untrained"]


@pytest.mark.slow
def test_a_schedule_that_the_network_was_not_trained_with(model, test_images, monkeypatch):
    monkeypatch.setattr(doctor, "IMAGES", 200)  # coverage of 64 images is too large to show it
    model.denoiser.schedule = NoiseSchedule("linear", 100)
    name, cause = first_failed(model, test_images)
    assert name in ("denoise from t = 25", "denoise from t = 50")
    assert cause.startswith(doctor.CAUSES["schedule"].partition("{")[0])


def test_weights_of_nan_do_not_pass(model, test_images):
    torch.nn.init.constant_(model.denoiser.network.out_proj.bias, float("nan"))
    assert first_failed(model, test_images)[0] == "denoise from t = 25"


def test_an_untrained_model_fails(small_model, tiny_reference, tmp_path, capsys):
    assert not doctor.examine(small_model, tiny_reference, tmp_path)
    found = json.loads((tmp_path / "doctor.json").read_text())
    expected = f"fails at: {found['first_failed']}. Usual cause: {found['cause']}"
    assert expected in capsys.readouterr().out
    assert found["checks"][-1]["name"] == "sample from noise"
    assert (tmp_path / "doctor.png").stat().st_size > 1000


def test_a_failed_check_is_exit_code_1(nanoldm, small_model, tiny_features):
    options = ("--features", tiny_features, "--out", "examined", "--threads", 1)
    failed = nanoldm("doctor", small_model, *options)
    assert failed.returncode == 1, failed.stderr
    assert "fails at: " in failed.stdout


def test_networks_for_other_images_are_an_error(small_model):
    with pytest.raises(InputError, match="train networks with: nanoldm features"):
        doctor.examine(small_model)


def test_a_model_with_classes_is_conditioned_on_those_of_the_images(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "IMAGES", 16)
    conditions = []
    denoise_from = LatentDiffusion.denoise_from

    def record(model, images, t, seeds, labels, settings, progress):
        conditions.append(labels.tolist())
        return denoise_from(model, images, t, seeds, labels, settings=settings, steps=2)

    monkeypatch.setattr(LatentDiffusion, "denoise_from", record)
    doctor.examine("mnist-fast-conditional", out=tmp_path)
    assert conditions == [load("mnist")[1].labels[:16].tolist()] * 4
