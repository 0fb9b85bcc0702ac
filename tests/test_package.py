"""The package as others get it: installed from a wheel, imported, typed."""

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from nanoldm.pipeline.folders import bundled_models

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel that `pip wheel . --no-deps` makes from a copy without old builds; setuptools comes
    from the environment.
    """
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", folder / "src",
                    ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pip", "wheel", str(folder), "--no-deps",
               "--no-build-isolation", "--quiet", "-w", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("nanoldm-*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_data_weights_and_types(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "nanoldm/py.typed" in names
    assert sum(name.startswith("nanoldm/bundled/mnist/") and name.endswith("ubyte.gz")
               for name in names) == 4
    source = ROOT / "src"
    bundled = {file.relative_to(source).as_posix()
               for file in (source / "nanoldm" / "bundled").rglob("*") if file.is_file()}
    assert bundled == {name for name in names if name.startswith("nanoldm/bundled/")}
    for part in ("model_index.json", "recipe.json", "metrics.jsonl", "README.md",
                 "scheduler/scheduler_config.json",
                 "autoencoder/diffusion_pytorch_model.safetensors",
                 "network/diffusion_pytorch_model.safetensors"):
        assert all(f"nanoldm/bundled/models/{model}/{part}" in names for model in bundled_models())


@pytest.mark.slow
def test_the_source_distribution_holds_its_tests_and_licences(tmp_path):
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("needs a checkout")
    names = tracked.stdout.split()
    for name in names:
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "copy" / name)
    code = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "copy", check=True,
                   capture_output=True)
    (archive,) = (tmp_path / "copy" / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as file:
        held = {name.partition("/")[2] for name in file.getnames()}
    assert {name for name in names if not name.startswith(".")} <= held


@pytest.mark.slow
def test_the_wheel_draws_digits_outside_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = ("import nanoldm, sys; assert nanoldm.__file__.startswith(sys.argv[1]), "
            "nanoldm.__file__;from nanoldm.data import load; assert len(load('mnist')[0]) == "
            "60000;sys.argv = ['nanoldm', 'sample', '--n', '2', '--steps', '5', '--out', "
            "'two.png']; from nanoldm.cli.main import main; main()")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path,
                          env={"PYTHONPATH": str(tmp_path / "site")}, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two.png").stat().st_size > 0


def test_importing_nanoldm_does_not_import_torch_and_is_quick():
    code = ("import time; began = time.perf_counter(); import nanoldm; print(time.perf_counter() - "
            "began);import sys; assert 'torch' not in sys.modules")
    seconds = min(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                                       check=True).stdout) for _ in range(3))
    assert seconds < 0.3


def test_python_m_nanoldm_is_nanoldm():
    done = subprocess.run([sys.executable, "-m", "nanoldm", "--version"], capture_output=True,
                          text=True)
    assert done.stdout.startswith("nanoldm ")
