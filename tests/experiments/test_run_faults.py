"""Faults of runs: models removed or mixed, checkpoints altered, starts killed, variables of
launchers.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nanoldm import LatentDiffusion
from nanoldm.experiments.plan import read_plan
from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.run import Run
from nanoldm.pipeline.folders import BUNDLED, RunFolder
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import digest, load_tensors, read_json, save_tensors, write_json

NETWORK = "model/network/diffusion_pytorch_model.safetensors"
AUTOENCODER = "model/autoencoder/diffusion_pytorch_model.safetensors"


def train(recipe, folder):
    """A finished run -> its folder."""
    return Run(folder, recipe).train().folder


@pytest.fixture(scope="module")
def recipe(digits):
    """With clusters and Muon."""
    return RECIPES["mnist-fast"]().replace(network={"patch": 1, "width": 48},
                                           data={"name": f"folder:{digits}", "size": 8},
                                           training={"steps": 12},
                                           autoencoder_training={"epochs": 1})


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory) -> list[Path]:
    """Two finished runs of equal shapes. Shared: do not change them."""
    folder = tmp_path_factory.mktemp("finished")
    return [train(recipe.replace(seed=seed), folder / str(seed)).path for seed in (0, 1)]


@pytest.fixture
def run(finished, tmp_path) -> RunFolder:
    return RunFolder(shutil.copytree(finished[0], tmp_path / "run"))


@pytest.fixture
def other(finished) -> RunFolder:
    return RunFolder(finished[1])


def weights(run: RunFolder) -> list[str]:
    return [digest(load_tensors(run.path / file)[0]) for file in (NETWORK, AUTOENCODER)]


def unfinish(run: RunFolder) -> None:
    write_json(run.plan, read_json(run.plan) | {"finished": False})


def remove_model(run, other):
    shutil.rmtree(run.model)


def truncate_network(run, other):
    (run.path / NETWORK).write_bytes((run.path / NETWORK).read_bytes()[:5000])


def remove_recipe(run, other):
    (run.model / "recipe.json").unlink()


def take_the_schedule_of_another(run, other):
    file = run.model / "scheduler" / "scheduler_config.json"
    write_json(file, read_json(file) | {"clip_sample_range": 1.0})


def take_the_model_of_another(run, other):
    shutil.rmtree(run.model)
    shutil.copytree(other.model, run.model)


DAMAGES = (remove_model, truncate_network, remove_recipe, take_the_schedule_of_another,
           take_the_model_of_another)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_damaged_model_of_a_finished_run_is_made_again_from_its_checkpoints(
    run, other, recipe, capsys, damage
):
    before = weights(run)
    damage(run, other)
    train(recipe, run.path)
    assert "its model is damaged" in capsys.readouterr().out
    assert weights(run) == before
    assert (run.model / "recipe.json").exists()
    train(recipe, run.path)
    assert "nothing to do" in capsys.readouterr().out


def test_a_finished_run_without_checkpoints_has_nothing_to_do(run, recipe, capsys):
    shutil.rmtree(run.checkpoints)
    train(recipe, run.path)
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("part", [AUTOENCODER, NETWORK])
def test_weights_of_another_model_of_equal_shape_are_an_error(run, other, part):
    shutil.copy(other.path / part, run.path / part)
    with pytest.raises(InputError,
                       match=r"mixes two models \(network was trained with another autoencoder\)"):
        LatentDiffusion.from_pretrained(run.path)


def test_the_autoencoder_of_another_bundled_model_is_an_error(tmp_path):
    folder = shutil.copytree(BUNDLED / "mnist", tmp_path / "model")
    shutil.copytree(BUNDLED / "mnist-fast" / "autoencoder", folder / "autoencoder",
                    dirs_exist_ok=True)
    with pytest.raises(InputError, match="mixes two models"):
        LatentDiffusion.from_pretrained(folder)


def test_the_schedule_of_another_model_is_an_error(run):
    file = run.model / "scheduler" / "scheduler_config.json"
    write_json(file, read_json(file) | {"prediction_type": "epsilon"})
    with pytest.raises(InputError,
                       match=r"mixes two models \(network was trained with another schedule\)"):
        LatentDiffusion.from_pretrained(run.path)


@pytest.mark.parametrize("name", ["autoencoder", "clusters"])
def test_a_run_does_not_continue_with_files_of_another(run, other, recipe, name):
    shutil.copy(other.checkpoint(name), run.checkpoint(name))
    unfinish(run)
    with pytest.raises(InputError, match=r"not a checkpoint of this run|not of this run's latents"):
        train(recipe, run.path)


def without_optimizer(tensors):
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer")}


def with_a_moment_less(tensors):
    return {name: tensor for name, tensor in tensors.items() if name != "optimizer.0.3.momentum"}


def with_nan(tensors):
    return {name: tensor * float("nan") if name.startswith("ema") and tensor.is_floating_point()
            else tensor for name, tensor in tensors.items()}


def unchanged(tensors):
    return tensors


@pytest.mark.parametrize(("alter", "step"),
                         [(unchanged, "-5"), (unchanged, "0"), (unchanged, "13"),
                          (unchanged, "many"), (without_optimizer, "12"),
                          (with_a_moment_less, "12"), (with_nan, "12")])
def test_an_altered_checkpoint_is_an_error_that_names_the_file(run, recipe, alter, step):
    file = run.checkpoint("denoiser")
    tensors, metadata = load_tensors(file)
    save_tensors(file, alter(tensors), step=step, autoencoder=metadata["autoencoder"])
    unfinish(run)
    with pytest.raises(InputError, match=r"denoiser\.safetensors is not a checkpoint of this run"):
        train(recipe, run.path)


def test_a_start_that_was_killed_before_it_wrote_its_recipe_starts_again(recipe, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    (run.path / ".lock").touch()
    (run.path / ".nanoldm-00000000-1-ab.tmp").touch()
    train(recipe.replace(training={"steps": 1}), run.path)
    assert read_json(run.plan)["finished"]


def test_the_plan_of_an_older_version_is_of_fp32_and_not_compiled(run):
    plan = read_json(run.plan)
    write_json(run.plan, {name: plan[name] for name in plan.keys() - {"precision", "compiled"}})
    old = read_plan(run.plan)
    assert (old.precision, old.compiled) == ("fp32", False)


@pytest.mark.slow
def test_a_damaged_log_ends_neither_a_run_nor_its_model(run, recipe, nanoldm):
    lines = run.metrics.read_bytes().splitlines()
    damaged = b"\n".join([b"[1, 2]", b'{"stage": 3}', b"\xff\xfe",
                          b'{"stage": "denoiser", "step": 1e400}',
                          b'{"stage": "denoiser", "step": 1, "seconds": Infinity}',
                          b'{"stage": "denoiser", "step": 1, "seconds": 2, "loss": "bad"}',
                          *lines, b'{"half'])
    run.metrics.write_bytes(damaged)
    (run.model / "metrics.jsonl").write_bytes(damaged)
    for command in (["info", run.path], ["export", run.path, run.path.parent / "exported"],
                    ["curves", run.path]):
        done = nanoldm(*command)
        assert (done.returncode, done.stderr) == (0, "")
        assert "damaged in line 1 and 6 others" in done.stdout
    unfinish(run)
    train(recipe, run.path)
    assert len(run.metrics.read_bytes().splitlines()) == len(lines)


def test_processes_that_cannot_find_each_other_are_an_error(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="WORLD_SIZE is 2, and RANK is not set: start"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


LARGE = [("autoencoder", "levels", 10**6), ("autoencoder", "image_size", 10**9),
         ("autoencoder", "hidden_channels", 10**9), ("network", "depth", 10**9),
         ("network", "width", 10**9), ("network", "tokens", 10**12), ("network", "labels", 10**9),
         ("network", "heads", -1), ("network", "depth", "4"),
         ("scheduler", "num_train_timesteps", 10**12), ("scheduler", "num_train_timesteps", True)]


@pytest.mark.skipif(not Path("/proc/self/status").exists(),
                    reason="needs Linux's account of memory")
def test_a_configuration_does_not_decide_how_much_memory_is_taken(finished, tmp_path):
    for k, (part, key, value) in enumerate(LARGE):
        model = shutil.copytree(finished[0] / "model", tmp_path / f"{k:02d}")
        file = model / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
        file.write_text(json.dumps(read_json(file) | {key: value}))
    code = (
        "import sys; from pathlib import Path; from nanoldm import LatentDiffusion, "
        "InputError\nfor folder in sorted(Path(sys.argv[1]).iterdir()):\n    try: "
        "LatentDiffusion.from_pretrained(folder)\n    except InputError as error: "
        "print(error)\nprint(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True,
                          text=True, timeout=120)
    *messages, peak = done.stdout.splitlines()
    assert len(messages) == len(LARGE), done.stderr
    assert all("config" in message or "safetensors" in message or "mixes two models" in message
               for message in messages)
    assert int(peak) < 1_200_000
