"""What a program or a file can bring into a training: images, recipes, networks, trackers."""

import json

import pytest
import torch
from PIL import Image

import nanoldm
from nanoldm.experiments.latents import load_or_encode, raw_tokens
from nanoldm.experiments.recipes import RECIPES, load_recipe
from nanoldm.experiments.stages import autoencoder_stage
from nanoldm.experiments.trackers import Trackers
from nanoldm.models import ConvAE
from nanoldm.pipeline.folders import RunFolder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import read_json, weights_digest

TINY = {"network": {"width": 16, "heads": 2, "depth": 1, "hidden": 32}, "training": {"steps": 4},
        "autoencoder_training": {"steps": 4}}


@pytest.fixture(scope="module")
def images():
    stream = torch.Generator().manual_seed(0)
    return torch.rand(60, 3, 8, 8, generator=stream), torch.arange(60) % 3


def test_a_program_trains_on_its_tensors_and_the_same_call_continues(images, tmp_path, capsys):
    x, y = images
    recipe = RECIPES["mnist-conditional"]().replace(**TINY)
    run = nanoldm.train(recipe, tmp_path / "run", data=((x, y), (x[:9], y[:9])), device="cpu")
    assert run.folder.path == tmp_path / "run"
    model = LatentDiffusion.from_pretrained(tmp_path / "run")
    assert model.generate(2, labels=2).shape == (2, 3, 8, 8)
    assert read_json(run.folder.recipe)["data"]["name"] == "given"
    nanoldm.train(recipe, tmp_path / "run", data=((x, y), (x[:9], y[:9])), device="cpu")
    assert "finished: nothing to do" in capsys.readouterr().out
    with pytest.raises(InputError, match="training images or their labels of given have changed"):
        nanoldm.train(recipe, tmp_path / "run", data=((1 - x, y), (x[:9], y[:9])), device="cpu")


def test_a_student_of_given_images_gets_them_again(images, tmp_path, monkeypatch):
    monkeypatch.setattr("nanoldm.experiments.train_student.HELD_OUT", 8)
    x, options = images[0], {"pairs": 16, "steps": 2, "device": "cpu"}
    teacher = tmp_path / "teacher"
    nanoldm.train(RECIPES["mnist-v"]().replace(**TINY), teacher, data=(x, x[:9]), device="cpu")
    with pytest.raises(InputError, match="give them there again"):
        nanoldm.distill(teacher, 2, tmp_path / "student", **options)
    nanoldm.distill(teacher, 2, tmp_path / "student", data=(x, x[:9]), **options)
    assert LatentDiffusion.from_pretrained(tmp_path / "student").student


def test_a_run_takes_the_autoencoder_that_another_one_has_trained_alone(images, tmp_path):
    x = images[0]
    data, recipe = (x, x[:9]), RECIPES["mnist"]().replace(**TINY)
    with pytest.raises(InputError, match="unknown stage 'encoder': choose one of autoencoder"):
        nanoldm.train(recipe, tmp_path / "first", data=data, device="cpu", only="encoder")
    first = nanoldm.train(recipe, tmp_path / "first", data=data, device="cpu", only="autoencoder")
    assert not (first.folder.model / "model_index.json").exists()
    again = recipe.replace(autoencoder_from=str(first.folder.path))
    nanoldm.train(again, tmp_path / "second", data=data, device="cpu")
    nanoldm.train(recipe, tmp_path / "first", data=data, device="cpu")       # goes on
    one, two = (LatentDiffusion.from_pretrained(tmp_path / name) for name in ("first", "second"))
    assert weights_digest(one.autoencoder) == weights_digest(two.autoencoder)
    assert weights_digest(one.denoiser) == weights_digest(two.denoiser)
    assert not RunFolder(tmp_path / "second").checkpoint("autoencoder").exists()
    other = again.replace(autoencoder={"latent_channels": 3})
    with pytest.raises(InputError, match=r"of .*first has latent_channels 6, and this recipe 3"):
        nanoldm.train(other, tmp_path / "third", data=data, device="cpu")


def test_the_latents_are_encoded_once(images, tmp_path):
    autoencoder = ConvAE(8, 3)
    pixels = (images[0] * 255).byte()
    file, origin = tmp_path / "latents.safetensors", {"autoencoder": "a"}
    first = load_or_encode(file, autoencoder, pixels, **origin)
    with torch.no_grad():
        autoencoder.encoder[0].weight.zero_()
    again = ConvAE(8, 3)
    assert torch.equal(load_or_encode(file, again, pixels, **origin), first)  # no longer encoded
    assert torch.equal(again.latent_std, autoencoder.latent_std)
    other = load_or_encode(file, autoencoder, pixels, autoencoder="b")
    assert not torch.equal(other, first)
    file.write_bytes(b"damaged")
    assert torch.equal(load_or_encode(file, autoencoder, pixels, autoencoder="b"), other)


def test_a_file_changes_a_recipe_or_is_a_whole_one(tmp_path):
    file = tmp_path / "wide.json"
    file.write_text(json.dumps({"recipe": "mnist-fast", "network": {"depth": 3}}))
    recipe = load_recipe(file)
    assert recipe == RECIPES["mnist-fast"]().replace(recipe="wide", network={"depth": 3})
    whole = tmp_path / "recipe.json"
    whole.write_text(json.dumps(recipe.model_dump()))
    assert load_recipe(str(whole)) == recipe
    assert load_recipe("mnist") == RECIPES["mnist"]()


