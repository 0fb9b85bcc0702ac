"""Runs that go wrong, from Python: what is an error, and that the last good state is kept."""

import json
import re
import shutil
import sys
import time

import pytest
import torch

from nanoldm import RECIPES, InputError, TrainingError
from nanoldm.cli import main as cli
from nanoldm.experiments import plan as planning
from nanoldm.experiments.run import Run
from nanoldm.pipeline.folders import RunFolder
from nanoldm.utils.files import digest, load_tensors, read_json, write_json

TINY = {"width": 32, "depth": 1, "heads": 2, "hidden": 64}


def train(recipe, folder):
    """A finished run -> its folder."""
    return Run(folder, recipe).train().folder


def tiny_recipe(digits, **training):
    return RECIPES["mnist"]().replace(data={"name": f"folder:{digits}", "size": 8},
                                      network=TINY, autoencoder_training={"epochs": 1},
                                      training={"steps": 60} | training)


def poison(monkeypatch, number, field, factor):
    """Multiply what one step of the denoiser (the stage of 60 steps) reports by `factor`."""
    from nanoldm import training
    fit = training.fit

    def poisoned(loss_module, *arguments, **options):
        for step in fit(loss_module, *arguments, **options):
            there = step.number == number and options["steps"] == 60
            yield step._replace(**{field: getattr(step, field) * factor}) if there else step

    monkeypatch.setattr("nanoldm.experiments.stage.fit", poisoned)


def test_two_processes_do_not_train_in_one_folder(digits, tmp_path):
    recipe, run = tiny_recipe(digits, steps=2), RunFolder(tmp_path / "run")
    train(recipe, run.path)
    write_json(run.plan, read_json(run.plan) | {"finished": False})
    with run.locked(), pytest.raises(InputError,
                                     match=r"another process is training in .*run: wait for it"):
        train(recipe, run.path)
    train(recipe, run.path)
    assert read_json(run.plan)["finished"]


def test_of_two_runs_that_begin_in_one_folder_at_once_the_second_writes_nothing(
    digits, tmp_path, monkeypatch
):
    recipe, run = tiny_recipe(digits, steps=2), RunFolder(tmp_path / "run")
    new = Run(run.path, recipe)
    new.prepare()
    ours = planning.make_plan(recipe, new.build_stages(), *new.data, time.monotonic())

    def while_another_one_begins(*_):
        write_json(run.recipe, recipe.replace(seed=1).model_dump())
        write_json(run.plan, ours[0].model_dump())
        return ours

    monkeypatch.setattr("nanoldm.experiments.run.make_plan", while_another_one_begins)
    with pytest.raises(InputError, match=r"another process has started a run in .*run"):
        train(recipe, run.path)
    assert read_json(run.recipe)["seed"] == 1
    assert not run.metrics.exists()


def test_images_with_changed_labels_do_not_continue_a_run_that_uses_labels(digits, tmp_path):
    shutil.copytree(digits, tmp_path / "digits")
    recipe = RECIPES["mnist-conditional"]().replace(
        data={"name": f"folder:{tmp_path / 'digits'}", "size": 8}, training={"steps": 1},
        network=TINY, autoencoder_training={"epochs": 1}
    )
    train(recipe, tmp_path / "run")
    last = max((tmp_path / "digits" / "0").iterdir())
    last.rename(tmp_path / "digits" / "1" / "000.png")  # the same images in the same order
    with pytest.raises(InputError, match=r"or their labels of .* have changed"):
        train(recipe, tmp_path / "run")


@pytest.mark.parametrize("content", ["{}", '{"autoencoder_steps": 0}', "[]", "plan"])
def test_a_foreign_plan_is_an_error_that_names_the_file(digits, tmp_path, content):
    recipe = tiny_recipe(digits, steps=2)
    plan = train(recipe, tmp_path / "run").plan
    plan.write_text(content)
    with pytest.raises(InputError,
                       match=r"plan\.json .*nanoldm|plan\.json is not readable JSON") as error:
        train(recipe, tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    digits, tmp_path, monkeypatch
):
    poisoned_step = 37
    poison(monkeypatch, poisoned_step, "loss", float("nan"))
    with pytest.raises(TrainingError,
                       match=rf"loss of the denoiser became nan at step {poisoned_step}; "
                       r".*denoiser.safetensors keeps"):
        train(tiny_recipe(digits), tmp_path / "run")
    kept, metadata = load_tensors(tmp_path / "run" / "checkpoint" / "denoiser.safetensors")
    assert int(metadata["step"]) < poisoned_step
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_a_gradient_that_is_not_finite_stops_the_run_before_its_weights_are_saved(
    digits, tmp_path, monkeypatch
):
    poison(monkeypatch, 40, "grad_norm", float("inf"))
    with pytest.raises(TrainingError, match="gradient of the denoiser became inf at step 40"):
        train(tiny_recipe(digits), tmp_path / "run")
    assert int(load_tensors(tmp_path / "run" / "checkpoint"
                            / "denoiser.safetensors")[1]["step"]) < 40


def test_an_autoencoder_with_ema_is_its_average(digits, tmp_path):
    """The exported autoencoder has the EMA weights."""
    plain, averaged = (tiny_recipe(digits,
                                   steps=1).replace(autoencoder_training={"ema_decay": decay})
                       for decay in (None, 0.99))
    folders = [train(recipe, tmp_path / name).model / "autoencoder"
               for recipe, name in ((plain, "plain"), (averaged, "averaged"))]
    (last, mean), (checkpoint, _) = (
        [load_tensors(folder / "diffusion_pytorch_model.safetensors")[0] for folder in folders],
        load_tensors(tmp_path / "averaged" / "checkpoint" / "autoencoder.safetensors")
    )
    name = "encoder.0.weight"
    assert not torch.equal(last[name], mean[name])
    assert torch.equal(checkpoint[f"ema.autoencoder.{name}"], mean[name])


def test_a_learning_rate_that_explodes_exits_with_1_and_one_line(
    digits, tmp_path, monkeypatch, capsys
):
    explosive = tiny_recipe(digits, learning_rate=1e30, gradient_clip=None)
    monkeypatch.setitem(RECIPES, "mnist", lambda: explosive)
    monkeypatch.setattr(sys, "argv", ["nanoldm", "train", "mnist", "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert re.search(r"^nanoldm: the (loss|gradient) of the denoiser became (nan|inf) at step \d+; "
                     r".*try a lower " r"training.learning_rate, in another folder$",
                     capsys.readouterr().err, re.MULTILINE)


def test_a_damaged_checkpoint_is_an_error_that_names_the_file(digits, tmp_path):
    recipe, run = tiny_recipe(digits, steps=2), tmp_path / "run"
    train(recipe, run)
    plan = json.loads((run / "plan.json").read_text())
    (run / "plan.json").write_text(json.dumps(plan | {"finished": False}))
    checkpoint = run / "checkpoint" / "denoiser.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"denoiser\.safetensors is truncated"):
        train(recipe, run)


def test_the_seed_decides_the_initial_weights(digits):
    from nanoldm.experiments.stages import autoencoder_stage
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    stages = (autoencoder_stage(tiny_recipe(digits).replace(seed=seed), images)
              for seed in (0, 0, 1))
    first, again, other = (digest(stage.loss_module.state_dict()) for stage in stages)
    assert first == again != other
