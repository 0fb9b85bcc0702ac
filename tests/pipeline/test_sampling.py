"""The settings of a sampler: what goes together, and that each of them reaches the pictures."""

import numpy as np
import pytest

from nanoldm.data.npz import load_images
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError


@pytest.mark.parametrize(("settings", "message"),
                         [({"sampler": "euler"},
                           "unknown sampler 'euler': choose one of ddpm, ddpm-posterior, "
                           "ddpm-repaint, ddim"), ({"eta": 0.5}, "eta belongs to the sampler ddim"),
                          ({"eta": 0.5, "sampler": "heun"}, "eta belongs to the sampler ddim"),
                          ({"eta": 1.5, "sampler": "ddim"}, "choose a number from 0 to 1")])
def test_settings_that_do_not_go_together_are_errors(settings, message):
    with pytest.raises(InputError, match=message):
        Sampling(**settings)


def test_every_setting_reaches_the_pictures_from_the_command_line(nanoldm, trained_run):
    def sample(*options):
        done = nanoldm("sample", trained_run, "--n", 3, "--steps", 10, "--npz", "sampled.npz",
                       "--threads", 1, *options)
        assert done.returncode == 0, done.stderr
        return load_images(nanoldm.folder / "sampled.npz").images.numpy()

    settings = ("", "--no-clamp", "--sampler ddim", "--sampler ddim --eta 1",
                "--sampler dpm++2m --spacing log-snr")
    sampled = [sample(*options.split()) for options in settings]
    assert not any(np.array_equal(a, b) for k, a in enumerate(sampled) for b in sampled[:k])
    model = LatentDiffusion.from_pretrained(trained_run)
    same = model.generate(
        3, steps=10, sampler="dpm++2m", spacing="log-snr"
    ).mul(255).round()[:, 0].numpy()
    assert np.abs(sampled[-1][:, 0].astype(float) - same).max() <= 1


def test_steps_that_fall_together_are_noted(nanoldm, trained_run):
    done = nanoldm("sample", trained_run, "--n", 1, "--steps", 90, "--sampler", "ddim", "--spacing",
                   "log-snr", "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert "note: 90 steps with log-snr spacing visit" in done.stdout


@pytest.mark.parametrize("recipe", ["mnist-v", "mnist-flow"])
def test_other_predictions_are_trained_saved_and_sampled_from(nanoldm, tiny_options, recipe):
    done = nanoldm("train", recipe, *tiny_options, "--steps", 30, "--out", recipe)
    assert done.returncode == 0, done.stderr
    model = LatentDiffusion.from_pretrained(nanoldm.folder / recipe)
    kinds = {"mnist-v": ("v", "cosine"), "mnist-flow": ("flow", "rectified")}
    assert (model.denoiser.prediction, model.denoiser.schedule.kind) == kinds[recipe]
    sampled = nanoldm("sample", recipe, "--n", 2, "--steps", 8, "--sampler", "heun", "--out",
                      "flow.png", "--threads", 1)
    assert sampled.returncode == 0, sampled.stderr
    assert nanoldm("sample", recipe, "--n", 2, "--out", "default.png", "--threads",
                   1).returncode == 0
    ancestral = nanoldm("sample", recipe, "--n", 2, "--sampler", "ddpm", "--threads", 1)
    assert ancestral.returncode == (2 if recipe == "mnist-flow" else 0)
    assert (
        "divides by alpha, which is 0 at timestep 99" in ancestral.stderr
    ) == (recipe == "mnist-flow")
