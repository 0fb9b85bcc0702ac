"""Models by name or path: bundled, exported, in a run folder."""

import shutil
from pathlib import Path

import pytest
import torch

from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.pipeline.folders import absolute_model
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.own_images import data_of
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, write_json


@pytest.fixture
def bundled(tiny_pipeline, tmp_path, monkeypatch):
    """Two bundled models; the working directory is another, empty folder."""
    for name in ("digits", "fashion"):
        tiny_pipeline.save_pretrained(tmp_path / "bundled" / name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr("nanoldm.pipeline.folders.BUNDLED", tmp_path / "bundled")
    return tmp_path / "bundled"


def test_a_bundled_model_is_found_by_its_name(tiny_pipeline, bundled):
    assert torch.equal(LatentDiffusion.from_pretrained("digits").generate([1], steps=5),
                       tiny_pipeline.generate([1], steps=5))


def test_an_unknown_name_is_an_error_with_the_bundled_ones(bundled):
    with pytest.raises(InputError, match=r"unknown model 'digit'.*\(digits, fashion\)"):
        LatentDiffusion.from_pretrained("digit")


def test_only_the_path_of_a_model_becomes_absolute(tiny_pipeline, bundled):
    Path("digits").mkdir()  # the user's images, not a model
    assert absolute_model("digits") == "digits"
    tiny_pipeline.save_pretrained("run/model")
    assert absolute_model("run") == str(Path("run").resolve())


def test_an_existing_path_wins_over_a_bundled_name(tiny_pipeline, bundled):
    LatentDiffusion(tiny_pipeline.autoencoder,
                    Denoiser(tiny_pipeline.denoiser.network, NoiseSchedule()),
                    1.25).save_pretrained("digits")
    assert LatentDiffusion.from_pretrained("digits").clip_sample_range == 1.25
    shutil.rmtree("digits")
    assert LatentDiffusion.from_pretrained("digits").clip_sample_range == 3


def test_a_folder_without_a_model_does_not_hide_a_bundled_one_and_a_run_without_one_does(
    tiny_pipeline, bundled
):
    images = Path("digits", "cat")          # the data of somebody who trains `digits` on it
    images.mkdir(parents=True)
    assert LatentDiffusion.from_pretrained("digits").clip_sample_range == 3
    with pytest.raises(InputError, match="contains no trained model"):
        LatentDiffusion.from_pretrained("./digits/cat")
    Path("digits", "recipe.json").write_text("{}")
    with pytest.raises(InputError, match="digits is a run without a trained model"):
        LatentDiffusion.from_pretrained("digits")


def test_a_run_folder_stands_for_the_model_in_it(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path / "run" / "model")
    assert torch.equal(LatentDiffusion.from_pretrained(tmp_path / "run").generate([1], steps=5),
                       tiny_pipeline.generate([1], steps=5))


def test_a_model_without_recipe_is_one_of_mnist_only_if_it_generates_such_images(folder):
    assert data_of(folder).name == "mnist"
    config = folder / "autoencoder" / "config.json"
    write_json(config, read_json(config) | {"image_size": 32})
    with pytest.raises(InputError,
                       match=r"recipe\.json is missing, which names the images that .* was trained "
                       r"on: copy it"):
        data_of(folder)
