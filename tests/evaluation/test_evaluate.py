"""`nanoldm evaluate` on a tiny model: the report, its reproducibility, samples drawn once, and samples brought along."""

import base64
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nanoldm.data import load
from nanoldm.data.npz import load_images, save_npz
from nanoldm.evaluation import samples as drawing
from nanoldm.evaluation.evaluate import BATCHES, QUANTILE, evaluate, intervals, shuffled
from nanoldm.evaluation.judge import MEASURES
from nanoldm.evaluation.samples import Drawing
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator


@pytest.fixture(scope="module")
def judge_tiny(nanoldm, tiny_features, tmp_path_factory):
    """judge_tiny(*arguments) runs the real `nanoldm evaluate` with the tiny networks -> the finished process."""
    cache = tmp_path_factory.mktemp("cache")
    environment = {**os.environ, "NANOLDM_DATA": str(cache)}
    return lambda *arguments: nanoldm("evaluate", *arguments, "--features", tiny_features, "--threads", 1, env=environment)


@pytest.fixture(scope="module")
def first_report(judge_tiny, trained_run, nanoldm):
    done = judge_tiny(trained_run, "--n", 40, "--seed", 3, "--out", "first")
    assert done.returncode == 0, done.stderr
    return done, nanoldm.folder / "first"


def test_the_report_says_the_cost_first_and_holds_every_measure(first_report):
    done, folder = first_report
    assert re.match(r"drawing 40 samples of 100 network passes: about \d+ s", done.stdout)
    report = json.loads((folder / "report.json").read_text())
    assert list(report["measures"]) == list(MEASURES)
    for name, figures in report["measures"].items():
        assert figures["interval"] >= 0
        assert {"value", "noise", "reconstructions"} <= figures.keys(), name
    assert report["measures"]["frechet_train"]["real images"] < report["measures"]["frechet_train"]["noise"]
    assert 0 < report["reconstruction"]["mean_squared_error"] < 0.3
    assert len(report["proxy"]["EMA weights"]) == len(report["proxy"]["raw weights"]) == 12
    assert sum(report["histogram"]["samples"]) == pytest.approx(1)
    assert "class_conditional" not in report


def test_the_html_page_needs_no_other_file(first_report):
    _, folder = first_report
    page = (folder / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(sources) == 5                                    # samples, closest pairs, classes, proxy, training
    for source in sources:
        assert source.startswith("data:image/png;base64,")
        assert Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).width > 100
    assert all(measure.title in page for measure in MEASURES.values())
    assert sorted(file.stem for file in folder.glob("*.png")) == ["classes", "closest", "proxy", "samples", "training"]


def test_the_same_seed_gives_the_same_report_and_another_does_not(first_report, judge_tiny, trained_run, nanoldm):
    assert judge_tiny(trained_run, "--n", 40, "--seed", 3, "--out", "second").returncode == 0
    assert judge_tiny(trained_run, "--n", 40, "--seed", 4, "--out", "third").returncode == 0
    first, second, third = ((nanoldm.folder / name / "report.json").read_bytes() for name in ("first", "second", "third"))
    assert first == second != third


def test_samples_are_reused_and_only_missing_ones_are_drawn(first_report, judge_tiny, trained_run):
    _, folder = first_report
    assert judge_tiny(trained_run, "--n", 40, "--seed", 3, "--out", folder).stdout.startswith("reusing 40 samples of")
    assert judge_tiny(trained_run, "--n", 45, "--seed", 3, "--out", folder).stdout.startswith("drawing 5 samples of 100 network passes")
    fewer = judge_tiny(trained_run, "--n", 40, "--seed", 3, "--steps", 9, "--out", folder)
    lost, cost, *_ = fewer.stdout.splitlines()
    assert lost == f"note: {folder / 'samples.npz'} holds samples that other weights or settings drew, or is damaged: it is replaced"
    assert cost.startswith("drawing 40 samples of 9 network passes")
    merged = judge_tiny(trained_run, "--n", 20, "--steps", 60, "--grid", "shifted", "--out", "merged")
    assert re.match(r"note: 60 steps of the shifted grid fall on \d\d different timesteps\ndrawing", merged.stdout)


