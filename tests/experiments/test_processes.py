"""N processes train the same model as one; whatever stops one of them stops all."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.stage import parts_of_batch
from nanoldm.models import Dropout
from nanoldm.pipeline.folders import RunFolder, read_metrics
from nanoldm.utils.distributed import Part
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import file_digest, load_tensors
from nanoldm.utils.seeding import seeded

STEPS = 40
NETWORKS = '''
import os, time, torch
from nanoldm import DiffusionNet

class Slow(DiffusionNet):
    def forward(self, *inputs):
        time.sleep(0.05 if self.training else 0)
        return super().forward(*inputs)

class Broken(DiffusionNet):
    """NaN in the second process."""
    def forward(self, *inputs):
        wrong = float("nan") if os.environ.get("RANK") == "1" else 0.0
        return super().forward(*inputs) + wrong
'''


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of a command that finds the networks above, with one thread for each process."""
    folder = tmp_path_factory.mktemp("networks")
    (folder / "own_networks.py").write_text(NETWORKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def options(tiny_options):
    """A recipe with dropout, clusters as labels, and Muon."""
    return [*tiny_options, "--steps", STEPS, "--network.kind", "own_networks:Slow",
            "--network.dropout", "0.1", "--training.optimizer", "Muon",
            "--training.batch_size", "32", "--diffusion.clusters", "4",
            "--diffusion.label_dropout", "0.1"]


@pytest.fixture(scope="module")
def quick():
    """The same network without its pauses."""
    return "--network.kind", "DiffusionNet"


@pytest.fixture(scope="module")
def pair(nanoldm, options, quick, environment, tmp_path_factory):
    """The run in one process, and in two."""
    folder = tmp_path_factory.mktemp("pair")
    one = nanoldm("train", "mnist", *options, *quick, "--out", folder / "one")
    two = nanoldm("train", "mnist", *options, "--out", folder / "two", "--processes", 2,
                  env=environment)
    assert [one.returncode, two.returncode] == [0, 0], (one, two)
    return folder, one, two


def difference(one: Path, other: Path, stage: str) -> float:
    """The largest difference of weights, relative to the largest weight of each tensor."""
    first, second = (load_tensors(RunFolder(f).checkpoint(stage))[0] for f in (one, other))
    assert first.keys() == second.keys()
    return max(((first[name] - second[name]).abs().max() / first[name].abs().max()).item()
               for name in first if name.startswith(("model.", "ema.")) and first[name].any())


@pytest.mark.parametrize("stage", ["autoencoder", "denoiser"])
def test_two_processes_train_the_weights_of_one(pair, stage):
    folder, _, _ = pair
    assert difference(folder / "one", folder / "two", stage) < 1e-5


def test_only_one_of_two_processes_prints_and_writes(pair):
    folder, one, two = pair
    varying = r"about \S+.*|\(until.*?\)|" + re.escape(str(folder)) + r"/\w+"
    texts = [re.sub(varying, "", done.stdout) for done in (one, two)]
    assert texts[0] == texts[1]
    logs = [read_metrics(RunFolder(folder / name).metrics) for name in ("one", "two")]
    for first, second in zip(*logs, strict=True):
        assert first.keys() == second.keys()
        assert first["step"] == second["step"]
        assert first.get("loss", 0) == pytest.approx(second.get("loss", 0), rel=1e-4)


@pytest.mark.parametrize("code", [0, 3])
def test_one_of_several_processes_skips_what_could_abort_it_at_its_end(code):
    program = f"""
import atexit, os, sys
from nanoldm.__main__ import end_with
atexit.register(os.abort)
end_with(lambda: print("done") or sys.exit({code} or None))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "done\n")


def begun(command: list, environment: dict, run: RunFolder, step: int) -> subprocess.Popen:
    """The command in the background, when its denoiser has logged `step`."""
    process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if any(record["stage"] == "denoiser" and record["step"] >= step
               for record in read_metrics(run.metrics)):
            return process
        time.sleep(0.05)
    raise AssertionError(process.communicate())


@pytest.mark.slow
def test_ctrl_c_and_the_death_of_one_process_stop_both_and_the_command_continues_the_run(
    pair, options, environment, tmp_path
):
    run = RunFolder(tmp_path / "run")
    command = [sys.executable, "-m", "nanoldm", "train", "mnist", *map(str, options), "--out",
               str(run.path), "--processes", "2"]
    process = begun(command, environment, run, 1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.findall("nanoldm: (.*)", errors) == [
        f"denoiser stopped at step 10 of {STEPS}, checkpoint saved: the same command continues the "
        "run"]

    process = begun(command, environment, run, 20)
    ranks = {child.environ()["RANK"]: child for child in psutil.Process(process.pid).children()}
    ranks["1"].kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "process 1 was killed (SIGKILL)" in errors
    assert "Traceback" not in errors

    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    weights = [RunFolder(folder).checkpoint("denoiser") for folder in (run.path, pair[0] / "two")]
    assert file_digest(weights[0]) == file_digest(weights[1])


@pytest.mark.slow
def test_nan_in_one_process_ends_both_with_one_message(nanoldm, options, environment, tmp_path):
    failed = nanoldm("train", "mnist", *options, "--network.kind", "own_networks:Broken", "--out",
                     tmp_path / "run", "--processes", 2, env=environment)
    assert failed.returncode == 1
    (message,) = re.findall("nanoldm: (.*)", failed.stderr)
    assert "the loss of the denoiser became nan at step 1" in message


def test_a_batch_in_two_parts_trains_the_weights_of_a_whole_one(nanoldm, options, quick, pair,
                                                                tmp_path):
    parts = ["--accumulate", 2, "--out", tmp_path / "run"]
    done = nanoldm("train", "mnist", *options, *quick, *parts)
    assert done.returncode == 0, done.stderr
    for stage in ("autoencoder", "denoiser"):
        assert difference(pair[0] / "one", tmp_path / "run", stage) < 1e-5


def test_parts_of_a_batch_must_be_equal(nanoldm, options, monkeypatch):
    more = ["--training.batch_size", 255, "--accumulate", 2]
    wrong = nanoldm("train", "mnist", *options, *more, "--out", "unequal")
    assert wrong.returncode == 2
    assert ("training.batch_size 255 is not a multiple of 2 (2 parts each): choose 254" in
            wrong.stderr)
    monkeypatch.setattr("nanoldm.experiments.stage.own_part", lambda: Part(0, 4))
    with pytest.raises(InputError, match=r"multiple of 8 \(4 processes times 2 parts each\)"):
        parts_of_batch(RECIPES["mnist"]().training.replace(batch_size=20), "training", 100, 2)


def test_dropout_of_the_parts_is_that_of_the_whole_batch():
    x, layer = torch.ones(6, 5, 4), Dropout(0.3)
    with seeded(1, 2):
        whole = torch.cat([layer(x), layer(x)], -1)     # two layers
    parts = []
    for k in range(3):
        with seeded(1, 2, part=Part(k, 3)):
            parts.append(torch.cat([layer(x[:2]), layer(x[:2])], -1))
    assert torch.equal(torch.cat(parts), whole)
    assert 0 < (whole == 0).float().mean() < 1


def test_two_processes_generate_the_images_of_one(nanoldm, environment, tmp_path):
    """Of a model with labels: which each image gets does not depend on the process, either."""
    files = [tmp_path / f"{number}.npz" for number in (1, 2)]
    for number, file in enumerate(files, 1):
        several = {"env": environment} if number > 1 else {}  # else: in this process
        done = nanoldm("sample", "mnist-fast-conditional", "--n", 5, "--steps", 2, "--processes",
                       number, "--npz", file, "--out", file.with_suffix(".png"), **several)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("wrote") == 2
    one, two = (np.load(file) for file in files)
    assert np.array_equal(one["labels"], two["labels"])
    assert np.abs(one["images"].astype(int) - two["images"]).max() <= 1


def test_one_process_of_accelerate_on_the_cpu_is_announced(nanoldm, options, monkeypatch):
    """It takes --num_processes 2, and starts one."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    done = nanoldm("train", "mnist", *options, "--dry-run")
    assert "accelerate launch --cpu has started one process: for more give" in done.stdout


def test_other_commands_need_one_process(nanoldm, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused = nanoldm("info", "mnist")
    assert refused.returncode == 2
    assert "info needs one process, and a launcher has started 2" in refused.stderr
