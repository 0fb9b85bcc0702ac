"""bfloat16 products: near float32, chosen only where they are faster, and kept by a run."""

from copy import deepcopy
from typing import get_args

import numpy as np
import pytest
import torch

from nanoldm.cli.options import ModelMachine
from nanoldm.cli.train import Train
from nanoldm.diffusion import Denoiser, DenoisingLoss, NoiseSchedule
from nanoldm.experiments.config import Recipe
from nanoldm.experiments.plan import Plan, read_plan
from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.run import Run
from nanoldm.experiments.stages import denoiser_stage
from nanoldm.experiments.timing import COMPILE
from nanoldm.models import ConvAE, DiffusionNet
from nanoldm.pipeline.precision import CHOICES, PRECISIONS, time_precisions
from nanoldm.training import fit, make_optimizers
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import write_json
from nanoldm.utils.seeding import generator, seeded

BFLOAT16 = 2**-8  # largest relative error of rounding


def randn(*shape, key=0):
    return torch.randn(shape, generator=generator(key))


@pytest.mark.parametrize(("fp32", "bf16", "chosen"),
                         [(2.0, 1.0, ("bf16", 1.0)), (1.0, 2.0, ("fp32", 1.0)),
                          (1.05, 1.0, ("fp32", 1.05))])
def test_auto_takes_bf16_only_where_it_is_clearly_faster(fp32, bf16, chosen):
    assert time_precisions("auto", {"fp32": fp32, "bf16": bf16}.__getitem__) == chosen


def test_a_given_precision_is_measured_alone():
    assert time_precisions("bf16", {"bf16": 3.0}.__getitem__) == ("bf16", 3.0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_with_a_given_precision_measures_nothing(precision, tiny_pipeline, monkeypatch):
    model = deepcopy(tiny_pipeline)
    monkeypatch.setattr(model.denoiser, "forward", None)  # cannot be called
    assert model.use_precision(precision).denoiser.precision == precision


def test_an_unknown_precision_is_an_error(tiny_pipeline):
    with pytest.raises(InputError, match="unknown precision 'fp16': choose one of fp32, tf32"):
        tiny_pipeline.use_precision("fp16")


def test_a_network_in_bf16_rounds_as_bfloat16_does(tiny_pipeline):
    exact, rounded = (deepcopy(tiny_pipeline.denoiser) for _ in range(2))
    rounded.precision = "bf16"
    x, t = randn(8, 49, 6), torch.arange(8) * 12
    outputs = [denoiser.output(x, t) for denoiser in (exact, rounded)]
    error = (outputs[0] - outputs[1]).norm() / outputs[0].norm()
    assert outputs[1].dtype == torch.float32
    assert 0.01 * BFLOAT16 < error < 4 * BFLOAT16


def test_a_training_in_bf16_follows_that_in_fp32():
    def losses(precision):
        with seeded(1):
            denoiser = Denoiser(DiffusionNet(width=32, depth=2, heads=2, hidden=64),
                                NoiseSchedule())
        denoiser.precision = precision
        loss, stream = DenoisingLoss(denoiser), generator(2)
        latents = randn(16, 49, 6, key=3)  # few and fixed: they can be learnt
        batches = ({"x0": latents, "t": torch.randint(100, (16,), generator=stream),
                    "eps": torch.randn(16, 49, 6, generator=stream)} for _ in range(100))
        steps = fit(loss, batches, make_optimizers("AdamW", loss, 3e-3), steps=100,
                    learning_rate=lambda k: 3e-3)
        found = torch.stack([step.loss for step in steps])
        assert all(p.dtype == p.grad.dtype == torch.float32 for p in loss.parameters())
        return found

    exact, rounded = losses("fp32"), losses("bf16")
    assert exact[-20:].mean() < 0.9  # it learnt something
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0)