def test_guidance_of_a_model_without_classes_is_refused_before_anything_is_drawn(tiny_pipeline, tmp_path):
    with pytest.raises(InputError, match="none is told here"):
        Drawing(tiny_pipeline, tmp_path / "s.npz", range(10), Sampling(2, guidance=2.0))


def test_an_interrupted_drawing_continues(tiny_pipeline, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "SAVE_EVERY", 4)
    monkeypatch.setattr(LatentDiffusion, "batch_size", 4)
    generate, calls = tiny_pipeline.generate, []

    def stop_in_the_second_batch(seeds, *args, **options):
        calls.append(list(seeds))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(seeds, *args, **options)

    first = Drawing(tiny_pipeline, tmp_path / "s.npz", range(10), Sampling(2))
    with monkeypatch.context() as patch:
        patch.setattr(tiny_pipeline, "generate", stop_in_the_second_batch)
        with pytest.raises(KeyboardInterrupt):
            first.images()
    again = Drawing(tiny_pipeline, tmp_path / "s.npz", range(10), Sampling(2))
    assert again.missing == [4, 5, 6, 7, 8, 9]
    assert torch.equal(again.images(), Drawing(tiny_pipeline, tmp_path / "whole.npz", range(10), Sampling(2)).images())
    for other in (Sampling(2, clamp=False), Sampling(2, "ddim"), Sampling(2, "ddim", eta=0.5), Sampling(2, grid="log-snr")):
        assert Drawing(tiny_pipeline, tmp_path / "s.npz", range(10), other).missing == list(range(10))      # drawn in another way


def test_ready_samples_are_judged_without_a_model_and_with_one(first_report, judge_tiny, trained_run, nanoldm):
    file = first_report[1] / "samples.npz"
    assert judge_tiny("--samples", file, "--out", "ready").returncode == 0
    assert judge_tiny(trained_run, "--samples", file, "--out", "both").returncode == 0
    ready, both = (json.loads((nanoldm.folder / name / "report.json").read_text()) for name in ("ready", "both"))
    assert "proxy" not in ready
    assert "reconstructions" not in ready["measures"]["frechet_train"]
    assert "proxy" in both
    assert both["measures"]["frechet_train"]["value"] == ready["measures"]["frechet_train"]["value"]


