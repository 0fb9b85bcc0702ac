"""Files that were altered by hand: impossible values, other kinds of files, links. One line each,
or the right result.
"""

import json
import os
import shutil
import signal
import threading

import pytest
import torch
from PIL import Image

from nanoldm import LatentDiffusion
from nanoldm.data.image_file import open_rgba
from nanoldm.data.layout import walk
from nanoldm.evaluation.curves import draw_curves
from nanoldm.evaluation.features import load_features
from nanoldm.experiments.export import export
from nanoldm.experiments.log import Interruption
from nanoldm.experiments.model_card import describe
from nanoldm.experiments.plan import read_plan
from nanoldm.utils import images as pictures
from nanoldm.utils.atomic import TEMPORARY
from nanoldm.utils.errors import InputError, TrainingError
from nanoldm.utils.files import load_tensors, read_json, save_tensors, write_json, write_text


@pytest.fixture
def run(trained_run, tmp_path):
    return shutil.copytree(trained_run, tmp_path / "run")


@pytest.mark.parametrize(("part", "key", "value"),
                         [("network", "heads", 4.0), ("network", "labels", None),
                          ("network", "labels", ""), ("network", "width", True),
                          ("network", "hidden", 0), ("network", "tokens", 65_537),
                          ("network", "kind", "new"), ("autoencoder", "latent_channels", [6]),
                          ("autoencoder", "image_size", 8.0),
                          ("scheduler", "clip_sample_range", 1e308),
                          ("scheduler", "clip_sample_range", "3")])
def test_values_of_a_configuration_that_no_network_has_are_refused(run, part, key, value):
    file = run / "model" / part / ("scheduler_config.json" if part == "scheduler"
                                   else "config.json")
    file.write_text(json.dumps(read_json(file) | {key: value}))
    with pytest.raises(InputError, match="config") as error:
        LatentDiffusion.from_pretrained(run)
    assert "\n" not in str(error.value)


def test_metadata_of_any_name_is_only_metadata(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"w": torch.ones(2)}, tensors="x", path="y")
    assert load_tensors(tmp_path / "a.safetensors")[1]["tensors"] == "x"


@pytest.mark.parametrize(
    "change",
    [lambda facts: facts.pop("name"), lambda facts: facts.update(networks=None),
     lambda facts: facts.update(networks=[1]), lambda facts: facts["networks"].pop("rotation"),
     lambda facts: facts["networks"]["classifier"].pop("test_accuracy"),
     lambda facts: facts["networks"]["classifier"].update(test_accuracy="good"),
     lambda facts: facts["networks"]["classifier"].update(width=10**9)]
)
def test_feature_networks_whose_facts_are_wrong_are_refused(tiny_features, tmp_path, change):
    folder = shutil.copytree(tiny_features, tmp_path / "features")
    facts = read_json(folder / "features.json")
    change(facts)
    (folder / "features.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"features\.json"):
        load_features(folder)


def test_a_plan_without_end_is_refused(run):
    write_text(run / "plan.json",
               json.dumps(read_json(run / "plan.json") | {"denoiser_steps": 10**400}))
    with pytest.raises(InputError, match=r"plan\.json is not a configuration"):
        read_plan(run / "plan.json")


@pytest.mark.filterwarnings("error")
def test_curves_of_strange_logs_and_grids_are_drawn_without_a_remark(run, tmp_path):
    values = (0.0, -1.0, 5e-324, float("nan"), float("inf"))
    lines = [{"stage": "denoiser", "step": k, "seconds": 1.0, "loss": value,
              "denoising_error": [value] * 3, "gates": [value]} for k, value in enumerate(values)]
    (run / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    long = shutil.copytree(run, tmp_path / ("a" * 200))
    (run / "samples" / "step-x.png").write_text("no picture")
    draw_curves([run, long], tmp_path / "curves.png", tmp_path / "curves.gif")
    (run / "samples" / "step-000099.png").write_text("no picture")
    with pytest.raises(InputError, match=r"step-000099\.png cannot be read as an image"):
        draw_curves([run], tmp_path / "curves.png", tmp_path / "curves.gif")


def test_info_shows_its_own_facts_whatever_the_recipe_says(run):
    file = run / "model" / "recipe.json"
    write_text(file, json.dumps(read_json(file) | {"weights SHA-256": "spoofed"}))
    with pytest.raises(InputError, match=r"recipe\.json is not a configuration"):
        describe(run)


def test_an_export_copies_the_files_of_a_model_and_no_others(run, tmp_path):
    (run / "model" / "notes.txt").write_text("mine")
    (run / "model" / "endless").symlink_to("/dev/zero")
    (run / "model" / "metrics.jsonl").unlink()
    (run / "model" / "metrics.jsonl").symlink_to("/dev/zero")
    export(run, tmp_path / "exported")
    assert {file.name for file in (tmp_path / "exported").iterdir()} == {"model_index.json",
                                                                         "autoencoder", "network",
                                                                         "scheduler", "recipe.json",
                                                                         "plan.json",
                                                                         "sampling.json",
                                                                         "pipeline.py",
                                                                         "README.md"}


def test_pixels_that_are_nan_are_an_error_and_no_black_picture(tiny_pipeline):
    shape = (2, *tiny_pipeline.latent_shape)
    with pytest.raises(TrainingError, match="contain NaN"):
        pictures.grid(tiny_pipeline.generate([1, 2], steps=2, x_T=torch.full(shape, float("nan"))))
    with pytest.raises(InputError, match="need float32"):
        tiny_pipeline.generate([1, 2], steps=2, x_T=torch.zeros(shape, dtype=torch.float64))


def test_json_has_no_numbers_that_json_does_not_know(tmp_path):
    write_json(tmp_path / "a.json",
               {"ratio": float("inf"), "list": [float("nan"), 1.5],
                "nested": {"x": (1, float("-inf"))}})
    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail) == {
        "ratio": None, "list": [None, 1.5], "nested": {"x": [1, None]}}


def test_a_temporary_file_of_a_process_whose_number_came_again_is_removed(tmp_path):
    old = tmp_path / f"{TEMPORARY}{os.getpid()}-0123.tmp"
    old.touch()
    os.utime(old, (1e9, 1e9))                   # long before this process began
    write_text(tmp_path / "report.txt", "new")
    assert [file.name for file in tmp_path.iterdir()] == ["report.txt"]


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(),
                    reason="signals are for the main thread")
def test_an_interrupt_after_the_last_step_of_a_stage_is_not_lost():
    with pytest.raises(KeyboardInterrupt, match="the same command continues"), Interruption():
        signal.raise_signal(signal.SIGINT)


def test_folders_that_link_to_each_other_in_all_ways_are_read_once_for_each_class(tmp_path):
    for k in range(24):
        (tmp_path / "set" / str(k)).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "set" / str(k) / "a.png")
    for k in range(23):
        for name in "xy":
            (tmp_path / "set" / str(k) / name).symlink_to(tmp_path / "set" / str(k + 1))
    assert len(list(walk(tmp_path / "set"))) == sum(range(1, 25))


def test_a_small_file_that_claims_a_huge_picture_is_refused(tmp_path):
    Image.new("1", (9000, 9000)).save(tmp_path / "huge.png")
    assert (tmp_path / "huge.png").stat().st_size < 20_000
    with pytest.raises(InputError,
                       match="9000x9000 pixels are more than 64 million: scale it down"):
        open_rgba(tmp_path / "huge.png")
