"""The real command line, in a subprocess unless something must be replaced."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from nanoldm import LatentDiffusion, __version__
from nanoldm.cli import main as cli
from nanoldm.experiments.export import export
from nanoldm.pipeline.folders import read_metrics
from nanoldm.utils.files import read_json, write_json


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_teaches_each_command_by_an_example(command, capsys, monkeypatch):
    recipe = ["mnist"] if command == "train" else []
    monkeypatch.setattr(sys, "argv", ["nanoldm", command, *recipe, "--help"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert re.search(rf"Examples?: nanoldm {command} \S", text)


def test_the_help_of_nanoldm_groups_the_commands_with_one_line_each(nanoldm):
    text = nanoldm("--help").stdout
    assert max(map(len, text.splitlines())) <= 100
    for group, names in cli.GROUPS.items():
        block = text.split(f"\n{group}:\n")[1].split("\n\n")[0]
        assert [line.split()[0] for line in block.splitlines()] == list(names)


def test_version_and_a_bare_call(nanoldm):
    assert nanoldm("--version").stdout == f"nanoldm {__version__}\n"
    bare = nanoldm()
    assert bare.returncode == 0
    assert all(command in bare.stdout for command in cli.COMMANDS)


def test_a_log_file_gets_few_states_of_a_progress_bar():
    """Not ten a second, as a terminal does; a second of work gives the first and the last one."""
    code = ("from nanoldm.cli import main as cli; import sys; sys.argv[1:] = ['--version']; "
            "cli.main(); from tqdm import tqdm; import time\n"
            "for _ in tqdm(range(100)): time.sleep(0.01)")
    log = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                         check=True).stderr
    assert "100%" in log
    assert log.count("%|") <= 2


BAD_INPUT = {
    "sample --n 0": "--n 0: at least 1 image is needed",
    "sample --n x": "--n needs a number, not 'x'", "sample --seed -1": "seeds count from 0",
    "sample --seeds 3,x": "such as 3,7,20-29", "sample --seeds 3 --n 4": "leave out --n and --seed",
    "sample --nn 3": "Unrecognized options: --nn",
    "sample no-such-model": "unknown model 'no-such-model'",
    "sample MODEL --steps 101": "choose 1 to 100", "sample MODEL --steps 0": "choose 1 to 100",
    "sample MODEL --out digits.xyz": "end its name in .png",
    "sample MODEL --npz digits.csv": "end its name in .npz",
    "sample MODEL --trajectory way.png": "end its name in .gif",
    "sample MODEL --threads 0": "--threads 0: choose a number from 1",
    "sample MODEL --device abacus": "device abacus is not available",
    "denoise MODEL --t 100": "choose 0 to 99", "denoise MODEL --t 10 --steps 12": "choose 1 to 11",
    "denoise MODEL --n 33": "has only 32 test images",
    "evaluate no-such-model": "unknown model 'no-such-model'",
    "evaluate MODEL": "train networks with: nanoldm features folder:",
    "evaluate MODEL --features no-such-networks": "--features no-such-networks: no feature "
    "networks there", "evaluate MODEL --n 0": "--n 0: at least 1 image is needed",
    "evaluate mnist --n 19": "19 images are too few",
    "evaluate mnist --steps 101": "choose 1 to 100",
    "evaluate --samples no-such-file.npz": "no-such-file.npz is missing: write it with",
    "evaluate --samples file.npz --guidance 2": "--rng, --save and sampling options",
    "evaluate --samples file.npz --seed -1": "seeds count from 0",
    "evaluate mnist --out FILE/deeper": "recipe.json is not a folder that you may write to",
    "sample MODEL --fast": "Unrecognized options: --fast",
    "compare MODEL": "train networks with: nanoldm features folder:",
    "compare no-such-model": "unknown model 'no-such-model'",
    "compare MODEL --n 19": "19 images are too few",
    "compare MODEL --seed -1": "seeds count from 0",
    "compare MODEL --nfe 8,0": "--nfe 0: choose numbers from 1 to 100",
    "compare MODEL --nfe 101": "--nfe 101: choose numbers from 1 to 100",
    "compare MODEL --nfe 4,x": "give numbers and ranges such as 4,8,16,32",
    "compare MODEL --samplers ddim,euler": "unknown sampler 'euler': choose one of ddpm",
    "compare MODEL --spacings karras": "unknown spacing 'karras'",
    "compare MODEL --nfe 100 --samplers ddpm --spacings trailing": "nothing to compare",
    "compare MODEL --nfe 32 --save": "16 NFE or fewer", "compare mnist --save": "mnist is bundled",
    "doctor no-such-model": "unknown model 'no-such-model'",
    "doctor MODEL": "train networks with: nanoldm features folder:",
    "doctor mnist --features no-such-networks": "no feature networks there",
    "curves": "give at least one run", "curves no-such-run": "unknown model 'no-such-run'",
    "curves MODEL --out curves.xyz": "end its name in .png",
    "curves MODEL --gif grids.png": "end its name in .gif", "features": "DATA",
    "features imagenet": "unknown data set 'imagenet'",
    "features mnist --size 30": "--size 30 is not a multiple of 4",
    "features mnist --size -4": "--size is -4: input should be greater than or equal to 4",
    "features mnist --seed -1": "seeds count from 0",
    "features mnist --epochs 0": "--epochs 0: choose more than 0",
    "features mnist --out FILE/deeper": "recipe.json is not a folder that you may write to",
    "features mnist --out MODEL": "exists: give the name of a new folder",
    "info nothing-here": "unknown model 'nothing-here'",
    "export MODEL MODEL": "exists: give the name of a new folder",
    "export MODEL FILE/deeper": "recipe.json is not a folder that you may write to",
    "train mnist --out FILE/deeper": "recipe.json is not a folder that you may write to",
    "train mnist --network.patch 2": "24 or 32",
    "train": "train needs a recipe: nanoldm train RECIPE",
    "train mnsit": "unknown recipe 'mnsit': choose one of mnist-fast, mnist-fast-conditional, "
    "mnist, mnist-v",
    "recipes mnsit": "unknown recipe 'mnsit': choose one of mnist-fast, mnist-fast-conditional",
    "train mnist --training.learning_rte 1": "perhaps --training.learning-rate?",
    "train mnist --training.learning_rate fast": "--training.learning-rate needs a number, not "
    "'fast'", "train mnist --network.heads 3": "width 128 is not a multiple of 3 heads",
    "train mnist --dry-run --size 30": "--size 30 is not a multiple of 4",
    "evaluate --samples digits.npz --precision bf16": "leave out --n, --compile, --precision",
    "evaluate --samples digits.npz --n 1000": "leave out --n, --compile, --precision, --rng",
    "evaluate --samples digits.npz --rng portable": "leave out --n, --compile, --precision, --rng",
    "train mnist --precision tf32": "tf32 needs a CUDA GPU, and this is cpu: choose fp32, bf16 or",
    "sample mnist --precision tf32": "tf32 needs a CUDA GPU, and this is cpu",
    "train mnist --compile maybe": "Expected one of ('auto', 'on', 'off')",
    "train mnist --epochs 0": "--training.epochs is 0: input should be greater than 0",
    "train mnist --epochs 2 --budget 5m": "give one of them",
    "train mnist --budget soon": "such as 90s, 20m or 1h30m",
    "train mnist --budget 1s": "too short",
    "train mnist --size 30": "--size 30 is not a multiple of 4",
    "train mnist --holdout 60000": "leaves nothing to train on",
    "train mnist --data imagenet": "unknown data set 'imagenet'",
    "train mnist --data folder:no-such-folder": "there is no folder",
    "sample MODEL --sampler euler": "unknown sampler 'euler'",
    "sample MODEL --spacing karras": "unknown spacing 'karras'",
    "sample MODEL --eta 0.5": "eta belongs to the sampler ddim",
    "sample mnist-fast-conditional --label 10": "choose 0 to 9",
    "sample mnist-fast-conditional --label x": "label x: give numbers and ranges such as 7",
    "sample mnist-fast-conditional --guidance -1": "guidance -1",
    "sample mnist-fast-conditional --guidance-interval 20-80": "needs guidance",
    "sample mnist-fast-conditional --guidance 2 --guidance-interval 80-20": "guidance interval",
    "page nothing-here": "unknown model 'nothing-here'",
    "page mnist --out page.pdf": "end its name in .html",
    "page mnist --out /dev/null/page.html": "/dev/null is not a folder that you may write to",
    "smaple": "unknown command 'smaple': did you mean sample?"
}


@pytest.mark.parametrize("line", BAD_INPUT)
def test_bad_input_exits_with_2_and_one_line_that_names_the_fix(line, trained_run, refused):
    words = line.replace("FILE", "MODEL/recipe.json").replace("MODEL", str(trained_run))
    refused(words, BAD_INPUT[line])


def test_bad_input_has_no_traceback_in_a_real_process(nanoldm):
    refused = nanoldm("sample", "--n", "0")
    assert (
        refused.returncode, refused.stdout, refused.stderr
    ) == (2, "", "nanoldm: --n 0: at least 1 image is needed\n")


def test_truncated_weights_are_an_error_that_names_the_file(nanoldm, trained_run, tmp_path):
    assert nanoldm("export", trained_run, tmp_path / "copy").returncode == 0
    weights = tmp_path / "copy" / "network" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    refused = nanoldm("sample", tmp_path / "copy", "--n", 1)
    assert refused.returncode == 2
    assert f"{weights} is truncated" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_sample_writes_the_images_of_the_python_interface(nanoldm, trained_run):
    drawn = nanoldm("sample", trained_run, "--n", 5, "--seed", 3, "--out", "five.png", "--npz",
                    "five.npz", "--trajectory", "five.gif")
    assert drawn.returncode == 0, drawn.stderr
    assert all(f"wrote five.{kind}" in drawn.stdout for kind in ("png", "npz", "gif"))
    expected = LatentDiffusion.from_pretrained(trained_run).generate(seeds=range(3, 8))
    with np.load(nanoldm.folder / "five.npz") as arrays:
        assert arrays.files == ["images"]
        images = arrays["images"]
    assert (images.shape, images.dtype) == ((5, 8, 8), np.uint8)
    # rounding, and one grey level between batch sizes
    assert np.abs(images - expected[:, 0].mul(255).numpy()).max() <= 1.5
    assert Image.open(nanoldm.folder / "five.gif").n_frames == 100


def test_seeds_by_name_are_the_same_images_as_seeds_that_count_up(nanoldm, trained_run):
    assert nanoldm("sample", trained_run, "--seeds", "4,2-3", "--npz", "named.npz", "--steps",
                   10).returncode == 0
    assert nanoldm("sample", trained_run, "--seed", 2, "--n", 3, "--npz", "counted.npz", "--steps",
                   10).returncode == 0
    named, counted = (np.load(nanoldm.folder / name)["images"].astype(int)
                      for name in ("named.npz", "counted.npz"))
    assert np.abs(named - counted[[2, 0, 1]]).max() <= 1


def test_denoise_shows_four_rows_of_test_images(nanoldm, trained_run):
    done = nanoldm("denoise", trained_run, "--t", 75, "--n", 3, "--out", "back.png")
    assert done.returncode == 0, done.stderr
    assert "wrote back.png: 3 test images, noised to t = 75" in done.stdout
    assert Image.open(nanoldm.folder / "back.png").height > 4 * 28


def test_info_names_recipe_parameters_and_history(nanoldm, trained_run):
    text = nanoldm("info", trained_run).stdout
    parameters = sum(
        p.numel()
        for p in LatentDiffusion.from_pretrained(trained_run).denoiser.network.parameters()
    )
    assert f"DiffusionNet, {parameters:,} parameters" in text
    assert re.search(r"training\.learning_rate +0\.0005\n", text)
    logged = read_metrics(trained_run / "metrics.jsonl")
    losses = [record["loss"] for record in logged if record["stage"] == "denoiser"
              and "loss" in record]
    assert re.search(rf"denoiser training +40 steps in .*, loss {losses[0]:.4f} -> "
                     rf"{losses[-1]:.4f}, test loss 0\.\d+", text)


def test_an_exported_model_generates_the_same_images_and_has_a_card(nanoldm, trained_run):
    assert nanoldm("export", trained_run, "exported").returncode == 0
    folder = nanoldm.folder / "exported"
    copy, original = (LatentDiffusion.from_pretrained(model).generate(seeds=[0])
                      for model in (folder, trained_run))
    assert torch.equal(copy, original)
    card = (folder / "README.md").read_text()
    assert "recipe `mnist`" in card
    assert "40 steps" in card


def test_the_card_of_a_run_that_was_stopped_says_so(trained_run, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    write_json(run / "model" / "plan.json", read_json(run / "plan.json") | {"finished": False})
    for source, stopped in ((run, True), (trained_run, False)):
        export(source, tmp_path / f"copy-{stopped}")
        assert ("taken before the run had finished" in (tmp_path / f"copy-{stopped}"
                                                        / "README.md").read_text()) == stopped