def test_unusable_samples_and_options_are_refused(tiny_features, trained_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, shape in {"none": (0, 8, 8), "few": (5, 8, 8), "large": (30, 28, 28)}.items():
        np.savez(f"{name}.npz", images=np.zeros(shape, np.uint8))
    (tmp_path / "file").touch()
    cases = [(dict(samples="none.npz"), "holds no images"), (dict(samples="few.npz"), "5 images are too few"),
             (dict(samples="large.npz"), "these have 28x28x1: train networks with: nanoldm features"),
             (dict(samples="absent.npz"), "there is no file"), (dict(model=trained_run, n=3), "3 images are too few"),
             (dict(model=trained_run, n=30, out="file"), "--out file is a file"),
             (dict(model=trained_run, n=30, seed=-1), "seeds count from 0"),
             (dict(model=trained_run, n=30, sampling=Sampling(101)), "choose 1 to 100"),
             (dict(model=trained_run, n=30, features="digits-v1"), "digits-v1 judges images of 28x28x1")]
    for arguments, message in cases:
        paths = {key: Path(value) for key, value in arguments.items() if key in ("samples", "out")}
        with pytest.raises(InputError, match=message):
            evaluate(**{"features": tiny_features} | arguments | paths)
    assert not (tmp_path / "evaluation").exists()


def test_a_wrong_sample_file_is_one_line_and_exit_code_2(nanoldm, tmp_path):
    np.savez(tmp_path / "grey.npz", images=np.zeros((30, 28, 14), np.uint8))
    refused = nanoldm("evaluate", "--samples", tmp_path / "grey.npz")
    assert (refused.returncode, refused.stdout) == (2, "")
    (line,) = refused.stderr.splitlines()
    assert "give uint8 (N, S, S)" in line


def test_labels_that_the_data_does_not_have_are_refused(tiny_features, tmp_path, monkeypatch):
    monkeypatch.setenv("NANOLDM_DATA", str(tmp_path))
    np.savez(tmp_path / "twelve.npz", images=np.zeros((30, 8, 8), np.uint8), labels=np.full(30, 12))
    with pytest.raises(InputError, match="labels up to 12"):
        evaluate(samples=tmp_path / "twelve.npz", features=tiny_features, out=tmp_path / "out")


def test_intervals_are_students_t_over_disjoint_batches():
    class Judge:
        @staticmethod
        def summarise(part, leave_out):
            return {"mean": part.double().mean().item(), "constant": 1.0}

    values = torch.arange(500.0)            # sorted, as a file may be: batches of neighbours would differ far too much
    width, constant = intervals(Judge, values)
    batches = torch.stack([values[torch.randperm(500, generator=generator(k))].view(BATCHES, 50).mean(1).std() for k in range(200)])
    assert batches.min().item() < width * BATCHES**0.5 / QUANTILE < batches.max().item()
    assert constant == 0


@pytest.mark.parametrize("count", [20, 21, 64, 101])
def test_there_are_ten_batches_of_about_one_size_whatever_the_number_of_samples(count):
    sizes = []

    class Judge:
        @staticmethod
        def summarise(part, leave_out):
            sizes.append(len(part))
            return {"constant": 1.0}

    intervals(Judge, torch.zeros(count))
    assert len(sizes) == BATCHES
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1


def test_labelled_images_are_judged_by_class(tmp_path, digits, tiny_features, monkeypatch):
    """Real digits as if generated: right labels are recognised and learnt from, shuffled ones are not."""
    monkeypatch.setenv("NANOLDM_DATA", str(tmp_path))
    monkeypatch.setattr("nanoldm.evaluation.evaluate.SCORE_STEPS", 60)
    train = load(f"folder:{digits.resolve()}", 8)[0]
    found = {}
    for name, labels in {"right": train.labels, "wrong": train.labels.roll(97)}.items():
        save_npz(tmp_path / f"{name}.npz", train.images, labels=labels.numpy())
        assert torch.equal(load_images(tmp_path / f"{name}.npz").labels, labels)
        found[name] = evaluate(samples=tmp_path / f"{name}.npz", features=tiny_features, out=tmp_path / name)["class_conditional"]
    assert found["right"]["score, samples"] > found["wrong"]["score, samples"] + 0.3
    assert found["right"]["score, samples"] == pytest.approx(found["right"]["score, real images"], abs=0.15)
    assert found["right"]["accuracy"] > found["wrong"]["accuracy"] + 0.2
    assert len(found["right"]["accuracy by class"]) == 10


def test_samples_of_other_random_streams_are_drawn_again(tiny_pipeline, tmp_path, monkeypatch):
    def made():
        return Drawing(tiny_pipeline, tmp_path / "samples.npz", range(3), Sampling(steps=2))

    made().images()
    assert made().missing == []
    monkeypatch.setattr("nanoldm.evaluation.samples.STREAMS", "32 bits")
    assert made().missing == [0, 1, 2]


def test_the_first_of_sorted_samples_do_not_stand_for_all():
    chosen = shuffled(1000, 4)[:100]
    assert len(set(chosen.tolist())) == 100
    assert chosen.max() > 900 > 100 > chosen.min()
    assert torch.equal(chosen, shuffled(1000, 4)[:100])
