"""What is saved is what is loaded, diffusers reads it too, and whatever does not fit together is an
error with its name.
"""

import json
import re

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from nanoldm.diffusion import Denoiser, NoiseSchedule, ddim, sampling_timesteps
from nanoldm.models import ConvAE, Transformer
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import load_tensors, read_json, save_tensors
from nanoldm.utils.seeding import seeded

WEIGHTS = "diffusion_pytorch_model.safetensors"
AUTOENCODER, NETWORK = "autoencoder/config.json", "network/config.json"
SCHEDULER = "scheduler/scheduler_config.json"


def edit(path, **changes):
    """Change fields of a JSON file; ... removes one."""
    content = read_json(path) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def rejected(folder, match):
    with pytest.raises(InputError, match=match):
        LatentDiffusion.from_pretrained(folder)


@pytest.mark.parametrize("clamp", [True, False])
def test_a_loaded_model_generates_the_same_bits(tiny_pipeline, folder, clamp):
    loaded = LatentDiffusion.from_pretrained(folder)
    assert torch.equal(loaded.generate([1, 2], clamp=clamp),
                       tiny_pipeline.generate([1, 2], clamp=clamp))
    assert loaded.clip_sample_range == tiny_pipeline.clip_sample_range == 3


def test_a_plain_transformer_on_the_linear_schedule_comes_back_as_such(tmp_path):
    with seeded(1):
        network = Transformer(tokens=64, channels=4, width=16, depth=1, heads=2, hidden=32)
        model = LatentDiffusion(ConvAE(32, 3, 8, 4), Denoiser(network, NoiseSchedule("linear", 20)),
                                2.5)
    model.save_pretrained(tmp_path)
    loaded = LatentDiffusion.from_pretrained(str(tmp_path))
    made = loaded.generate([5])
    assert made.shape == (1, 3, 32, 32)
    assert torch.equal(made, model.generate([5]))


def test_the_folder_has_the_layout_of_diffusers(folder):
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert files == [AUTOENCODER, f"autoencoder/{WEIGHTS}", "model_index.json", NETWORK,
                     f"network/{WEIGHTS}", "pipeline.py", "sampling.json", SCHEDULER]
    index = read_json(folder / "model_index.json")
    assert index["autoencoder"] == ["nanoldm", "ConvAE"]
    assert index["network"] == ["nanoldm", "DiffusionNet"]
    assert index["scheduler"] == ["diffusers", "DDPMScheduler"]


@pytest.mark.parametrize("prediction", ["epsilon", "x0", "v", "flow"])
@pytest.mark.parametrize("kind", ["cosine", "linear", "rectified"])
def test_every_prediction_on_every_table_is_saved_and_read(
    tiny_pipeline, tmp_path, kind, prediction
):
    if (kind, prediction) == ("rectified", "epsilon"):
        return                                              # rejected by Denoiser
    denoiser = Denoiser(tiny_pipeline.denoiser.network, NoiseSchedule(kind, 50), prediction)
    LatentDiffusion(tiny_pipeline.autoencoder, denoiser, 2.5).save_pretrained(tmp_path)
    back = LatentDiffusion.from_pretrained(tmp_path)
    assert (back.denoiser.schedule.kind, back.denoiser.schedule.timesteps,
            back.denoiser.prediction) == (kind, 50, prediction)
    assert back.clip_sample_range == 2.5


@pytest.mark.parametrize(("prediction", "theirs"),
                         [("epsilon", "epsilon"), ("x0", "sample"), ("v", "v_prediction")])
def test_diffusers_reads_what_a_network_predicts(tiny_pipeline, tmp_path, prediction, theirs):
    denoiser = Denoiser(tiny_pipeline.denoiser.network, NoiseSchedule("cosine", 100), prediction)
    LatentDiffusion(tiny_pipeline.autoencoder, denoiser, 2.5).save_pretrained(tmp_path)
    assert DDPMScheduler.from_pretrained(tmp_path,
                                         subfolder="scheduler").config.prediction_type == theirs


