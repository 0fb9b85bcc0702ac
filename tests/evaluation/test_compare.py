"""`nanoldm compare` on a tiny model: `evaluate`'s figures, passes that are really made, samples drawn once, the rule of the choice."""

import json
import os
import re
import shutil
from itertools import product
from types import SimpleNamespace

import pytest
from PIL import Image

from nanoldm.diffusion import SAMPLERS, SPACINGS, NoiseSchedule
from nanoldm.evaluation import plots as charts
from nanoldm.evaluation import samples as drawing
from nanoldm.evaluation.compare import FAST_PASSES, candidates, check_saving, compare, table, winner
from nanoldm.pipeline.folders import BUNDLED
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError

SETTINGS = ["--n", 40, "--seed", 3, "--passes", "3,12", "--samplers", "dpm++2m,heun", "--grids", "log-snr,trailing"]


@pytest.fixture(scope="module")
def run_tiny(nanoldm, tiny_features, tmp_path_factory):
    """run_tiny(command, *arguments) runs the real command line with the tiny networks -> the finished process."""
    environment = {**os.environ, "NANOLDM_DATA": str(tmp_path_factory.mktemp("cache"))}
    return lambda *arguments: nanoldm(*arguments, "--features", tiny_features, "--threads", 1, env=environment)


@pytest.fixture(scope="module")
def compared(run_tiny, trained_run, nanoldm):
    done = run_tiny("compare", trained_run, *SETTINGS, "--out", "compared")
    assert done.returncode == 0, done.stderr
    return done.stdout, nanoldm.folder / "compared"


@pytest.fixture(scope="module")
def report(compared):
    return json.loads((compared[1] / "compare.json").read_text())


def test_it_says_the_cost_first_and_shows_every_setting(compared, report):
    text, folder = compared
    assert re.match(r"comparing 8 settings with ddpm in 100 network passes, 40 images each: drawing them takes about \d+ s", text)
    assert [(row["sampler"], row["grid"]) for row in report["rows"]] == [*product(("dpm++2m", "heun"), ("log-snr", "trailing"))] * 2
    lines = [line.split("│")[1:-1] for line in text.splitlines() if line.startswith("│")]
    assert len(lines) == 10                                             # 8, the reference, real images
    assert [int(cells[0]) for cells in lines[:-1]] == [row["passes"] for row in (*report["rows"], report["reference"])]
    assert sum("best" in cells[-1] for cells in lines) == 2             # of at most 3 passes, and of at most 12
    assert Image.open(folder / "compare.png").width > 500


def test_the_reference_gets_what_evaluate_says_of_the_same_seeds(run_tiny, trained_run, nanoldm, report):
    assert run_tiny("evaluate", trained_run, "--n", 40, "--seed", 3, "--out", "evaluated").returncode == 0
    measures = json.loads((nanoldm.folder / "evaluated" / "report.json").read_text())["measures"]
    assert {"frechet_test", "kernel_test"} <= report["reference"]["measures"].keys()
    for name, figures in report["reference"]["measures"].items():
        assert figures == {key: measures[name][key] for key in ("value", "interval")}
        assert report["real images"][name] == measures[name]["real images"]


def test_the_network_is_called_as_often_as_the_table_says(report, trained_run):
    model, calls = LatentDiffusion.from_pretrained(trained_run), []
    model.denoiser.network.register_forward_hook(lambda *_: calls.append(1))
    for row in report["rows"]:
        calls.clear()
        model.generate([0], row["steps"], sampler=row["sampler"], grid=row["grid"])
        assert len(calls) == row["passes"]


def test_a_second_call_draws_nothing_and_a_gap_is_filled(compared, run_tiny, trained_run):
    _, folder = compared
    files = sorted((folder / "samples").iterdir())
    assert len(files) == 9
    before, times = (folder / "compare.json").read_bytes(), [file.stat().st_mtime_ns for file in files]
    again = run_tiny("compare", trained_run, *SETTINGS, "--out", folder)
    assert again.stdout.startswith("comparing 8 settings with ddpm in 100 network passes, 40 images each: reusing the samples in")
    assert [file.stat().st_mtime_ns for file in files] == times
    files[0].unlink()
    assert "(8 of 9 are there already)" in run_tiny("compare", trained_run, *SETTINGS, "--out", folder).stdout
    assert [file.stat().st_mtime_ns for file in files[1:]] == times[1:]
    assert (folder / "compare.json").read_bytes() == before


def test_the_saved_choice_is_what_sample_draws_with_fast(report, run_tiny, trained_run, nanoldm, compared):
    shutil.copytree(trained_run, nanoldm.folder / "measured")
    done = run_tiny("compare", "measured", *SETTINGS, "--save", "--out", compared[1])
    assert done.returncode == 0, done.stderr
    assert "sampling.json: draw with it by: nanoldm sample measured --fast" in done.stdout
    chosen = report["fast"]
    stored = json.loads((nanoldm.folder / "measured" / "model" / "sampling.json").read_text())
    assert stored["fast"] == chosen
    assert stored["measured"]["reference"] == report["reference"]["measures"]["frechet_test"]
    assert nanoldm("export", "measured", "shared").returncode == 0
    assert LatentDiffusion.from_pretrained(nanoldm.folder / "shared").fast == chosen
    card = (nanoldm.folder / "shared" / "README.md").read_text()
    assert f"--fast: {chosen['steps']} steps of {chosen['sampler']} on the {chosen['grid']} grid" in card
    explicit = ["--steps", chosen["steps"], "--sampler", chosen["sampler"], "--grid", chosen["grid"]]
    for name, options in {"fast": ["--fast"], "explicit": explicit}.items():
        drawn = nanoldm("sample", "shared", "--n", 3, *options, "--npz", f"{name}.npz", "--threads", 1)
        assert drawn.returncode == 0, drawn.stderr
    assert (nanoldm.folder / "fast.npz").read_bytes() == (nanoldm.folder / "explicit.npz").read_bytes()


