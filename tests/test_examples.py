"""The programs in examples/ run."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
ARGUMENTS = {"own_recipe": ["4"]}


def test_every_example_is_run():
    assert {
        file.stem for file in EXAMPLES.glob("*.py")
    } == {"own_sampler", "own_recipe", "edit_digits"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_sampler", "own_recipe", "edit_digits"])
def test_an_example_writes_its_picture(name, tmp_path):
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *ARGUMENTS.get(name, [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / f"{name}.png").height > 28
