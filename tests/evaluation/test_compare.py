"""`compare` on a small model: the values of `evaluate`, the stated NFE, the rule of the choice."""

import re
import shutil
from itertools import product

import pytest
from PIL import Image

from nanoldm.diffusion import SAMPLERS, SPACINGS
from nanoldm.evaluation import plots as charts
from nanoldm.evaluation.candidates import MOST_NFE, Candidates
from nanoldm.evaluation.compare import check_saving, choose, compare
from nanoldm.evaluation.compare_report import table
from nanoldm.evaluation.evaluate import evaluate
from nanoldm.pipeline.folders import BUNDLED
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling, default_settings
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json

CANDIDATES = Candidates([3, 12], ["dpm++2m", "heun"], ["log-snr", "trailing"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work") / "compared"


@pytest.fixture(scope="module")
def report(folder, small_model, tiny_reference):
    return compare(small_model, tiny_reference, CANDIDATES, n=40, seed=3, out=folder)


@pytest.fixture
def again(folder, report, small_model, tiny_reference, capsys):
    """The comparison once more -> what it prints."""

    def run(model=small_model, **options) -> str:
        compare(model, tiny_reference, CANDIDATES, n=40, seed=3, out=folder, **options)
        return capsys.readouterr().out

    return run


def test_it_shows_every_setting_in_100_columns(again, report, folder):
    text = again()
    first = "comparing 8 settings with ddpm with 100 NFE, 40 images each"
    assert text.splitlines()[:2] == [first, f"reusing the samples in {folder / 'samples'}"]
    settings = [(row["sampler"], row["spacing"]) for row in report["rows"]]
    assert settings == [*product(("dpm++2m", "heun"), ("log-snr", "trailing"))] * 2
    rows = [line for line in text.splitlines() if re.match(r"\d+  +[a-z]", line)]
    expected = [row["nfe"] for row in (*report["rows"], report["baseline"])]
    assert [int(line.split()[0]) for line in rows] == expected
    assert sum("best" in line for line in rows) == 2  # of at most 3 NFE, and of at most 12
    assert sum("chosen" in line for line in rows) == 1
    assert max(map(len, table(report).splitlines()[1:])) <= 100
    assert Image.open(folder / "compare.png").width > 500
    assert "40 images of an unsaved model" in table(report | {"model": None})


def test_the_baseline_gets_the_values_of_evaluate(report, small_model, tiny_reference, tmp_path):
    model = LatentDiffusion.from_pretrained(small_model)
    settings = default_settings(model.denoiser.schedule)
    options = dict(n=40, seed=3, settings=settings, out=tmp_path)
    metrics = evaluate(model, tiny_reference, **options)["metrics"]
    assert {"frechet_test", "kernel_test"} <= report["baseline"]["metrics"].keys()
    for name, found in report["baseline"]["metrics"].items():
        assert found == {key: metrics[name][key] for key in ("value", "interval")}
        assert report["real images"][name] == metrics[name]["real images"]


def test_the_network_is_evaluated_as_often_as_the_table_states(report, small_model):
    model, calls = LatentDiffusion.from_pretrained(small_model), []
    model.denoiser.network.register_forward_hook(lambda *_: calls.append(1))
    for row in report["rows"]:
        calls.clear()
        model.generate([0], sampler=row["sampler"], steps=row["steps"], spacing=row["spacing"])
        assert len(calls) == row["nfe"]


def test_a_second_call_generates_nothing_and_a_gap_is_filled(again, folder):
    files = sorted((folder / "samples").iterdir())
    assert len(files) == 9
    before = (folder / "compare.json").read_bytes()
    times = [file.stat().st_mtime_ns for file in files]
    again()
    assert [file.stat().st_mtime_ns for file in files] == times
    files[0].unlink()
    assert "(8 of 9 exist)" in again()
    assert [file.stat().st_mtime_ns for file in files[1:]] == times[1:]
    assert (folder / "compare.json").read_bytes() == before


def test_the_saved_choice_becomes_the_settings_of_the_model(report, again, small_model, tmp_path):
    shutil.copytree(small_model, tmp_path / "measured")
    text = again(tmp_path / "measured", save=True)
    assert f"sampling.json: nanoldm sample {tmp_path / 'measured'} uses these settings" in text
    chosen = report["chosen"]
    stored = read_json(tmp_path / "measured" / "sampling.json")
    assert all(stored[name] == chosen[name] for name in ("sampler", "steps", "spacing"))
    assert stored["measured"]["nfe"] == chosen["nfe"]
    assert stored["measured"]["baseline"] == report["baseline"]["metrics"]["frechet_test"]
    settings = Sampling(chosen["sampler"], chosen["steps"], chosen["spacing"])
    assert LatentDiffusion.from_pretrained(tmp_path / "measured").settings == settings


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_each_sampler_gets_as_many_steps_as_fit(tiny_pipeline, sampler, spacing):
    schedule = tiny_pipeline.denoiser.schedule
    for budget in (1, 2, 4, 16, 100):
        candidates = Candidates([budget], [sampler], [spacing])
        (settings,) = candidates.settings(schedule).values()
        nfe = settings.nfe(schedule)
        assert nfe <= budget
        one_per_step = sampler not in ("heun", "ddpm-repaint")
        if one_per_step:  # never fewer than with as many steps
            assert nfe >= Sampling(sampler, budget, spacing).nfe(schedule)
        if sampler == "heun" and spacing == "trailing":
            assert nfe == budget - (budget % 2 == 0)  # 2 n - 1 is odd
        if sampler == "ddpm-repaint" and spacing == "trailing":
            assert nfe == budget - (budget - 1) % 5  # 5 n - 4
        if one_per_step and budget < 30:
            assert nfe == budget  # also where 16 steps fall on 12 timesteps


def test_numbers_of_nfe_that_do_not_exist_are_errors(tiny_pipeline):
    for nfe in (0, 101):
        with pytest.raises(InputError, match=f"nfe {nfe}: choose numbers from 1 to 100"):
            Candidates([nfe]).settings(tiny_pipeline.denoiser.schedule)


def test_equal_settings_are_generated_once(small_model, tiny_reference, tmp_path):
    candidates = Candidates([1, 100], ["ddpm"], ["trailing", "log-snr"])
    found = compare(small_model, tiny_reference, candidates, n=20, out=tmp_path)
    rows = [(row["spacing"], row["nfe"] == 1) for row in found["rows"]]
    assert rows == [("trailing", True), ("log-snr", False)]
    assert len(list((tmp_path / "samples").iterdir())) == 3
    with pytest.raises(InputError, match="nothing to compare"):
        compare(small_model, tiny_reference, Candidates([100], ["ddpm"], ["trailing"]), n=20)


def row(nfe: int, value: float, interval: float = 1.0) -> dict:
    found = {"value": value, "interval": interval}
    metrics = {"frechet_test": found, "kernel_test": found}
    return dict(nfe=nfe, sampler="ddim", spacing="trailing", steps=nfe, metrics=metrics)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # the fewest NFE of those within 10 +- 1, the nearest of them
        ([(4, 30), (8, 10.9), (8, 10.2), (16, 9)], (8, 10.2)),
        ([(4, 11.1), (8, 11.0), (16, 10.5)], (8, 11.0)),  # on the edge is within
        # none is within: the nearest of those that may be chosen
        ([(4, 30), (8, 12), (16, 13), (32, 9)], (8, 12)),
        ([(17, 9), (32, 9)], None),
    ],
)
def test_the_choice_follows_its_rule(rows, expected):
    found = choose(row(100, 10), [row(*pair) for pair in rows])
    assert (found and (found["nfe"], found["metrics"]["frechet_test"]["value"])) == expected


