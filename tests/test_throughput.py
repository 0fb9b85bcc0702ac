"""The benchmark measures what it says, on the real command line; other implementations are networks
of the same size.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import throughput as bench
import torch
from contenders import CONTENDERS, LIBRARIES, Worker

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
NAMES = [f"{library}, fp32" for library in LIBRARIES]


@pytest.fixture(scope="module")
def workers():
    precision = torch.get_float32_matmul_precision()        # which Worker("nanoldm, fp32") changes
    yield {name: Worker(name, batch_size=4, threads=None, device="cpu") for name in NAMES}
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize("name", NAMES)
def test_every_contender_is_a_network_of_the_reference_size_with_one_face(workers, name):
    worker = workers[name]
    assert worker.facts()["parameters"] == pytest.approx(1_353_734, rel=0.1)
    x = torch.randn(3, 49, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (worker.network.eval()(x, torch.full((3,), t)) for t in (3, 90))
    worker.network.train()
    assert first.shape == x.shape
    assert not torch.allclose(first, second)                # it hears the time


@pytest.mark.parametrize("name", NAMES)
def test_a_training_task_trains_and_a_sampling_task_samples(workers, name):
    worker = workers[name]
    before = [parameter.clone() for parameter in worker.network.parameters()
              if parameter.requires_grad]
    assert worker.train()["images"] == 12
    after = [parameter for parameter in worker.network.parameters() if parameter.requires_grad]
    assert all(not torch.equal(a, b)
               for a, b in zip(before, after, strict=True) if b.grad is not None and b.grad.any())
    assert worker.sample()["images"] == 64
    assert worker.contender.sample(torch.randn(2, 49, 6)).shape == (2, 49, 6)


def test_the_products_of_a_step_are_counted(workers):
    """Three products for each weight of a linear layer and token, and the attention's six of 49 x
    49 x 32 for each head and block.
    """
    tokens, linear = 4 * 49, 4 * (128 * 384 + 128 * 128 + 2 * 128 * 512)
    attention = 4 * 4 * 4 * 6 * 49 * 49 * 32
    floor = 2 * (3 * tokens * linear + attention) / 1e9
    products = workers[bench.OURS].products()
    # the rest: first and last layer, time embedding, modulation
    assert floor < products["step_gflop"] < 1.03 * floor
    for speeds in products["gflops"].values():
        assert min(speeds.values()) > 0.1                   # GFLOP/s


def test_ratios_are_taken_within_a_round():
    contenders = {"nanoldm": {"train_images_per_second": [100.0, 50.0, 10.0]},
                  "other": {"train_images_per_second": [50.0, 20.0, 8.0]}}
    assert bench.speed(contenders, "other", "nanoldm", "train") == (20.0, 0.5)  # 0.5, 0.4, 0.8


def test_the_share_of_a_step_is_taken_of_the_products_of_its_precision():
    report = {"batch_size": 256, "step_gflop": 60.0,
              "gflops": {"fp32": {"large": 300.0}, "bf16": {"large": 1200.0}},
              "contenders": {"nanoldm, fp32": {"train_images_per_second": [640.0]},
                             "nanoldm, bf16": {"train_images_per_second": [1280.0]}}}
    assert bench.limit(report, "nanoldm, fp32") == (0.4, 0.5)
    assert bench.limit(report, "nanoldm, bf16") == (0.2, 0.25)


# an ARM says no name
@pytest.mark.slow
def test_the_command_measures_everything_and_writes_it(tmp_path):
    command = [sys.executable, BENCHMARKS / "throughput.py", "--rounds", "1", "--batch-size", "4",
               "--out", "speed.json", "--threads", "1"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "wrote speed.json" in finished.stdout
    report = json.loads((tmp_path / "speed.json").read_text())
    assert set(NAMES) <= set(report["contenders"]) <= set(CONTENDERS)
    for facts in report["contenders"].values():
        for figure in ("train_images_per_second", "sample_images_per_second"):
            assert len(facts[figure]) == 1
            assert facts[figure][0] > 0
        assert facts["train_peak_mb"] > 100
    assert min(report["cold_start"]["sample"], report["cold_start"]["import_torch"]) > 0.2
