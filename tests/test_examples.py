"""The programs in examples/ run."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
ARGUMENTS = {name: ["4"] for name in ("own_recipe", "own_network", "own_data")}  # steps
NAMES = sorted(file.stem for file in EXAMPLES.glob("*.py"))


def test_examples_are_short():
    assert len(NAMES) == 6
    for name in NAMES:
        assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 41


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_example_writes_its_picture(name, tmp_path):
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *ARGUMENTS.get(name, [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / f"{name}.png").height > 28