def test_weights_that_are_cast_once_give_the_same_images(tiny_pipeline, monkeypatch):
    model = deepcopy(tiny_pipeline).use_precision("bf16")
    once = model.generate(2, steps=4)
    monkeypatch.setattr("nanoldm.pipeline.latent_diffusion.keep_casts",
                        lambda device: torch.enable_grad())  # any context without a cache
    assert torch.equal(model.generate(2, steps=4), once)


def test_images_in_bf16_are_nearly_those_in_fp32(nanoldm, tmp_path):
    for precision in ("fp32", "bf16"):
        made = nanoldm("sample", "mnist-fast", "--n", 4, "--precision", precision, "--out",
                       tmp_path / "samples.png", "--npz", tmp_path / f"{precision}.npz")
        assert made.returncode == 0, made.stderr
    exact, rounded = (np.load(tmp_path / f"{precision}.npz")["images"].astype(float)
                      for precision in ("fp32", "bf16"))
    assert 0 < np.abs(exact - rounded).mean() < 0.01 * 255


def test_a_stage_sets_the_precision_of_denoiser_ema_and_muon():
    recipe = RECIPES["mnist-fast"]().replace(network={"width": 32, "heads": 2, "depth": 1})
    stage = denoiser_stage(recipe, ConvAE(**recipe.autoencoder.model_dump()), labels=4)
    stage.use_precision("bf16")
    assert stage.optimizers[0].precision == "bf16"
    assert stage.loss_module.denoiser.precision == stage.averaged.denoiser.precision == "bf16"


@pytest.fixture
def recipe(digits):
    return RECIPES["mnist"]().replace(
        precision="auto", data={"name": f"folder:{digits}", "size": 8}, training={"steps": 4},
        autoencoder_training={"steps": 4}, network={"width": 32, "depth": 1, "heads": 2})


@pytest.mark.parametrize(("stored", "option", "compiled"),
                         [(True, "auto", True), (True, "off", True), (False, "on", False)])
def test_a_resumed_run_is_compiled_as_it_was(recipe, tmp_path, monkeypatch, capsys, stored, option,
                                             compiled):
    run = Run(tmp_path / "run", recipe).train()
    plan = read_plan(run.folder.plan)
    content = plan.replace(finished=False, compiled=stored).model_dump()
    write_json(run.folder.plan, content)
    used, checked = [], []
    monkeypatch.setattr("nanoldm.experiments.stages.Stage.use_compiler",
                        lambda stage, use: setattr(stage, "module", stage.loss_module)
                        or used.append(use))
    monkeypatch.setattr("nanoldm.experiments.run.check_compiler", checked.append)
    capsys.readouterr()
    Run(tmp_path / "run", recipe, compile=option).train()
    assert used[-1] == compiled
    assert checked or not compiled
    contradicted = (stored, option) in ((True, "off"), (False, "on"))
    assert ("has no effect" in capsys.readouterr().out) == contradicted


def test_a_run_keeps_the_precision_that_it_started_with(recipe, tmp_path, monkeypatch):
    times = {"fp32": 2.0, "bf16": 1.0}
    monkeypatch.setattr("nanoldm.experiments.timing.time_precisions",
                        lambda _, seconds: time_precisions("auto", times.__getitem__))
    run = Run(tmp_path / "run", recipe).train()
    plan = read_plan(run.folder.plan)
    assert plan.precision == "bf16"
    times |= {"bf16": 3.0}  # fp32 would be chosen now
    weights = run.folder.model / "network" / "diffusion_pytorch_model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    run.folder.checkpoint("denoiser").unlink()
    Run(tmp_path / "run", recipe).train()
    assert weights.read_bytes() == content


def test_options_and_recipes_offer_the_precisions_that_exist():
    assert get_args(Recipe.model_fields["precision"].annotation) == CHOICES
    assert get_args(ModelMachine.__dataclass_fields__["precision"].type) == CHOICES
    assert get_args(Plan.model_fields["precision"].annotation) == PRECISIONS
    assert set(get_args(Train.__dataclass_fields__["compile"].type)) == set(COMPILE)
