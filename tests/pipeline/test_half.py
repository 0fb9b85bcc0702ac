"""Weights in float16: smaller files, the same model."""

import re

import pytest
import torch

from nanoldm import LatentDiffusion
from nanoldm.experiments.export import export
from nanoldm.experiments.model_card import describe
from nanoldm.pipeline.folders import EVALUATION, WEIGHTS
from nanoldm.utils.files import load_tensors, read_json, write_json


def test_a_halved_model_is_stored_in_half_the_bytes_and_is_the_same_model(trained_run, tmp_path):
    assert export(trained_run, tmp_path / "half", half=True)
    assert export(trained_run, tmp_path / "whole")
    sizes = [(tmp_path / name / "network" / WEIGHTS).stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]
    half, whole = (LatentDiffusion.from_pretrained(tmp_path / name) for name in ("half", "whole"))
    assert torch.equal(half.generate(4), whole.halved().generate(4))
    tensors, _ = load_tensors(tmp_path / "half" / "autoencoder" / WEIGHTS)
    assert {str(tensor.dtype) for name, tensor in tensors.items() if "latent" not in name} == {
        "torch.float16"}
    assert tensors["latent_std"].dtype == torch.float32        # computed, not trained: exact


def test_saving_a_halved_model_again_keeps_its_bytes(trained_run, tmp_path):
    export(trained_run, tmp_path / "half", half=True)
    LatentDiffusion.from_pretrained(tmp_path / "half").save_pretrained(tmp_path / "again")
    files = [tmp_path / name / "network" / WEIGHTS for name in ("half", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not export(trained_run, tmp_path / "half", half=True)           # there already


def test_the_metrics_of_evaluate_travel_with_the_model(nanoldm, trained_run, tiny_features,
                                                       tmp_path):
    folder = tmp_path / "model"
    export(trained_run, folder)
    done = nanoldm("evaluate", folder, "--n", 64, "--features", tiny_features, "--save", "--out",
                   tmp_path / "report")
    assert done.returncode == 0, done.stderr
    report = read_json(tmp_path / "report" / "report.json")["metrics"]["frechet_test"]["value"]
    assert re.search(rf"Frechet distance to the test set +{report:.3f} ± ", describe(folder))
    export(folder, tmp_path / "copy")
    assert "Frechet distance" in (tmp_path / "copy" / "README.md").read_text()
    assert re.search(r"measured with +64 images of folder:.*, 100 steps of ddpm", describe(folder))
    summary = read_json(folder / EVALUATION)
    write_json(folder / EVALUATION, summary | {"network_sha256": "of other weights"})
    assert "Frechet distance" not in describe(folder)


@pytest.mark.parametrize("command", ["sample", "denoise"])
def test_portable_noise_gives_other_images_and_the_same_ones_each_time(nanoldm, command,
                                                                       trained_run, tmp_path):
    pictures = []
    for name, rng in (("a", "portable"), ("b", "portable"), ("c", "torch")):
        file = tmp_path / f"{name}.png"
        done = nanoldm(command, trained_run, "--n", 4, "--steps", 3, "--rng", rng, "--out", file)
        assert done.returncode == 0, done.stderr
        pictures.append(file.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]
