"""The few-step setting that is stored with a model: read, refused when damaged, and what stands in for it."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from nanoldm.cli.options import SamplerOptions
from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.experiments.recipes import mnist
from nanoldm.pipeline.fast import FILE, default_fast, load_fast, quickened, save_fast
from nanoldm.pipeline.fast import usual as usual_sampling
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, write_json

OWN = {"steps": 7, "sampler": "ab2", "grid": "log-snr"}


@pytest.fixture
def folder(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path)
    return tmp_path


def test_a_model_without_the_file_has_the_default(tiny_pipeline, folder):
    default = {"steps": 12, "sampler": "ab3", "grid": "shifted"}
    model = LatentDiffusion.from_pretrained(folder)
    assert tiny_pipeline.fast == model.fast == default
    assert quickened(folder, Sampling(clamp=False)) == Sampling(12, "ab3", "shifted", clamp=False)
    assert torch.equal(model.generate([1], **model.fast), model.generate([1], 12, sampler="ab3", grid="shifted"))
    assert default_fast(NoiseSchedule("cosine", 10))["steps"] == 10


def test_a_stored_setting_comes_back_and_is_kept_by_a_second_saving(folder, tmp_path):
    save_fast(folder, OWN, measured={"images": 40})
    model = LatentDiffusion.from_pretrained(folder)
    assert model.fast == OWN
    assert quickened(folder, Sampling()) == Sampling(**OWN)
    assert SamplerOptions(fast=True).settings(str(folder)) == Sampling(**OWN)
    assert SamplerOptions(steps=5).settings(str(folder)) == Sampling(5)
    model.save_pretrained(tmp_path / "again")
    assert LatentDiffusion.from_pretrained(tmp_path / "again").fast == OWN


def test_from_a_low_timestep_there_are_no_more_steps_than_timesteps(folder):
    assert quickened(folder, Sampling(), t=75).steps == 12
    assert quickened(folder, Sampling(), t=4).steps == 5


@pytest.mark.parametrize("other", [{"steps": 9}, {"sampler": "ddim"}, {"grid": "shifted"}, {"grid": "trailing"},
                                   {"sampler": "ddim", "eta": 1.0}, {"eta": 0.0}])
def test_fast_leaves_no_other_choice(folder, other):
    with pytest.raises(InputError, match="--fast chooses steps, sampler and grid: leave out --steps, --sampler, --grid and --eta"):
        SamplerOptions(fast=True, **other).settings(str(folder))


@pytest.mark.parametrize("content", [
    "{", "[]", "{}", '{"fast": 8}', '{"fast": ["steps", "sampler", "grid"]}', json.dumps({"fast": {"steps": 8}}),
    *(json.dumps({"fast": OWN | change}) for change in (
        {"steps": 0}, {"steps": 101}, {"steps": 8.0}, {"steps": True}, {"sampler": "euler"}, {"grid": "karras"}, {"guidance": 2}))])
def test_a_damaged_or_foreign_file_is_an_error_by_name(folder, content):
    (folder / FILE).write_text(content)
    for read in (LatentDiffusion.from_pretrained, lambda path: quickened(path, Sampling())):
        with pytest.raises(InputError) as refused:
            read(folder)
        assert str(folder / FILE) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_setting_must_fit_the_timesteps_of_its_model(tiny_pipeline, tmp_path):
    denoiser = Denoiser(tiny_pipeline.denoiser.network, NoiseSchedule("cosine", 10))
    LatentDiffusion(tiny_pipeline.autoencoder, denoiser, 3.0).save_pretrained(tmp_path)
    save_fast(tmp_path, OWN | {"steps": 11})
    with pytest.raises(InputError, match=r"sampling\.json is not a configuration of nanoldm \(11 steps do not fit"):
        load_fast(tmp_path, denoiser.schedule)


def test_denoise_and_evaluate_know_it_too(nanoldm, trained_run, tiny_features, tmp_path):
    shutil.copytree(trained_run, tmp_path / "run")
    save_fast(tmp_path / "run" / "model", OWN)
    for t in (75, 3):
        done = nanoldm("denoise", tmp_path / "run", "--t", t, "--n", 2, "--fast", "--out", tmp_path / "back.png", "--threads", 1)
        assert done.returncode == 0, done.stderr
    judged = nanoldm("evaluate", tmp_path / "run", "--fast", "--n", 20, "--features", tiny_features, "--out", tmp_path / "judged")
    assert judged.returncode == 0, judged.stderr
    facts = read_json(tmp_path / "judged" / "report.json")["judged"]
    assert {"sampler": facts["sampler"], "grid": facts["grid"]} == {"sampler": "ab2", "grid": "log-snr"}
    assert facts["network_passes"] == facts["steps"] <= 7


def test_a_model_of_a_fast_recipe_is_drawn_by_its_setting_unless_told_otherwise(folder):
    save_fast(folder, OWN)
    for fast in (False, True):
        write_json(folder / "recipe.json", mnist().replace(fast=fast).model_dump())
        usual = Sampling(**OWN) if fast else Sampling()
        assert SamplerOptions().drawing(str(folder)) == usual
        assert SamplerOptions(clamp=False).drawing(str(folder)) == replace(usual, clamp=False)
        assert SamplerOptions().drawing(str(folder), t=3).steps == (4 if fast else None)
        assert SamplerOptions().settings(str(folder)) == Sampling()
        assert SamplerOptions(steps=100).drawing(str(folder)) == Sampling(100)
        assert SamplerOptions(sampler="ddim", eta=1.0).drawing(str(folder)) == Sampling(sampler="ddim", eta=1.0)
        assert SamplerOptions(grid="trailing").drawing(str(folder)) == SamplerOptions(eta=0.0).drawing(str(folder)) == Sampling()
        assert usual_sampling(folder, Sampling()) == usual
    (folder / "recipe.json").unlink()
    assert SamplerOptions().drawing(str(folder)) == Sampling()


def test_sample_denoise_evaluate_and_img2img_draw_a_fast_recipes_model_by_it_and_other_edits_do_not(nanoldm, trained_run, tiny_features,
                                                                                                  tmp_path):
    run, options = tmp_path / "run", ("--threads", 1)
    shutil.copytree(trained_run, run)
    save_fast(run / "model", OWN)
    pictures = {"sample": (), "denoise": ("--t", 75, "--n", 2), "img2img": ("test:0", "--t", 75, "--n", 2),
                "inpaint": ("test:0", "--mask", "right", "--n", 2), "vary": ("test:0", "--n", 2)}
    drawn = {}
    for fast in (False, True):
        recipe = read_json(run / "model" / "recipe.json") | {"fast": fast}
        write_json(run / "model" / "recipe.json", recipe)
        for command, arguments in pictures.items():
            done = nanoldm(command, run, *arguments, "--out", tmp_path / "drawn.png", *options)
            assert done.returncode == 0, done.stderr
            drawn[command, fast] = (tmp_path / "drawn.png").read_bytes()
            if command in ("sample", "denoise", "img2img"):
                nanoldm(command, run, *arguments, "--fast", "--out", tmp_path / "fast.png", *options)
                assert ((tmp_path / "fast.png").read_bytes() == drawn[command, fast]) == fast, command
            elif fast:
                assert drawn[command, True] == drawn[command, False], command
    judged = nanoldm("evaluate", run, "--n", 20, "--features", tiny_features, "--out", tmp_path / "judged")
    assert judged.returncode == 0, judged.stderr
    assert read_json(tmp_path / "judged" / "report.json")["judged"]["sampler"] == "ab2"


def test_a_setting_measured_for_other_weights_does_not_stay_behind(tiny_pipeline, folder):
    save_fast(folder, OWN)
    tiny_pipeline.save_pretrained(folder)
    assert LatentDiffusion.from_pretrained(folder).fast == tiny_pipeline.fast
