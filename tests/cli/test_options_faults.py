"""Numbers out of range, empty values, digits of other scripts, files given twice: one line each,
before any work.
"""

import sys

import pytest
import torch
from PIL import Image

from nanoldm.cli import main as cli
from nanoldm.cli.sample import Sample
from nanoldm.data.npz import load_images
from nanoldm.pipeline.folders import BUNDLED
from nanoldm.utils.errors import InputError

BAD = {"sample --n 1000001": "--n 1000001: choose a number from 1 to 1000000",
       f"sample --n {10**30}": "--n 1000000000000000000000000000",
       f"sample --n {'9' * 5000}": "give a smaller number",
       f"sample --seed {2**63}": "--seed 9223372036854775808: choose a number from 0 to",
       "sample --seeds 0-99999999": "100000000 numbers, at most 1,000,000 are allowed",
       "sample --seeds 3-1": "such as 3,7,20-29",
       "sample --n ٣": "--n ٣: write numbers with the digits 0 to 9",
       "sample --seeds=٣,٤": "--seeds ٣,٤: write numbers with the digits 0 to 9",
       "sample --spacing=": "--spacing is empty: give it a value, or leave it out",
       "sample --threads 99999999999": "--threads 99999999999: choose a number from 1",
       "sample --guidance 1e9": "choose 1 (off) or another number from 0 to 1000",
       "sample --guidance nan": "choose 1 (off) or another number from 0 to 1000",
       "sample --out way.gif --trajectory way.gif": "way.gif is given twice",
       "sample ~nosuchuser/model": "~nosuchuser/model: there is no such home folder",
       "sample --out ~nosuchuser/a.png": "~nosuchuser/a.png: there is no such home folder",
       "sample --out=~nosuchuser/a.png": "~nosuchuser/a.png: there is no such home folder",
       "evaluate --n 1000000000": "--n 1000000000: choose a number",
       "compare --n 1000000000": "--n 1000000000: choose a number",
       "interpolate --seeds 3,7 --frames 99999999": "--frames 99999999: choose a number from 2 to "
       "10000", "interpolate --seeds 3,7 --out a.gif --gif a.gif": "a.gif is given twice",
       "invert mnist-fast test:0 --iterations 99999": "--iterations 99999: choose a number from 1 "
       "to 1000",
       f"sample mnist-fast-conditional --label {2**63}": "--label 9223372036854775808: choose a "
       "number from 0",
       "train mnist --training.learning_rate 1e300": "less than or equal to "
       "1000000000000000000000000000000",
       "vary mnist-fast test:0 --strength nan": "choose a number from 0",
       f"img2img mnist-fast test:{'9' * 20}": "such as test:3",
       "img2img mnist-fast photo.png --out photo.png": "photo.png is given twice",
       "img2img mnist-fast photo.png --out ../HERE/photo.png": "given twice",
       "inpaint mnist-fast test:0 --mask photo.png --out photo.png": "photo.png is given twice",
       "curves mnist --out a.gif --gif a.gif": "a.gif is given twice",
       "features mnist --epochs 99999999": "choose more than 0 and at most 10,000",
       "features mnist --size 4096": "--size is 4096: input should be less than or equal to 2048",
       "features folder: --out f": "folder:. for the current one",
       "train mnist --data folder:": "folder:. for the current one",
       "train mnist --budget 99999999999999h": "at most 1000h",
       "train mnist --steps 99999999999": "--training.steps is 99999999999: input should be less "
       "than or equal to 1000000000",
       "train mnist --network.width 1000000000": "--network.width is 1000000000: input should be "
       "less than or equal to 16384",
       "train mnist --diffusion.timesteps 1000000000": "less than or equal to 100000",
       "train mnist --network.width 16384 --network.depth 256 --dry-run": "not enough memory for "
       "mnist", "export mnist MODEL/inside": "lies in the model's own folder"}


def test_the_array_is_written_even_if_the_picture_is_too_large(tmp_path):
    command = Sample(out=tmp_path / "digits.webp", npz=tmp_path / "digits.npz")
    with pytest.raises(InputError, match="pixels are too many for WEBP"):
        command.write(torch.zeros(400, 1, 28, 28), ["0", "1"], None)
    assert len(load_images(tmp_path / "digits.npz")) == 400


@pytest.mark.parametrize("line", BAD)
def test_values_out_of_range_are_errors_of_one_line(line, tmp_path, refused):
    Image.new("L", (28, 28), 255).save(tmp_path / "photo.png")
    refused(line.replace("MODEL", str(BUNDLED / "mnist")).replace("HERE", tmp_path.name), BAD[line])


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [(OSError(28, "No space left on device", "runs/mnist/plan.json"), 1,
      "nanoldm: runs/mnist/plan.json: No space left on device"),
     (OSError(36, "File name too long", "a" * 300), 2, f"nanoldm: {'a' * 300}: File name too long"),
     (MemoryError(), 1, "nanoldm: there is not enough memory (MemoryError): use fewer images"),
     (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to "
                   "allocate 9 bytes"), 1, "nanoldm: there is not"),
     (KeyError("x"), 1,
      "nanoldm: KeyError: 'x' (unexpected: run it again with NANOLDM_TRACEBACK=1"),
     (OSError("a\x1b[31mb\nc"), 1, r"nanoldm: a\x1b[31mb c")]
)
def test_failures_of_the_machine_are_one_line(error, code, message, monkeypatch, capsys):
    def fail() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["nanoldm", "info"])
    monkeypatch.setattr(cli, "parse", lambda arguments: fail)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert (stop.value.code, line[: len(message)]) == (code, message)
