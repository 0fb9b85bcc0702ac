import contextlib
import re
import time

import pytest
import torch

from nanoldm import RECIPES, InputError
from nanoldm.data import ImageSet
from nanoldm.experiments import plan as planning
from nanoldm.experiments import timing
from nanoldm.experiments.plan import Stages, describe, make_plan
from nanoldm.experiments.stage import Stage
from nanoldm.experiments.stages import autoencoder_stage, denoiser_stage, give_latents
from nanoldm.models import ConvAE
from nanoldm.utils.files import digest

IMAGES = torch.zeros(2560, 1, 8, 8, dtype=torch.uint8)
STEP = {"autoencoder": 0.02, "denoiser": 0.6}      # seconds
PREVIEW, ENCODING, SPEED_UP = 4.0, 3.0, 2


@pytest.fixture
def clocked(monkeypatch):
    """A machine on which everything takes exactly the times above, and a compiled step half."""
    monkeypatch.setattr(Stage, "seconds_per_step", lambda stage, *_: (
        STEP[stage.name] / (1 if stage.module is stage.loss_module else SPEED_UP)))
    monkeypatch.setattr(Stage, "try_loss", lambda stage: None)
    monkeypatch.setattr(planning, "seconds_per_preview", lambda *_: PREVIEW)
    monkeypatch.setattr(planning, "seconds_to_encode", lambda stage, images: ENCODING)


def plan_for(compile="off", **changes):
    recipe = RECIPES["mnist"]().replace(**changes)
    data = ImageSet(IMAGES, torch.zeros(len(IMAGES), dtype=torch.long))
    first = autoencoder_stage(recipe, IMAGES)
    stages = Stages(first, denoiser_stage(recipe, first.loss_module.autoencoder, 0))
    return make_plan(recipe, stages, data, data, time.monotonic(), compile)


