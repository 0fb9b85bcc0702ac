"""Learning curves, and what a training logs for them."""

import shutil

import pytest
from PIL import Image

from nanoldm.evaluation.plots import column
from nanoldm.pipeline.folders import read_metrics


def test_curves_and_gif_of_two_runs(nanoldm, trained_run):
    shutil.copytree(trained_run, nanoldm.folder / "unfinished", dirs_exist_ok=True)
    shutil.rmtree(nanoldm.folder / "unfinished" / "model")
    one = nanoldm("curves", trained_run, "--out", "one.png", "--gif", "one.gif")
    two = nanoldm("curves", trained_run, "unfinished", "--out", "two.png", "--gif", "two.gif")
    assert (one.returncode, two.returncode) == (0, 0), one.stderr + two.stderr
    assert "wrote two.png: 2 run(s)" in two.stdout
    pictures = [Image.open(nanoldm.folder / f"{name}.png").convert("RGB") for name in ("one", "two")]
    assert pictures[0].size == pictures[1].size
    assert pictures[0].tobytes() != pictures[1].tobytes()
    gifs = [Image.open(nanoldm.folder / f"{name}.gif") for name in ("one", "two")]
    assert gifs[0].n_frames == len(list((trained_run / "samples").glob("step-*.png")))
    assert gifs[1].width > 1.9 * gifs[0].width                  # side by side


def test_a_bundled_model_has_curves_but_no_grids(nanoldm):
    assert nanoldm("curves", "mnist", "--out", "bundled.png").returncode == 0
    refused = nanoldm("curves", "mnist", "--out", "bundled.png", "--gif", "bundled.gif")
    assert refused.returncode == 2
    assert "only run folders have them" in refused.stderr


def test_a_folder_without_history_is_refused(nanoldm, tmp_path):
    for arguments in ([tmp_path], ["no-such-run"], [tmp_path, "--out", "curves.txt"]):
        refused = nanoldm("curves", *arguments)
        assert refused.returncode == 2
        (line,) = refused.stderr.splitlines()
        assert line.startswith("nanoldm: ")


def test_a_training_logs_the_proxy_of_both_weights_and_the_opening_gates(trained_run):
    records = read_metrics(trained_run / "metrics.jsonl")
    (last,) = [record for record in records if record["step"] == 40 and "proxy" in record]
    for name in ("proxy", "proxy_ema"):
        assert len(last[name]) == 12
        assert 0 < last[name][0] < last[name][-1]               # more noise, more error
    gates = [record["gates"] for record in records if "gates" in record]
    assert {len(row) for row in gates} == {8}                   # attention and feed-forward of 4 blocks
    assert max(gates[0]) < 0.01 < min(gates[-1])


def test_a_column_is_one_figure_of_one_stage_with_lists_as_means():
    records = [{"stage": "denoiser", "step": 1, "loss": 2.0}, {"stage": "autoencoder", "step": 1, "loss": 9.0},
               {"stage": "denoiser", "step": 5, "proxy": [1.0, 3.0]}, {"stage": "denoiser", "step": 7, "loss": 1.0}]
    assert column(records, "denoiser", "loss") == ([1, 7], [2.0, 1.0])
    assert column(records, "denoiser", "proxy") == ([5], [pytest.approx(2)])