def passes(pipeline, sampling):
    return sampling.passes(pipeline.denoiser.schedule, pipeline.timesteps(sampling))


@pytest.mark.parametrize("grid", SPACINGS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_sampler_gets_as_many_steps_as_fit(tiny_pipeline, sampler, grid):
    for budget in (1, 2, 4, 16, 100):
        (chosen,) = candidates(tiny_pipeline, [budget], [sampler], [grid]).values()
        made = passes(tiny_pipeline, chosen)
        assert made <= budget
        if sampler not in ("heun", "ddpm-repaint"):                     # one pass a step: never fewer than when as many are asked for
            assert made >= passes(tiny_pipeline, Sampling(budget, sampler, grid))
        if sampler == "heun" and grid == "trailing":
            assert made == budget - (budget % 2 == 0)                   # 2 n - 1 is odd
        if sampler == "ddpm-repaint" and grid == "trailing":
            assert made == budget - (budget - 1) % 5                    # 5 n - 4
        if sampler not in ("heun", "ddpm-repaint") and budget < 30:
            assert made == budget                                       # also where 16 steps fall on 12 timesteps


def test_two_ways_to_say_the_same_are_drawn_once(tiny_features, trained_run, tmp_path, monkeypatch):
    monkeypatch.setenv("NANOLDM_DATA", str(tmp_path))
    drawn = compare(trained_run, n=20, passes=[1, 100], samplers=["ddpm"], grids=["trailing", "log-snr"], features=tiny_features,
                    out=tmp_path / "out")
    assert [(row["grid"], row["passes"] == 1) for row in drawn["rows"]] == [("trailing", True), ("log-snr", False)]
    assert len(list((tmp_path / "out" / "samples").iterdir())) == 3


def test_the_cost_is_the_sum_over_what_is_missing(monkeypatch):
    """With a clock on which a batch of 4 takes 1 second and 2 more for each network pass."""
    clock = [0.0]

    def generate(seeds, steps):
        clock[0] += len(seeds) / 4 * (1 + 2 * steps)

    monkeypatch.setattr(drawing.time, "perf_counter", lambda: clock[0])
    pipeline = SimpleNamespace(batch_size=4, generate=generate, denoiser=SimpleNamespace(schedule=NoiseSchedule()))
    parts = [SimpleNamespace(pipeline=pipeline, missing=range(count), passes=made) for count, made in ((8, 5), (4, 1), (0, 9))]
    assert drawing.seconds(parts) == pytest.approx(2 * (1 + 2 * 5) + (1 + 2 * 1))
    assert drawing.seconds(parts[2:]) == 0


def row(passes: int, value: float, interval: float = 1.0) -> dict:
    return {"passes": passes, "sampler": "ddim", "grid": "trailing", "steps": passes,
            "measures": {name: {"value": value, "interval": interval} for name in ("frechet_test", "kernel_test")}}


@pytest.mark.parametrize(("rows", "expected"), [
    ([(4, 30), (8, 10.9), (8, 10.2), (16, 9)], (8, 10.2)),              # the fewest passes of those within 10 +- 1, the nearest of them
    ([(4, 11.1), (8, 11.0), (16, 10.5)], (8, 11.0)),                    # on the edge is within
    ([(4, 30), (8, 12), (16, 13), (32, 9)], (8, 12)),                   # none is: the nearest of those that may be chosen
    ([(17, 9), (32, 9)], None),
])
def test_the_choice_follows_its_rule(rows, expected):
    found = winner(row(100, 10), [row(*pair) for pair in rows])
    assert (found and (found["passes"], found["measures"]["frechet_test"]["value"])) == expected


def test_a_table_without_a_choice_says_so():
    report = {"reference": row(100, 10), "rows": [row(32, 9)], "fast": None, "passes": [32], "measure": "frechet_test", "batches": 10,
              "real images": {"frechet_test": 1, "kernel_test": 0}, "images": 40, "real_count": 40, "model": "m", "first_seed": 0,
              "data": {"name": "d"}, "features": {"name": "f"}}
    assert f"no choice, since all settings cost more than {FAST_PASSES} network passes" in table(report)


def test_the_chart_has_a_line_for_every_curve_at_its_points(monkeypatch):
    monkeypatch.setattr(charts, "picture", lambda sheet: sheet)
    sheet = charts.against_passes({("a", "x"): [(4, 9.0, 1), (8, 5.0, 1)], ("b", "x"): [(8, 4.0, 1)]}, ("full", 3.0, 0.5), 1.0, "distance")
    (ax,) = sheet.axes
    assert [line.get_xydata().tolist() for line in ax.lines if len(line.get_xdata()) and line.get_marker() == "o"] == [
        [[4, 9], [8, 5]], [[8, 4]]]
    assert {text.get_text() for text in sheet.legends[0].get_texts()} == {"a, x", "b, x", "full", "real images"}
    assert [label.get_text() for label in ax.get_xticklabels()] == ["4", "8"]


def test_a_choice_is_not_saved_where_it_could_not_be_found_again(tmp_path):
    with pytest.raises(InputError, match="mnist is bundled: copy it by nanoldm export mnist FOLDER"):
        check_saving(BUNDLED / "mnist", [8])
    (tmp_path / "sampling.json").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_saving(tmp_path, [8])