def test_diffusers_generates_the_same_flow(tiny_pipeline, tmp_path):
    """FlowMatchEulerDiscreteScheduler, at our noise levels: the sigma of each timestep."""
    schedule = NoiseSchedule("rectified", 100)
    denoiser = Denoiser(tiny_pipeline.denoiser.network, schedule, "flow")
    LatentDiffusion(tiny_pipeline.autoencoder, denoiser, 2.5).save_pretrained(tmp_path)
    theirs = FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    timesteps = sampling_timesteps(schedule, 20)
    assert theirs.config.num_train_timesteps == 100
    theirs.set_timesteps(sigmas=[schedule(torch.tensor(t))[1].item() for t in timesteps])
    x = expected = torch.randn(2, 49, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        *_, (ours, _) = ddim(denoiser, x, schedule, timesteps, None)
        for t, at in zip(timesteps, theirs.timesteps, strict=True):
            expected = theirs.step(denoiser.network(expected, torch.tensor([t])), at,
                                   expected).prev_sample
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_the_latent_statistics_travel_with_the_autoencoder(tiny_pipeline, folder):
    tensors, _ = load_tensors(folder / "autoencoder" / WEIGHTS)
    assert torch.equal(tensors["latent_mean"], tiny_pipeline.autoencoder.latent_mean)
    assert torch.equal(tensors["latent_std"], tiny_pipeline.autoencoder.latent_std)


@pytest.mark.parametrize("timesteps", [100, 1000])
@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_diffusers_reads_the_scheduler_and_has_the_same_table(
    tiny_pipeline, tmp_path, kind, timesteps
):
    schedule = NoiseSchedule(kind, timesteps)
    LatentDiffusion(tiny_pipeline.autoencoder, Denoiser(tiny_pipeline.denoiser.network, schedule),
                    3.0).save_pretrained(tmp_path)
    theirs = DDPMScheduler.from_pretrained(tmp_path, subfolder="scheduler")
    assert theirs.config.num_train_timesteps == timesteps
    assert (
        theirs.config.prediction_type, theirs.config.variance_type
    ) == ("epsilon", "fixed_large")
    assert (theirs.config.clip_sample, theirs.config.clip_sample_range) == (True, 3)
    alpha, sigma = schedule(torch.arange(timesteps))
    assert torch.allclose(theirs.alphas_cumprod, alpha**2, rtol=1e-4, atol=1e-7)
    assert torch.allclose(1 - theirs.alphas_cumprod, sigma**2, atol=1e-5)


@pytest.mark.parametrize("part", ["autoencoder", "network"])
@pytest.mark.parametrize("length", [0, 5, 1000, -1])
def test_truncated_weights_are_errors(folder, part, length):
    path = folder / part / WEIGHTS
    path.write_bytes(path.read_bytes()[:length])
    rejected(folder, rf"{part}/{WEIGHTS} is truncated")


@pytest.mark.parametrize("part", ["autoencoder", "network"])
def test_altered_weights_are_errors(folder, part):
    content = bytearray((folder / part / WEIGHTS).read_bytes())
    content[-3] ^= 1
    (folder / part / WEIGHTS).write_bytes(content)
    rejected(folder, rf"{part}/{WEIGHTS} is corrupt")


def test_weights_of_another_size_are_errors(folder):
    save_tensors(folder / "network" / WEIGHTS,
                 Transformer(width=16, depth=1, heads=2, hidden=32).state_dict())
    rejected(folder, rf"network/{WEIGHTS} does not fit")


@pytest.mark.parametrize(
    ("file", "changes"),
    [(NETWORK, {"colour": "blue"}), (NETWORK, {"_class_name": "UNet"}),
     (NETWORK, {"_class_name": ...}), (NETWORK, {"width": "wide"}), (NETWORK, {"heads": 5}),
     (NETWORK, {"heads": 0}), (AUTOENCODER, {"_class_name": "DiffusionNet"}),
     (AUTOENCODER, {"image_size": 30}), (SCHEDULER, {"beta_schedule": "scaled_linear"}),
     (SCHEDULER, {"num_train_timesteps": 0}), (SCHEDULER, {"clip_sample_range": ...}),
     (SCHEDULER, {"prediction_type": "samples"}), (SCHEDULER, {"beta_schedule": ...}),
     (SCHEDULER, {"beta_schedule": ..., "_class_name": "NoiseSchedule"}),
     (SCHEDULER, {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02})]
)
def test_a_configuration_that_is_not_ours_is_an_error_by_name(folder, file, changes):
    edit(folder / file, **changes)
    rejected(folder, re.escape(str(folder / file)))


@pytest.mark.parametrize("file",
                         [NETWORK, f"network/{WEIGHTS}", AUTOENCODER, f"autoencoder/{WEIGHTS}",
                          SCHEDULER])
def test_a_missing_file_is_named(folder, file):
    (folder / file).unlink()
    rejected(folder, f"{file} is missing")


def test_an_autoencoder_and_a_network_of_different_models_are_errors(tiny_pipeline, tmp_path):
    strange = LatentDiffusion(ConvAE(latent_channels=4),
                              Denoiser(tiny_pipeline.denoiser.network, NoiseSchedule()), 3.0)
    strange.save_pretrained(tmp_path)
    rejected(tmp_path, re.escape(str(tmp_path)))


def test_a_folder_that_is_not_a_model_is_an_error(tmp_path):
    rejected(tmp_path, f"{tmp_path.name} contains no trained model")
    (tmp_path / "a.txt").write_text("a file")
    rejected(tmp_path / "a.txt", "contains no trained model")
