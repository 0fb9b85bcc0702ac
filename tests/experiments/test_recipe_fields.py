"""Every field of a recipe changes what a stage trains, and the exported model is the EMA's."""

import json

import pytest
import torch

from nanoldm.diffusion import NoiseSchedule
from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.stages import denoiser_stage, give_latents, sampling_settings
from nanoldm.models import ConvAE
from nanoldm.pipeline.folders import WEIGHTS
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.own_images import own_test_set
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.files import digest, load_tensors
from nanoldm.utils.images import to_float
from nanoldm.utils.seeding import generator

SMALL = {"network": {"width": 16, "depth": 1, "heads": 2, "hidden": 32},
         "training": {"batch_size": 64}}


def trained(**changes: dict) -> str:
    """A digest of the raw and EMA weights after three steps."""
    recipe = RECIPES["mnist-conditional"]().replace(**SMALL).replace(**changes)
    labels = torch.arange(128) % 2
    stage = denoiser_stage(recipe, ConvAE(8), 2)
    give_latents(stage, recipe, torch.randn(128, 4, 6, generator=generator(5)), labels)
    list(stage.run(3))
    return digest(stage.loss_module.state_dict()) + digest(stage.averaged.state_dict())


@pytest.mark.parametrize(("group", "field", "value"), [
    ("network", "kind", "Transformer"), ("network", "dropout", 0.5),
    ("network", "position", "rope"),
    ("network", "patch", 2), ("diffusion", "schedule", "linear"),
    ("diffusion", "prediction", "x0"), ("diffusion", "loss_weighting", "min-snr"),
    ("diffusion", "timestep_distribution", "logit-normal"), ("diffusion", "timesteps", 50),
    ("diffusion", "label_dropout", 0.9), ("training", "optimizer", "Muon"),
    ("training", "learning_rate", 1e-2), ("training", "annealing", "constant"),
    ("training", "gradient_clip", 1e-6), ("training", "ema_decay", 0.5),
    ("training", "batch_size", 32)])
def test_every_field_changes_the_weights(group, field, value):
    assert trained(**{group: {field: value}}) != trained()


def test_a_constant_rate_is_constant():
    recipe = RECIPES["mnist"]().replace(**SMALL).replace(training={"annealing": "constant"})
    stage = denoiser_stage(recipe, ConvAE(8), 0)
    give_latents(stage, recipe, torch.zeros(64, 4, 6), torch.zeros(64))
    assert [step.learning_rate for step in stage.run(3)] == [5e-4] * 3


def test_the_sampling_of_a_recipe_is_that_of_its_model():
    assert sampling_settings(RECIPES["mnist-fast"](), NoiseSchedule()) == Sampling(
        "ab3", 12, "shifted")


def test_the_log_has_the_denoising_errors_of_raw_and_ema_weights(trained_run):
    model, test = LatentDiffusion.from_pretrained(trained_run), own_test_set(trained_run)
    last = json.loads((trained_run / "metrics.jsonl").read_text().splitlines()[-1])
    errors = model.denoising_error(model.encode(to_float(test.images)), test.labels)
    assert last["denoising_error_ema"] == pytest.approx(errors, rel=1e-3)
    assert last["denoising_error"] != pytest.approx(errors, rel=1e-3)


def test_the_exported_network_has_the_ema_weights(trained_run):
    saved, _ = load_tensors(trained_run / "model" / "network" / WEIGHTS)
    kept, _ = load_tensors(trained_run / "checkpoint" / "denoiser.safetensors")
    for name, weight in saved.items():
        assert torch.equal(weight, kept[f"ema.denoiser.network.{name}"])
    assert not torch.equal(weight, kept[f"model.denoiser.network.{name}"])
