"""A dry run foretells what the real run then does, and leaves no trace."""

import re

import pytest

from nanoldm import RECIPES, LatentDiffusion
from nanoldm.experiments import forecast
from nanoldm.experiments import plan as planning
from nanoldm.experiments.model_card import count
from nanoldm.experiments.stages import Stage
from nanoldm.experiments.train import train

SMALL = ["--set", "network.width=32", "--set", "network.depth=1"]


def size(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_a_dry_run_foretells_the_run_and_writes_nothing(nanoldm, tiny_options):
    arguments = ("train", "mnist-v", *tiny_options, *SMALL, "--steps", 20, "--out", "foretold")
    before = sorted(nanoldm.folder.rglob("*"))
    dry = nanoldm(*arguments, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert sorted(nanoldm.folder.rglob("*")) == before
    assert nanoldm(*arguments).returncode == 0
    assert "is finished" in nanoldm(*arguments).stdout              # a resume knows the changed fields again
    real = LatentDiffusion.from_pretrained(nanoldm.folder / "foretold")
    assert f"{count(real.autoencoder):,} parameters, 4 tokens x 6\n" in dry.stdout
    assert re.search(rf"denoiser +{count(real.denoiser):,} parameters\n", dry.stdout)
    assert "8 steps of the autoencoder and 20 of the denoiser" in dry.stdout        # 4 epochs of 288 images, 128 at a time
    number, unit = re.search(r"^([\d.]+) (kB|MB) of disk space", dry.stdout, re.MULTILINE).groups()
    assert float(number) * {"kB": 1e3, "MB": 1e6}[unit] == pytest.approx(size(nanoldm.folder / "foretold"), rel=0.2)


def test_a_dry_run_marks_what_differs_from_the_recipe_as_it_is(digits, tmp_path, capsys):
    data = {"name": f"folder:{digits}", "size": 8}
    forecast.forecast(RECIPES["mnist-v"]().replace(data=data, network={"width": 32, "depth": 1}, seed=3), tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    marked = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if "(mnist-v: " in line}
    assert marked == {"seed": "3  (mnist-v: 0)", "data.name": f"folder:{digits}  (mnist-v: mnist)", "data.size": "8  (mnist-v: none)",
                      "network.width": "32  (mnist-v: 128)", "network.depth": "1  (mnist-v: 4)"}


@pytest.mark.parametrize("training", [{"epochs": None, "steps": 100}, {"epochs": 2, "ema_decay": None},
                                      {"epochs": 2, "optimizer": "Muon", "ema_decay": None, "ema_power": 6.94}])
def test_disk_space_is_foretold_within_a_fifth_kind_by_kind(digits, tmp_path, training):
    recipe = RECIPES["mnist"]().replace(data={"name": f"folder:{digits}", "size": 8}, autoencoder_training={"epochs": 20},
                                        network={"width": 32, "depth": 1}, training=training)
    run = tmp_path / "run"
    foretold = forecast.forecast(recipe, run)
    assert not run.exists()
    train(recipe, run)
    real = {"checkpoints": size(run / "checkpoint"), "model": size(run / "model"), "samples": size(run / "samples"),
            "log": (run / "metrics.jsonl").stat().st_size}
    for kind in ("checkpoints", "model", "log"):
        assert foretold[kind] == pytest.approx(real[kind], rel=0.2), kind
    assert 0.5 < foretold["samples"] / real["samples"] < 2                            # noise in PNG is no better known
    assert sum(foretold.values()) == pytest.approx(size(run), rel=0.2)


def test_a_budget_is_foretold_as_the_steps_that_fit(digits, tmp_path, monkeypatch, capsys):
    times = {"autoencoder": 0.02, "denoiser": 0.6}
    monkeypatch.setattr(Stage, "seconds_per_step", lambda stage, seconds=1.0: times[stage.name])
    monkeypatch.setattr(planning, "seconds_per_show", lambda stage: 1.0)
    monkeypatch.setattr(planning, "seconds_to_encode", lambda stage, images: 0.0)
    forecast.forecast(RECIPES["mnist"]().replace(budget=600, data={"name": f"folder:{digits}"}), tmp_path / "run")
    first, second = re.search(r"([\d,]+) steps of the autoencoder and ([\d,]+) of the denoiser", capsys.readouterr().out).groups()
    assert 540 < int(first.replace(",", "")) * times["autoencoder"] + int(second.replace(",", "")) * times["denoiser"] <= 600


def test_a_dry_run_where_a_run_is_says_so_and_one_of_another_recipe_is_refused(nanoldm, tiny_options, trained_run):
    before = {file: file.stat().st_mtime_ns for file in trained_run.rglob("*")}
    same = nanoldm("train", "mnist", *tiny_options, "--steps", 40, "--out", trained_run.name, "--dry-run")
    assert f"{trained_run.name} holds this run already, and the command would do nothing: it is finished" in same.stdout
    for dry in ([], ["--dry-run"]):
        other = nanoldm("train", "mnist", *tiny_options, "--steps", 40, "--set", "network.heads=2", "--out", trained_run.name, *dry)
        assert other.returncode == 2
        assert "network.heads 4 there, 2 here" in other.stderr
    assert {file: file.stat().st_mtime_ns for file in trained_run.rglob("*")} == before
