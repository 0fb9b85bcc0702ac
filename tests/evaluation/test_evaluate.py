"""`evaluate` on a small model: the report, its reproducibility, and samples that are given."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from nanoldm.data import load
from nanoldm.data.npz import load_images, save_npz
from nanoldm.diffusion import Denoiser
from nanoldm.evaluation.evaluate import evaluate
from nanoldm.evaluation.intervals import BATCHES, QUANTILE, intervals, shuffled
from nanoldm.evaluation.judge import METRICS
from nanoldm.evaluation.reference import Reference
from nanoldm.models import DiffusionNet
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import Stream, generator


@pytest.fixture(scope="module")
def folder(small_model, tiny_reference, tmp_path_factory) -> Path:
    """A finished evaluation."""
    folder = tmp_path_factory.mktemp("work") / "first"
    evaluate(small_model, tiny_reference, n=40, seed=3, out=folder)
    return folder


def test_the_report_states_the_cost_first_and_holds_every_metric(
    small_model, tiny_reference, tmp_path, capsys
):
    report = evaluate(small_model, tiny_reference, n=40, seed=3, out=tmp_path)
    text = capsys.readouterr().out
    assert re.match(r"generating 40 samples with 100 NFE: about \d+ s", text)
    assert json.loads((tmp_path / "report.json").read_text()).keys() == report.keys()
    assert list(report["metrics"]) == list(METRICS)
    for name, found in report["metrics"].items():
        assert found["interval"] >= 0
        assert {"value", "noise", "reconstructions"} <= found.keys(), name
    distance = report["metrics"]["frechet_train"]
    assert distance["real images"] < distance["noise"]
    assert 0 < report["reconstruction"]["mean_squared_error"] < 0.5
    errors = report["denoising_error"]
    assert len(errors["EMA weights"]) == len(errors["raw weights"]) == len(errors["log_snr"]) == 12
    assert sum(report["histogram"]["samples"]) == pytest.approx(1)
    assert "class_conditional" not in report


def test_the_table_fits_100_columns(folder, capsys):
    from nanoldm.evaluation.report import explanation, rows, table

    report = json.loads((folder / "report.json").read_text())
    head, *lines = table(report).splitlines()[1:]
    assert max(map(len, [head, *lines])) <= 100
    assert len(rows(report)) == 1 + len(METRICS)
    assert all(metric.title in "\n".join(lines) for metric in METRICS.values())
    assert any(line.startswith("decoded:") for line in explanation(report))


def test_the_html_page_needs_no_other_file(folder):
    page = (folder / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    names = ["classes", "closest", "denoising_error", "samples", "training"]
    assert len(sources) == len(names)
    for source in sources:
        assert source.startswith("data:image/png;base64,")
        assert Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).width > 100
    assert all(metric.title in page for metric in METRICS.values())
    assert sorted(file.stem for file in folder.glob("*.png")) == names


def test_the_same_seed_gives_the_same_report_and_another_does_not(
    folder, small_model, tiny_reference, tmp_path
):
    for name, seed in (("second", 3), ("third", 4)):
        evaluate(small_model, tiny_reference, n=40, seed=seed, out=tmp_path / name)
    folders = (folder, tmp_path / "second", tmp_path / "third")
    first, second, third = ((each / "report.json").read_bytes() for each in folders)
    assert first == second != third


def test_a_loaded_model_is_evaluated_like_its_name(folder, small_model, tiny_reference, tmp_path):
    model = LatentDiffusion.from_pretrained(small_model)
    evaluate(model, tiny_reference, n=40, seed=3, out=tmp_path)
    assert (tmp_path / "report.json").read_bytes() == (folder / "report.json").read_bytes()


def test_a_model_that_was_never_saved_is_judged_by_the_images_of_the_networks(
    small_model, tiny_reference, tmp_path, capsys
):
    model = LatentDiffusion.from_pretrained(small_model)
    model.name = None
    report = evaluate(model, tiny_reference, n=20, settings=Sampling("ddim", 2), out=tmp_path)
    assert report["judged"]["model"] is None
    assert "20 images of an unsaved model" in capsys.readouterr().out
    assert report["data"]["name"].startswith("folder:")


def test_the_default_is_the_settings_of_the_model(small_model, tiny_reference, tmp_path):
    model = LatentDiffusion.from_pretrained(small_model)
    model.settings = Sampling("ab3", 12, "shifted")
    judged = evaluate(model, tiny_reference, n=20, out=tmp_path)["judged"]
    assert (judged["sampler"], judged["spacing"], judged["nfe"]) == ("ab3", "shifted", 12)


def test_ready_samples_are_judged_without_a_model_and_with_one(
    folder, small_model, tiny_reference, tmp_path
):
    file = folder / "samples.npz"
    ready = evaluate(reference=tiny_reference, samples=file, out=tmp_path / "ready")
    both = evaluate(small_model, tiny_reference, samples=file, out=tmp_path / "both")
    assert "denoising_error" not in ready
    assert "reconstructions" not in ready["metrics"]["frechet_train"]
    assert "denoising_error" in both
    values = [report["metrics"]["frechet_train"]["value"] for report in (ready, both)]
    assert values[0] == values[1]


def test_unusable_samples_and_options_are_errors(tiny_reference, small_model, tmp_path,
                                                 monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, shape in {"none": (0, 8, 8), "few": (5, 8, 8), "large": (30, 28, 28)}.items():
        np.savez(f"{name}.npz", images=np.zeros(shape, np.uint8))
    (tmp_path / "file").touch()
    wrong = Reference("digits-v1")
    cases = [
        (dict(samples=Path("none.npz")), "holds no images"),
        (dict(samples=Path("few.npz")), "5 images are too few"),
        (dict(samples=Path("large.npz")), "these have 28x28x1: train networks with: nanoldm feat"),
        (dict(samples=Path("absent.npz")), "absent.npz is missing: write it with nanoldm sample"),
        (dict(model=small_model, n=3), "3 images are too few"),
        (dict(model=small_model, n=30, out=Path("file")), "out file is a file"),
        (dict(model=small_model, n=30, seed=-1), "seeds count from 0"),
        (dict(model=small_model, n=30, settings=Sampling(steps=101)), "choose 1 to 100"),
        (dict(model=small_model, n=30, reference=wrong), "digits-v1 judges images of 28x28x1"),
        (dict(model=small_model, reference=replace(wrong, features="none")), "nanoldm features"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            evaluate(**{"reference": tiny_reference} | arguments)
    assert not (tmp_path / "evaluation").exists()


def test_a_wrong_sample_file_is_one_line_and_exit_code_2(nanoldm, tmp_path):
    np.savez(tmp_path / "grey.npz", images=np.zeros((30, 28, 14), np.uint8))
    failed = nanoldm("evaluate", "--samples", tmp_path / "grey.npz")
    assert (failed.returncode, failed.stdout) == (2, "")
    (line,) = failed.stderr.splitlines()
    assert "give uint8 (N, S, S)" in line


def test_labels_that_the_data_does_not_have_are_errors(
    small_model, tiny_reference, tmp_path, monkeypatch
):
    images, labels = np.zeros((30, 8, 8), np.uint8), np.full(30, 12)
    np.savez(tmp_path / "twelve.npz", images=images, labels=labels)
    with pytest.raises(InputError, match="labels up to 12"):
        evaluate(reference=tiny_reference, samples=tmp_path / "twelve.npz", out=tmp_path / "out")
    model = LatentDiffusion.from_pretrained(small_model)
    network = DiffusionNet(**model.denoiser.network.config | {"labels": 13})
    more = LatentDiffusion(model.autoencoder, Denoiser(network, model.denoiser.schedule), 3.0)
    monkeypatch.setattr(more, "generate_shared", None)  # the error comes before any sample
    with pytest.raises(InputError, match="classes 0 to 9: give features and data that the model"):
        evaluate(more, tiny_reference, n=60, settings=Sampling("ddim", 2), out=tmp_path / "out")


def test_intervals_are_students_t_over_disjoint_batches():
    class Judge:
        @staticmethod
        def summarise(part):
            return {"mean": part.double().mean().item(), "constant": 1.0}

    values = torch.arange(500.0)  # sorted: batches of neighbours would differ far too much
    found = intervals(Judge, values)
    orders = [torch.randperm(500, generator=generator(k)) for k in range(200)]
    spread = torch.stack([values[order].view(BATCHES, 50).mean(1).std() for order in orders])
    assert spread.min().item() < found["mean"] * BATCHES**0.5 / QUANTILE < spread.max().item()
    assert found["constant"] == 0
    assert pytest.approx(stats.t.ppf(0.975, BATCHES - 1), abs=1e-3) == QUANTILE


@pytest.mark.parametrize("count", [20, 21, 64, 101])
def test_there_are_ten_batches_of_about_one_size_for_any_number_of_samples(count):
    sizes = []

    class Judge:
        @staticmethod
        def summarise(part):
            sizes.append(len(part))
            return {"constant": 1.0}

    intervals(Judge, torch.zeros(count))
    assert len(sizes) == BATCHES
    assert sum(sizes) == count
    assert max(sizes) - min(sizes) <= 1


def test_labelled_images_are_judged_by_class(tmp_path, digits, tiny_reference, monkeypatch):
    """Real digits as samples: right labels are recognised and learnt from, wrong ones are not."""
    monkeypatch.setattr("nanoldm.evaluation.class_scores.SCORE_STEPS", 60)
    train = load(f"folder:{digits.resolve()}", 8)[0]
    found = {}
    for name, labels in {"right": train.labels, "wrong": train.labels.roll(97)}.items():
        file = tmp_path / f"{name}.npz"
        save_npz(file, train.images, labels=labels.numpy())
        assert torch.equal(load_images(file).labels, labels)
        report = evaluate(reference=tiny_reference, samples=file, out=tmp_path / name)
        found[name] = report["class_conditional"]
    right, wrong = found["right"], found["wrong"]
    assert right["score, samples"] > wrong["score, samples"] + 0.3
    assert right["score, samples"] == pytest.approx(right["score, real images"], abs=0.15)
    assert right["accuracy"] > wrong["accuracy"] + 0.2
    assert len(right["accuracy by class"]) == 10


def test_the_first_of_sorted_samples_do_not_stand_for_all():
    chosen = shuffled(1000, Stream.EQUAL)[:100]
    assert len(set(chosen.tolist())) == 100
    assert chosen.max() > 900 > 100 > chosen.min()
    assert torch.equal(chosen, shuffled(1000, Stream.EQUAL)[:100])
