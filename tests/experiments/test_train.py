"""Whole runs by the real command line: what is written, and that nothing is lost."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from nanoldm import LatentDiffusion
from nanoldm.experiments.plan import read_plan
from nanoldm.utils.files import load_tensors


def weights(run):
    """What identifies a trained model: the digests of its two weight files, as stored."""
    return [load_tensors(file)[1]["sha256"]
            for file in sorted((run / "model").rglob("*.safetensors"))]


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def start(nanoldm, *arguments):
    """The command in the background."""
    command = [sys.executable, "-m", "nanoldm", *map(str, arguments)]
    return subprocess.Popen(command, cwd=nanoldm.folder, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def wait_for(run, stage, step, process):
    """Return as soon as the log of `run` has reached a step of a stage."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        log = run / "metrics.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        if any(f'"stage": "{stage}"' in line and int(re.search(r'"step": (\d+)', line)[1]) >= step
               for line in lines):
            return
        time.sleep(0.01)
    raise AssertionError(f"{stage} did not reach step {step}")


def test_a_run_leaves_recipe_metrics_pictures_and_a_model(trained_run):
    assert json.loads((trained_run / "recipe.json").read_text())["training"]["steps"] == 40
    stages = {record["stage"] for record in records(trained_run)}
    assert stages == {"autoencoder", "denoiser"}
    last = records(trained_run)[-1]
    assert last["step"] == 40
    assert {"test_loss", "test_loss_ema"} <= last.keys()
    for picture in ("reconstructions.png", "step-000040.png"):
        assert Image.open(trained_run / "samples" / picture).width > 100
    assert len(LatentDiffusion.from_pretrained(trained_run).generate(seeds=[1, 2])) == 2


def test_the_first_loss_is_1_because_the_network_starts_by_predicting_zero(trained_run):
    first = next(record for record in records(trained_run) if record["stage"] == "denoiser")
    values = 256 * 4 * 6  # one batch of latents: the standard error of the mean of eps^2
    assert abs(first["loss"] - 1) < 4 * (2 / values) ** 0.5


def test_the_learning_rate_of_the_denoiser_is_annealed_as_by_torch(trained_run):
    recipe = json.loads((trained_run / "recipe.json").read_text())["training"]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=recipe["learning_rate"])
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=recipe["steps"])
    expected = []
    for _ in range(recipe["steps"]):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        oracle.step()
    rates = {record["step"]: record["learning_rate"] for record in records(trained_run)
             if record["stage"] == "denoiser" and "learning_rate" in record}
    assert {1, recipe["steps"]} <= rates.keys()
    assert rates == pytest.approx({step: expected[step - 1] for step in rates})


def test_training_lowers_both_losses_on_images_it_has_not_seen(trained_run):
    first = {record["stage"]: record["loss"] for record in reversed(records(trained_run))
             if "loss" in record}
    tests = {record["stage"]: record["test_loss"] for record in records(trained_run)
             if "test_loss" in record}
    assert tests["autoencoder"] < first["autoencoder"]
    assert tests["denoiser"] < 0.8 * first["denoiser"]


