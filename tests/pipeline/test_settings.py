"""The sampling settings of a model: stored with it, an error when damaged, changed for one call."""

import json
import shutil

import pytest
import torch

from nanoldm.diffusion import Denoiser, NoiseSchedule, ddim
from nanoldm.pipeline.folders import SAMPLING
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import (
    Sampling,
    capped,
    default_settings,
    inpainting_settings,
    load_settings,
    save_settings,
)
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json

COSINE, RECTIFIED = NoiseSchedule("cosine", 100), NoiseSchedule("rectified", 100)
OWN = Sampling(sampler="ab2", steps=7, spacing="log-snr")
STORED = {"sampler": "ab2", "steps": 7, "spacing": "log-snr"}


@pytest.fixture
def folder(tiny_pipeline, tmp_path):
    tiny_pipeline.save_pretrained(tmp_path)
    return tmp_path


def test_a_model_without_the_file_has_the_default_settings(tiny_pipeline, folder):
    (folder / SAMPLING).unlink()
    model = LatentDiffusion.from_pretrained(folder)
    assert tiny_pipeline.settings == model.settings == Sampling() == default_settings(COSINE)
    assert default_settings(RECTIFIED) == Sampling("ddim")


def test_stored_settings_come_back_and_are_kept_by_a_second_saving(folder, tmp_path):
    assert save_settings(folder, OWN, images=40) == folder / SAMPLING
    assert read_json(folder / SAMPLING) == STORED | {"images": 40}
    model = LatentDiffusion.from_pretrained(folder)
    assert model.settings == OWN
    model.save_pretrained(tmp_path / "again")
    assert LatentDiffusion.from_pretrained(tmp_path / "again").settings == OWN


@pytest.mark.parametrize("settings", [Sampling("ddim", eta=1), Sampling(guidance=2),
                                      Sampling(clamp=False), Sampling(timesteps=(9, 5)),
                                      Sampling(ddim)])
def test_settings_that_the_file_cannot_hold_are_errors(folder, settings):
    before = (folder / SAMPLING).read_bytes() if (folder / SAMPLING).exists() else None
    with pytest.raises(InputError, match="give the others to generate"):
        save_settings(folder, settings)
    assert before == ((folder / SAMPLING).read_bytes() if (folder / SAMPLING).exists() else None)


def test_a_model_generates_with_its_own_settings(folder):
    save_settings(folder, OWN)
    model = LatentDiffusion.from_pretrained(folder)
    images = model.generate([1])
    assert torch.equal(images, model.generate([1], sampler="ab2", steps=7, spacing="log-snr"))
    assert torch.equal(images, model.generate([1], settings=OWN))
    assert not torch.equal(images, model.generate([1], steps=6))
    timesteps = model.choose().timesteps
    assert torch.equal(images, model.generate([1], timesteps=list(timesteps)))
    frames = list(model.trajectory([1]))
    assert len(frames) == len(timesteps)


def test_settings_measured_for_other_weights_do_not_stay_behind(tiny_pipeline, folder):
    save_settings(folder, OWN)
    tiny_pipeline.save_pretrained(folder)
    assert LatentDiffusion.from_pretrained(folder).settings == tiny_pipeline.settings


@pytest.mark.parametrize(("start", "steps"), [(99, 7), (75, 7), (3, 4), (0, 1)])
def test_from_a_low_timestep_there_are_no_more_steps_than_timesteps(folder, start, steps):
    assert capped(OWN, start).steps == steps
    assert capped(Sampling(), start).steps is None
    save_settings(folder, OWN)
    model = LatentDiffusion.from_pretrained(folder)
    chosen = model.choose(start=start)
    assert (chosen.steps, chosen.timesteps[0]) == (steps, start)
    with pytest.raises(InputError, match=f"{start + 2} steps do not fit"):
        model.choose(start=start, steps=start + 2)


def test_one_setting_is_changed_and_the_others_stay():
    assert OWN.changed(steps=5) == Sampling("ab2", 5, "log-snr")
    assert OWN.changed(clamp=False, guidance=2.0) == Sampling(
        "ab2", 7, "log-snr", clamp=False, guidance=2.0
    )
    assert OWN.changed(steps=None, spacing=None, sampler=None) == OWN.changed() == OWN


def test_a_named_sampler_starts_from_its_own_defaults():
    assert OWN.changed(sampler="ddim") == Sampling("ddim")
    assert OWN.changed(sampler="ab2") == Sampling("ab2")
    assert OWN.changed(sampler="ddim", steps=20, eta=1.0) == Sampling("ddim", 20, eta=1.0)
    assert Sampling(
        "ddim", eta=0.5, guidance=2.0
    ).changed(sampler="heun") == Sampling("heun", guidance=2.0)


def test_a_setting_with_another_name_is_an_error_with_the_names():
    with pytest.raises(InputError,
                       match="unknown sampling setting 'grid': choose one of sampler, steps, "
                       "spacing"):
        OWN.changed(grid="shifted")


@pytest.mark.parametrize("timesteps", [(), (99, 99, 0), (10, 50), (100, 0), (50, -1)])
def test_timesteps_must_fall_and_exist(timesteps):
    with pytest.raises(InputError, match="give falling timesteps from 99 to 0"):
        Sampling(timesteps=timesteps).resolved(COSINE)