def test_a_table_without_a_choice_states_that():
    report = {"baseline": row(100, 10), "rows": [row(32, 9)], "chosen": None, "nfe": [32],
              "metric": "frechet_test", "batches": 10,
              "real images": {"frechet_test": 1, "kernel_test": 0}, "images": 40, "real_count": 30,
              "model": "m", "first_seed": 0, "data": {"name": "d"}, "features": {"name": "f"}}
    text = table(report)
    assert f"no choice: all settings cost more than {MOST_NFE} NFE" in text
    assert "of 30 images, not comparable with 40" in text


def test_the_chart_has_a_line_for_every_curve_at_its_points(monkeypatch):
    monkeypatch.setattr(charts, "picture", lambda sheet: sheet)
    curves = {("a", "x"): [(4, 9.0, 1), (8, 5.0, 1)], ("b", "x"): [(8, 4.0, 1)]}
    sheet = charts.against_nfe(curves, ("full", 3.0, 0.5), 1.0, "distance")
    (ax,) = sheet.axes
    points = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "o"]
    assert [found for found in points if found] == [[[4, 9], [8, 5]], [[8, 4]]]


def test_a_choice_that_could_not_be_found_again_is_not_saved(small_model, tmp_path):
    with pytest.raises(InputError, match="mnist is bundled: copy it with nanoldm export mnist"):
        check_saving(str(BUNDLED / "mnist"), [8])
    with pytest.raises(InputError, match="16 NFE or fewer"):
        check_saving(str(small_model), [20])
    with pytest.raises(InputError, match="save the model first"):
        check_saving(None, [8])
    shutil.copytree(small_model, tmp_path / "model")
    (tmp_path / "model" / "sampling.json").unlink()
    (tmp_path / "model" / "sampling.json").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_saving(str(tmp_path / "model"), [8])