def test_latents_of_the_training_set_are_normalised_by_the_saved_statistics(trained_run, digits):
    from nanoldm.data import load
    from nanoldm.utils.images import to_float
    images = to_float(load(f"folder:{digits}", size=8)[0].images)
    pipeline = LatentDiffusion.from_pretrained(trained_run)
    with torch.no_grad():
        latents = pipeline.autoencoder.encode(images)
    assert torch.allclose(latents.mean((0, 1)), torch.zeros(6), atol=1e-5)
    assert torch.allclose(latents.std((0, 1)), torch.ones(6), atol=1e-3)
    assert pipeline.clip_sample_range == pytest.approx(latents.abs().max().item(), rel=1e-6)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_weights_of_an_unbroken_one(
    nanoldm, tiny_options, trained_run
):
    run, moments = nanoldm.folder / "killed", random.Random(time.time_ns())
    arguments = ("train", "mnist", *tiny_options, "--steps", 40, "--out", run.name)
    for stage, steps in (("autoencoder", (1, 3)), ("denoiser", (1, 10)), ("denoiser", (15, 30))):
        step = moments.randint(*steps)
        process = start(nanoldm, *arguments)
        wait_for(run, stage, step, process)
        time.sleep(moments.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finished = nanoldm(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert int(re.search(r"denoiser: continuing from step (\d+) of 40", finished.stdout)[1]) >= 1
    assert weights(run) == weights(trained_run)
    logged, expected = ([(record["stage"], record["step"]) for record in records(folder)]
                        for folder in (run, trained_run))
    assert logged == expected


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_is_the_same_training(nanoldm, tiny_options, trained_run):
    finished = nanoldm("train", "mnist", *tiny_options, "--steps", 40, "--out", "compiled",
                       "--compile", "on")
    assert finished.returncode == 0, finished.stderr
    losses, expected = ([record["loss"] for record in records(folder) if record["stage"]
                         == "denoiser" and "loss" in record]
                        for folder in (nanoldm.folder / "compiled", trained_run))
    assert losses == pytest.approx(expected, abs=1e-4)
    assert read_plan(nanoldm.folder / "compiled" / "plan.json").compiled


def test_compiling_without_a_compiler_is_an_error_before_the_run_begins(nanoldm, tiny_options):
    failed = nanoldm("train", "mnist", *tiny_options, "--out", "no-compiler", "--compile", "on",
                     env=os.environ | {"CXX": "no-such-compiler"})
    assert failed.returncode == 2
    assert "needs a C++ compiler and there is no no-such-compiler: install it" in failed.stderr
    assert not (nanoldm.folder / "no-compiler").exists()


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_the_same_command_goes_on(
    nanoldm, tiny_options, trained_run
):
    run = nanoldm.folder / "interrupted"
    arguments = ("train", "mnist", *tiny_options, "--steps", 40, "--out", run.name)
    process = start(nanoldm, *arguments)
    wait_for(run, "denoiser", 1, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    stopped = int(re.search(r"denoiser stopped at step (\d+) of 40, checkpoint saved: the same "
                            r"command continues", stderr)[1])
    assert "Traceback" not in stderr
    again = nanoldm(*arguments)
    assert f"continuing from step {stopped} of 40" in again.stdout
    assert weights(run) == weights(trained_run)


def test_a_finished_run_says_so_and_is_left_alone(nanoldm, tiny_options, trained_run):
    before = {file: file.stat().st_mtime_ns for file in trained_run.rglob("*")}
    again = nanoldm("train", "mnist", *tiny_options, "--steps", 40, "--out", trained_run.name)
    assert again.returncode == 0
    assert "is finished" in again.stdout
    assert {file: file.stat().st_mtime_ns for file in trained_run.rglob("*")} == before


def test_another_recipe_in_the_same_folder_is_an_error_and_the_difference_named(
    nanoldm, tiny_options, trained_run
):
    failed = nanoldm("train", "mnist", *tiny_options, "--steps", 41, "--out", trained_run.name)
    assert failed.returncode == 2
    assert "training.steps 40 there, 41 here" in failed.stderr


def test_other_images_under_the_same_name_are_an_error(nanoldm, digits, tmp_path):
    for number, file in enumerate(sorted(digits.rglob("*.png"))[:40]):
        (tmp_path / f"{number}.png").write_bytes(file.read_bytes())
    arguments = ("train", "mnist", "--data", f"folder:{tmp_path}", "--size", 8, "--ae-epochs", 1,
                 "--steps", 1, "--out", "changing")
    assert nanoldm(*arguments).returncode == 0
    (tmp_path / "0.png").unlink()
    failed = nanoldm(*arguments)
    assert failed.returncode == 2
    assert "have changed" in failed.stderr


def test_a_folder_that_is_not_a_run_is_an_error_and_untouched(nanoldm, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    failed = nanoldm("train", "mnist", "--out", tmp_path)
    assert failed.returncode == 2
    assert "is not a run folder" in failed.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("recipe", ["mnist-64", "mnist-additive", "mnist-fast"])
def test_the_other_recipes_train_and_sample(nanoldm, tiny_options, recipe):
    trained = nanoldm("train", recipe, *tiny_options, "--steps", 3)
    assert trained.returncode == 0, trained.stderr
    drawn = nanoldm("sample", f"runs/{recipe}", "--n", 2, "--steps", 3, "--out", f"{recipe}.png")
    assert drawn.returncode == 0, drawn.stderr
    pipeline = LatentDiffusion.from_pretrained(nanoldm.folder / "runs" / recipe)
    assert (type(pipeline.denoiser.network).__name__, pipeline.autoencoder.latent_channels) == {
        "mnist-64": ("DiffusionNet", 64), "mnist-additive": ("Transformer", 6),
        "mnist-fast": ("DiffusionNet", 12)
    }[recipe]
