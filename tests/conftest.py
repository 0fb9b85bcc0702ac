"""Fixtures that several test files share."""

import io
import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch
from PIL import Image

from nanoldm.cli.main import main
from nanoldm.data import load
from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.experiments.recipes import RECIPES
from nanoldm.models import ConvAE, DiffusionNet
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.seeding import seeded

# other workers have the other cores: with a thread for each, all would wait for all
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"         # of the commands that tests start
    torch.set_num_threads(1)

# A background job of a shell ignores Ctrl-C, and so would the commands that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory) -> None:
    """Neither read nor fill the cache of whoever runs the tests."""
    os.environ["NANOLDM_DATA"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def quick_plans():
    """Runs in this process time their steps for a moment only, and `auto` compiles none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nanoldm.experiments.plan.PROBE", 0.02)
        patch.setattr("nanoldm.experiments.timing.COMPILE_FROM", float("inf"))
        yield


@pytest.fixture(scope="session")
def tiny_pipeline() -> LatentDiffusion:
    """An untrained model whose every layer does something: its pictures are noise, but strong noise
    that differs from seed to seed.

    Shared by all tests: do not change it.
    """
    with seeded(0), torch.no_grad():
        autoencoder, network = ConvAE(), DiffusionNet(width=32, depth=1, heads=2, hidden=64)
        for parameter in network.parameters():
            if not parameter.any():             # what AdaLN-Zero initialised to zero
                parameter.normal_(std=0.1)
        autoencoder.latent_mean.normal_(std=0.5)
        autoencoder.latent_std.uniform_(2, 4)
        for parameter in autoencoder.decoder.parameters():
            parameter.mul_(2)
    return LatentDiffusion(autoencoder, Denoiser(network, NoiseSchedule("cosine", 100)), 3.0)


@pytest.fixture(scope="session")
def digits(tmp_path_factory) -> Path:
    """A folder of 320 real digits as PNG files, in one subfolder for each class."""
    folder = tmp_path_factory.mktemp("digits")
    images = load("mnist")[1]
    pairs = zip(images.images[:320, 0], images.labels, strict=False)
    for number, (image, label) in enumerate(pairs):
        (folder / str(label.item())).mkdir(exist_ok=True)
        Image.fromarray(image.numpy()).save(folder / str(label.item()) / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="session")
def nanoldm(tmp_path_factory):
    """nanoldm(*arguments) runs the real command line in a folder of its own -> what it did, with
    returncode, stdout and stderr.

    In this process, which saves the start of Python and torch; with options of subprocess.run, such
    as env, in a process of its own.
    """
    folder = tmp_path_factory.mktemp("work")

    def run(*arguments: object, cwd: Path = folder, **options) -> subprocess.CompletedProcess:
        if options:
            command = [sys.executable, "-m", "nanoldm", *map(str, arguments)]
            options = {"capture_output": True, "text": True, "timeout": 300} | options
            return subprocess.run(command, cwd=cwd, **options)
        return call_main([*map(str, arguments)], cwd)

    run.folder = folder
    return run


def call_main(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    """`nanoldm ARGUMENTS` in `folder` and in this process, whose settings stay as they were."""
    out, errors = io.StringIO(), io.StringIO()
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    environment = os.environ.copy()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["nanoldm", *arguments])
        try:
            code = main()
        except SystemExit as stop:
            code = stop.code
        finally:
            os.environ.clear()
            os.environ.update(environment)
            torch.set_num_threads(threads)
            torch.set_float32_matmul_precision(precision)
    return subprocess.CompletedProcess(arguments, code or 0, out.getvalue(), errors.getvalue())


@pytest.fixture(scope="session")
def tiny_options(digits) -> list[str]:
    """Options that make any recipe train in seconds: 288 digits of 8x8 pixels, a small network."""
    return ["--data", f"folder:{digits}", "--size", "8", "--ae-epochs", "4", "--threads", "1",
            "--network.width", "64", "--network.depth", "2", "--network.heads", "2",
            "--network.hidden", "128"]


@pytest.fixture(scope="session")
def trained_run(nanoldm, tiny_options) -> Path:
    """A finished, unbroken run of 40 denoiser steps. Shared by all tests: do not change it."""
    finished = nanoldm("train", "mnist", *tiny_options, "--steps", 40, "--out", "whole")
    assert finished.returncode == 0, finished.stderr
    return nanoldm.folder / "whole"


@pytest.fixture(scope="session")
def tiny_features(nanoldm, digits) -> Path:
    """Feature networks for the images of `tiny_options`. Shared by all tests: do not change them.
    """
    trained = nanoldm("features", f"folder:{digits}", "--size", 8, "--epochs", 60, "--out",
                      "tiny-features", "--threads", 1)
    assert trained.returncode == 0, trained.stderr
    return nanoldm.folder / "tiny-features"


@pytest.fixture(scope="session")
def animals(tmp_path_factory):
    """A folder of 50 digits each under the names of two classes, and an empty class."""
    folder, images = tmp_path_factory.mktemp("animals"), load("mnist")[1]
    for name, digit in (("bird", 0), ("fish, big", 1), ("cat", 2)):
        (folder / name).mkdir()
        for k, image in enumerate(
            images.images[images.labels == digit][: 50 if digit != 1 else 0, 0]
        ):
            Image.fromarray(image.numpy()).save(folder / name / f"{k}.png")
    return folder


@pytest.fixture(scope="session")
def animal_recipe(animals):
    """A network that is conditioned on the class, for a run of seconds."""
    return RECIPES["mnist-conditional"]().replace(network={"width": 16, "heads": 2, "depth": 1},
                                                  data={"name": f"folder:{animals}", "size": 8},
                                                  training={"steps": 3},
                                                  autoencoder_training={"epochs": 2})


@pytest.fixture(scope="session")
def animal_run(animal_recipe, tmp_path_factory) -> Path:
    """A finished run on them. Shared: do not change it."""
    from nanoldm.experiments.run import Run
    return Run(tmp_path_factory.mktemp("runs") / "animals", animal_recipe).train().folder.path
