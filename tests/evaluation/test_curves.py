"""Learning curves."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from nanoldm.evaluation.curves import draw_curves
from nanoldm.evaluation.plots import column
from nanoldm.pipeline.folders import METRICS_FILE, read_metrics
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import captioned, grid, save
from nanoldm.utils.seeding import generator


@pytest.fixture
def run(small_model, tmp_path) -> Path:
    """A run folder with a history and samples of two steps."""
    folder = tmp_path / "run"
    shutil.copytree(small_model, folder / "model")
    shutil.copy(folder / "model" / METRICS_FILE, folder / METRICS_FILE)
    images = torch.rand(4, 1, 8, 8, generator=generator(0))
    for step in (10, 20):
        save(captioned([(f"step {step}", grid(images))]), folder / "samples" / f"step-{step}.png")
    return folder


def test_curves_and_gif_of_two_runs(run, tmp_path, capsys):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(run, unfinished)
    shutil.rmtree(unfinished / "model")
    draw_curves([run], tmp_path / "one.png", tmp_path / "one.gif")
    draw_curves([run, unfinished], tmp_path / "two.png", tmp_path / "two.gif")
    assert f"wrote {tmp_path / 'two.png'}: 2 run(s)" in capsys.readouterr().out
    pictures = [Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("one", "two")]
    assert pictures[0].width == pictures[1].width
    assert pictures[0].tobytes() != pictures[1].tobytes()
    gifs = [Image.open(tmp_path / f"{name}.gif") for name in ("one", "two")]
    assert gifs[0].n_frames == 2
    assert gifs[1].width > 1.9 * gifs[0].width  # side by side


def test_a_bundled_model_has_curves_but_no_samples(tmp_path):
    draw_curves(["mnist"], tmp_path / "bundled.png")
    with pytest.raises(InputError, match="only run folders have them"):
        draw_curves(["mnist"], tmp_path / "bundled.png", tmp_path / "bundled.gif")


def test_a_folder_without_history_is_an_error(tmp_path, run):
    cases = [([tmp_path], "a.png"), (["no-such-run"], "a.png"), ([run], "a.txt"), ([], "a.png")]
    for runs, out in cases:
        with pytest.raises(InputError):
            draw_curves(runs, tmp_path / out)
    (run / METRICS_FILE).unlink()
    (run / "model" / METRICS_FILE).unlink()
    with pytest.raises(InputError, match="has no training history"):
        draw_curves([run], tmp_path / "a.png")


def test_a_training_logs_the_denoising_error_of_both_weights_and_the_gates(trained_run):
    records = read_metrics(trained_run / METRICS_FILE)
    (last,) = [each for each in records if each["step"] == 40 and "denoising_error" in each]
    for name in ("denoising_error", "denoising_error_ema"):
        assert len(last[name]) == 12
        assert 0 < last[name][0] < last[name][-1]  # more noise, more error
    gates = [record["gates"] for record in records if "gates" in record]
    assert {len(row) for row in gates} == {4}  # attention and feed-forward of 2 blocks
    assert max(gates[0]) < 0.01 < min(gates[-1])


def test_a_column_is_one_metric_of_one_stage_with_lists_as_means():
    records = [{"stage": "denoiser", "step": 1, "loss": 2.0},
               {"stage": "autoencoder", "step": 1, "loss": 9.0},
               {"stage": "denoiser", "step": 5, "denoising_error": [1.0, 3.0]},
               {"stage": "denoiser", "step": 7, "loss": 1.0}]
    assert column(records, "denoiser", "loss") == ([1, 7], [2.0, 1.0])
    assert column(records, "denoiser", "denoising_error") == ([5], [pytest.approx(2)])