def test_denoising_starts_where_the_noise_is():
    assert Sampling(timesteps=(75, 9)).resolved(COSINE, start=75).timesteps == (75, 9)
    with pytest.raises(InputError, match="the first must be 75, to which the images are noised"):
        Sampling(timesteps=(50, 9)).resolved(COSINE, start=75)


def test_resolved_settings_have_the_timesteps_of_the_schedule():
    assert Sampling(steps=4).resolved(COSINE).timesteps == (99, 74, 49, 24)
    assert Sampling(steps=4).resolved(COSINE, start=50).timesteps[0] == 50
    assert Sampling(timesteps=(60, 3)).resolved(COSINE).timesteps == (60, 3)
    assert Sampling("ab3", 12, "shifted").resolved(COSINE).merged is None
    merged = Sampling("ddim", 90, "log-snr").resolved(COSINE)
    count = len(merged.timesteps)
    assert merged.merged == f"note: 90 steps with log-snr spacing visit {count} timesteps"
    with pytest.raises(InputError, match="divides by alpha"):
        Sampling("ddpm").resolved(RECTIFIED)


def test_a_sampler_may_be_a_function(tiny_pipeline):
    def mine(denoise, x_T, schedule, timesteps, noise):
        yield from ddim(denoise, x_T, schedule, timesteps, noise)

    images = tiny_pipeline.generate([3], sampler=mine, timesteps=[99, 50, 10, 0])
    assert torch.equal(images,
                       tiny_pipeline.generate([3], sampler="ddim", timesteps=[99, 50, 10, 0]))
    assert tiny_pipeline.choose(sampler=mine).name == "mine"
    assert tiny_pipeline.choose(sampler=mine, steps=5).nfe(COSINE) == 5


def test_inpainting_has_settings_of_its_own():
    assert inpainting_settings(COSINE) == Sampling("ddpm-repaint", 20, "shifted")
    assert inpainting_settings(RECTIFIED) == Sampling("ddim", 20, "shifted")
    assert inpainting_settings(NoiseSchedule("cosine", 10)).steps == 10


DAMAGED = ({"steps": 0}, {"steps": 101}, {"steps": 8.5}, {"steps": "8"}, {"sampler": "euler"},
           {"sampler": 3}, {"sampler": ["ab2"]}, {"spacing": "karras"}, {"spacing": None},
           {"steps": True}, {"steps": 8.0})


@pytest.mark.parametrize("content",
                         ["{", "[]", "{}", '{"sampler": "ab2"}',
                          *(json.dumps(STORED | change) for change in DAMAGED)])
def test_a_damaged_or_foreign_file_is_an_error_with_its_name(folder, content):
    (folder / SAMPLING).write_text(content)
    for read in (LatentDiffusion.from_pretrained, lambda path: load_settings(path, COSINE)):
        with pytest.raises(InputError) as raised:
            read(folder)
        assert str(folder / SAMPLING) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_settings_must_fit_the_timesteps_of_their_model(tiny_pipeline, tmp_path):
    denoiser = Denoiser(tiny_pipeline.denoiser.network, NoiseSchedule("cosine", 10))
    LatentDiffusion(tiny_pipeline.autoencoder, denoiser, 3.0).save_pretrained(tmp_path)
    save_settings(tmp_path, OWN.changed(steps=11))
    with pytest.raises(InputError,
                       match=r"sampling\.json is not a configuration of nanoldm \(11 steps do not "
                       r"fit"):
        load_settings(tmp_path, denoiser.schedule)


# Command line


def test_denoise_and_evaluate_use_them(nanoldm, trained_run, tiny_features, tmp_path):
    shutil.copytree(trained_run, tmp_path / "run")
    save_settings(tmp_path / "run" / "model", OWN)
    for t in (75, 3):
        done = nanoldm("denoise", tmp_path / "run", "--t", t, "--n", 2, "--out",
                       tmp_path / "back.png", "--threads", 1)
        assert done.returncode == 0, done.stderr
    judged = nanoldm("evaluate", tmp_path / "run", "--n", 20, "--features", tiny_features, "--out",
                     tmp_path / "judged")
    assert judged.returncode == 0, judged.stderr
    facts = read_json(tmp_path / "judged" / "report.json")["judged"]
    assert (facts["sampler"], facts["spacing"]) == ("ab2", "log-snr")
    assert facts["nfe"] == facts["steps"] <= 7


def test_sample_denoise_and_img2img_use_them_and_other_edits_do_not(nanoldm, trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    commands = {"sample": (), "denoise": ("--t", 75, "--n", 2),
                "img2img": ("test:0", "--t", 75, "--n", 2),
                "inpaint": ("test:0", "--mask", "right", "--n", 2), "vary": ("test:0", "--n", 2)}
    given = ("--sampler", "ab2", "--steps", 7, "--spacing", "log-snr")

    def make(command, *options):
        done = nanoldm(command, run, *commands[command], "--out", tmp_path / "made.png",
                       "--threads", 1, *options)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "made.png").read_bytes()

    before = {command: make(command) for command in commands}
    save_settings(run / "model", OWN)
    for command in commands:
        if command in ("inpaint", "vary"):
            assert make(command) == before[command], command
        else:
            assert make(command) == make(command, *given) != before[command], command