def wall_time(plan):
    previews = -(-plan.denoiser_steps // plan.preview_every)
    return plan.autoencoder_steps * STEP[
        "autoencoder"
    ] + ENCODING + plan.denoiser_steps * STEP["denoiser"] + previews * PREVIEW


@pytest.mark.parametrize("budget", [30, 120, 1200, 36000])
def test_a_budget_is_filled_but_not_exceeded(clocked, budget):
    plan, seconds = plan_for(budget=budget)
    assert 0.95 * budget - 2 < wall_time(plan) <= budget + 1
    assert seconds == pytest.approx(wall_time(plan), rel=0.02)


def test_a_short_budget_does_not_go_to_the_autoencoder_alone(clocked):
    plan, _ = plan_for(budget=10)
    assert plan.autoencoder_steps * STEP["autoencoder"] <= 0.2 * 10
    assert plan.denoiser_steps > 0


def test_a_long_budget_gives_the_autoencoder_its_epochs_or_enough_steps_and_no_more(clocked):
    assert plan_for(budget=36000)[0].autoencoder_steps == 1000 > 10 * (2560 // 128)
    assert plan_for(
        budget=36000, autoencoder_training={"epochs": 100}
    )[0].autoencoder_steps == 100 * (2560 // 128)
    # meant so
    assert plan_for(budget=36000, autoencoder_training={"steps": 3})[0].autoencoder_steps == 3


def test_epochs_of_few_images_that_make_too_few_steps_are_announced_with_the_option_to_set(clocked):
    recipe = RECIPES["mnist"]()
    text = describe(recipe, *plan_for())  # 200 steps of the autoencoder, 2,000 of the denoiser
    assert re.search("200 steps of the autoencoder are too few .*: give --ae-epochs 50", text)
    assert "of the denoiser are too few" not in text
    text = describe(recipe.replace(training={"epochs": 3}), *plan_for(training={"epochs": 3}))
    assert re.search("30 steps of the denoiser are too few .*: give --epochs 200", text)
    chosen = {"autoencoder_training": {"steps": 7}, "training": {"steps": 7}}
    assert "too few" not in describe(recipe.replace(**chosen), *plan_for(**chosen))


def test_without_a_budget_the_recipe_decides(clocked):
    plan, _ = plan_for(training={"epochs": 7})
    assert (plan.autoencoder_steps, plan.denoiser_steps) == (10 * 20, 7 * 10)


def test_sample_grids_take_at_most_a_twentieth_of_a_long_training(clocked):
    plan, _ = plan_for(budget=1200)
    previews = -(-plan.denoiser_steps // plan.preview_every)
    assert 1 < previews <= 8
    assert previews * PREVIEW <= 0.05 * 1200


@pytest.mark.parametrize(("steps", "warned"), [(2999, True), (3001, False)])
def test_a_run_too_short_for_its_ema_is_announced_as_such(clocked, steps, warned):
    """Decay 0.999 averages about 1 / (1 - 0.999) = 1,000 steps."""
    recipe = RECIPES["mnist"]().replace(training={"steps": steps})
    plan, seconds = plan_for(training={"steps": steps})
    assert ("averages about 1,000 steps" in describe(recipe, plan, seconds)) == warned


def test_a_budget_that_is_too_short_is_an_error(clocked):
    with pytest.raises(InputError, match="too short"):
        plan_for(budget=3)


@pytest.mark.parametrize(("seconds", "end"),
                         [(60, r"until about \d\d:\d\d\)"),
                          (86400 * 2, r"until about \d\d \w+, \d\d:\d\d\)")])
def test_the_end_of_a_run_of_days_has_a_date(clocked, seconds, end):
    assert re.search(end, describe(RECIPES["mnist"](), plan_for()[0], seconds))


@pytest.mark.parametrize("length", [{"budget": 750}, {"training": {"steps": 1000}}])
@pytest.mark.parametrize(("pays", "compiled"), [(599, True), (601, False)])
def test_a_long_training_is_compiled_and_a_short_one_is_not(clocked, length, pays, compiled,
                                                            monkeypatch):
    """The denoiser has 600 s of the budget, as much as 1,000 steps take."""
    monkeypatch.setattr(timing, "COMPILE_FROM", pays)
    monkeypatch.setattr(timing, "check_compiler", lambda device: None)
    plan, seconds = plan_for("auto", **length)
    assert plan.compiled == compiled
    assert ("compiled" in describe(RECIPES["mnist"](), plan, seconds)) == compiled
    plain, _ = plan_for("off", **length)
    assert not plain.compiled
    if "budget" in length:
        assert plan.denoiser_steps > 1.9 * plain.denoiser_steps or not compiled


@pytest.mark.parametrize(("device", "mode"), [("cuda", "reduce-overhead"), ("cpu", "default")])
def test_on_a_gpu_a_compiled_step_uses_cuda_graphs(device, mode, monkeypatch):
    options = {}
    monkeypatch.setattr(torch, "compile", lambda module, **given: options.update(given))
    monkeypatch.setattr(Stage, "device", torch.device(device))
    autoencoder_stage(RECIPES["mnist"](), IMAGES).use_compiler(True)
    assert options == {"dynamic": False, "mode": mode}


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_step_sets_the_random_state_only_for_dropout(dropout, monkeypatch):
    recipe = RECIPES["mnist"]().replace(network={"dropout": dropout, "width": 32, "depth": 1})
    stage, keys = denoiser_stage(recipe, ConvAE(8), 0), []
    give_latents(stage, recipe, torch.randn(512, 4, 6), torch.zeros(512))
    monkeypatch.setattr("nanoldm.training.loop.seeded",
                        lambda *key, **_: contextlib.nullcontext(keys.append(key)))
    list(stage.run(1))
    assert len(keys) == (1 if dropout else 0)


def test_compiling_that_does_not_help_or_does_not_work_is_left_out(clocked, monkeypatch, capsys):
    monkeypatch.setattr(timing, "COMPILE_FROM", 1)
    with monkeypatch.context() as patch:
        patch.setattr(timing, "check_compiler", lambda device: None)
        assert plan_for("auto")[0].compiled
        patch.setattr("test_planning.SPEED_UP", 1.05)
        assert not plan_for("auto")[0].compiled
        assert plan_for("on")[0].compiled
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not plan_for("auto")[0].compiled
    assert "not compiled (compile needs a C++ compiler" in capsys.readouterr().out
    with pytest.raises(InputError, match="there is no no-such-compiler"):
        plan_for("on")


def test_a_step_that_cannot_be_compiled_leaves_the_weights_as_they_were(monkeypatch):
    recipe = RECIPES["mnist"]().replace(network={"width": 32, "depth": 1})
    stage = denoiser_stage(recipe, ConvAE(8), 0)
    give_latents(stage, recipe, torch.randn(512, 4, 6), torch.zeros(512))
    before = digest(stage.loss_module.state_dict())
    monkeypatch.setattr(timing, "COMPILE_FROM", 0)
    monkeypatch.setattr(timing, "check_compiler", lambda device: None)
    monkeypatch.setattr(Stage, "use_compiler",
                        lambda stage, use: setattr(stage, "module", None if use else
                                                   stage.loss_module))  # None: fails
    chosen = timing.choose_fastest(stage, "fp32", "auto", 0.02, lambda step: 1.0)
    assert not chosen.compiled
    assert stage.module is stage.loss_module
    assert digest(stage.loss_module.state_dict()) == before


@pytest.mark.parametrize("optimizer", ["AdamW", "Muon"])
def test_a_stage_that_was_timed_trains_as_if_it_had_not_been(optimizer):
    recipe = RECIPES["mnist"]().replace(training={"optimizer": optimizer},
                                        network={"width": 32, "depth": 1})
    latents, digests = torch.randn(512, 4, 6), []
    for timed in (False, True):
        stage = denoiser_stage(recipe, ConvAE(8), 0)
        if timed:
            give_latents(stage, recipe, torch.randn(512, 4, 6), torch.zeros(512))
            assert 0 < stage.seconds_per_step(0.05) < 5
        give_latents(stage, recipe, latents, torch.zeros(512))
        list(stage.run(3))
        digests += [digest(stage.loss_module.state_dict()), digest(stage.averaged.state_dict())]
    assert digests[:2] == digests[2:]