@pytest.mark.parametrize(("content", "message"), [
    ("{", "is not a recipe"), ("[1]", "is not a recipe"), ("{}", "is not a recipe"),
    ('{"recipe": "mnist", "network": {"deep": 3}}', "network.deep"),
    ('{"recipe": "mnist", "network": 3}', "network"),
    ('{"recipe": "mnist", "nets": 3}', "nets"), ('{"recipe": []}', "is not a recipe"),
    ('{"recipe": "mnist", "trainings": {"steps": 3}}', "trainings"),
    ('{"recipe": "none", "network": {"depth": 3}}', "changes the recipe 'none', which does not"),
])
def test_other_files_are_errors_that_name_the_file(content, message, tmp_path, nanoldm):
    file = tmp_path / "wrong.json"
    file.write_text(content)
    with pytest.raises(InputError, match=f"wrong.json.*{message}"):
        load_recipe(file)
    assert nanoldm("train", file, "--dry-run").returncode == 2


def test_the_command_takes_a_recipe_file(nanoldm, tiny_options, tmp_path):
    file = tmp_path / "short.json"
    file.write_text(json.dumps({"recipe": "mnist", "training": {"steps": 3, "batch_size": 8}}))
    done = nanoldm("train", file, *tiny_options)
    assert done.returncode == 0, done.stderr
    saved = read_json(RunFolder(nanoldm.folder / "runs" / "short").recipe)
    assert (saved["recipe"], saved["training"]["batch_size"]) == ("short", 8)
    assert nanoldm("train", "no.json").stderr.startswith("nanoldm: there is no recipe no.json")


def test_tensorboard_gets_losses_and_previews(images, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    x = images[0]
    run = nanoldm.train(RECIPES["mnist"]().replace(**TINY), tmp_path / "run", data=(x, x[:9]),
                        trackers=["tensorboard"], device="cpu")
    (logs,) = {file.parent for file in run.folder.path.glob("logs/nanoldm/events*")}
    found = EventAccumulator(str(logs)).Reload()
    for stage in ("autoencoder", "denoiser"):
        (last,) = [event for event in found.Scalars(f"{stage}/test_loss") if event.step == 4]
        logged = [record for record in map(json.loads, run.folder.metrics.open())
                  if record["stage"] == stage and "test_loss" in record]
        assert last.value == pytest.approx(logged[-1]["test_loss"])
        assert [event.step for event in found.Images(f"{stage}/preview")] == [4]
    assert "denoiser/denoising_error/3" in found.Tags()["scalars"]


class Tracker:
    """wandb's and trackio's in accelerate: the latter has no pictures."""

    def __init__(self, name, pictures):
        self.name, self.calls = name, []
        if pictures:
            self.log_images = lambda values: self.calls.append([*values])

    def log(self, values):
        self.calls.append(values)


@pytest.mark.parametrize(("name", "pictures"), [("wandb", True), ("trackio", False)])
def test_other_trackers_get_the_step_of_each_stage_as_a_value(name, pictures):
    """Their own steps only rise, and each stage counts from 1."""
    trackers, tracker = Trackers(), Tracker(name, pictures)
    trackers.trackers = [tracker]
    trackers.log("denoiser", 3, {"loss": 0.5, "gates": [1.0, 2.0]})
    trackers.show("denoiser", 3, Image.new("L", (2, 2)))
    metrics = {"denoiser/loss": 0.5, "denoiser/gates/0": 1.0, "denoiser/gates/1": 2.0,
               "denoiser/step": 3}
    assert tracker.calls == [metrics] + [["denoiser/preview"]] * pictures


def test_an_unknown_tracker_is_an_error_before_any_work(tmp_path):
    with pytest.raises(InputError, match="unknown log 'visdom': choose one of tensorboard"):
        nanoldm.train("mnist", tmp_path / "run", trackers=["visdom"], device="cpu")
    with pytest.raises(InputError, match="log trackio needs a package: pip install trackio"):
        nanoldm.train("mnist", tmp_path / "run", trackers=["trackio"], device="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("images",
                         [torch.rand(9, 1, 8, 8), torch.zeros(9, 8, 8, dtype=torch.uint8),
                          torch.zeros(9, 2, 8, 8).byte(), torch.zeros(9, 1, 8, 6).byte(),
                          torch.zeros(9, 1, 8, 8).bool()])
def test_images_of_another_type_or_shape_are_errors(tiny_pipeline, images):
    for enter in (lambda: autoencoder_stage(RECIPES["mnist"](), images),
                  lambda: raw_tokens(tiny_pipeline.autoencoder, images)):
        with pytest.raises(InputError, match=r"give uint8 \(N, C, S, S\)"):
            enter()


@pytest.mark.parametrize("images",
                         [torch.zeros(2, 1, 28, 28).byte(), torch.rand(2, 1, 28, 28) * 255,
                          torch.rand(2, 1, 28, 28) * 2 - 1,
                          torch.full((2, 1, 28, 28), float("nan"))])
def test_images_of_another_range_are_errors(tiny_pipeline, images):
    with pytest.raises(InputError, match=r"give (float32 in \[0, 1\]|pixels from 0 to 1)"):
        tiny_pipeline.reconstruct(images)
