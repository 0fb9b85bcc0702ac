"""The editing commands: files in, pictures and errors out."""


import numpy as np
import pytest
from PIL import Image

from nanoldm.data import load

LINES = {
    "img2img MODEL test:3 --t 40 --n 3 --steps 5": ("results, from the input",
                                                    "wrote img2img.png: 3 images"),
    "inpaint MODEL test:3 --mask HERE/dot.png --n 2 --steps 5": ("mask HERE/dot.png: 6%",
                                                                 "generated pixels",
                                                                 "wrote inpaint.png: 2 images"),
    "interpolate MODEL --seeds 3,7 --frames 4 --steps 5 --gif way.gif": ("largest / mean",
                                                                         "wrote way.gif: 4 frames"),
    "interpolate MODEL --images test:3 test:4 --frames 3 --steps 5": ("first frame, from its input",
                                                                      "wrote interpolate.png: 3 "
                                                                      "images"),
    "invert MODEL test:0-3 --steps 5 --npz noise.npz": ("there and back, latents",
                                                        "wrote noise.npz: x_T (4, 4, 6)"),
    "vary MODEL test:3 --steps 5 --n 2": ("spread", "wrote vary.png: 2 images"),
    "img2img mnist HERE/page.png --n 1 --t 9 --steps 2": ("page.png: 60x50 grey -> inverted",
                                                          "wrote img2img.png: 1 image\n")
}
BAD = {"img2img MODEL none.png": "none.png is no file",
       "img2img MODEL HERE/text.png": "text.png cannot be read as an image",
       "img2img MODEL test:x": "such as test:3", "img2img MODEL test:32": "has test images 0 to 31",
       "img2img MODEL test:2-1": "such as test:3", "img2img MODEL test:1-2": "give one at a time",
       "img2img MODEL test:1 --t 100": "choose 0 to 99",
       "img2img MODEL test:1 --n 0": "--n 0: at least 1 image is needed",
       "img2img MODEL test:1 --out picture.txt": "end its name in .png",
       "inpaint MODEL test:1": "--mask",
       "inpaint MODEL test:1 --mask middle": "there is no mask middle",
       "inpaint MODEL test:1 --mask HERE/black.png": "covers nothing",
       "inpaint MODEL test:1 --mask HERE/white.png": "covers everything",
       "inpaint MODEL test:1 --mask HERE/text.png": "text.png cannot be read",
       "interpolate MODEL": "give either --seeds 3,7 or --images",
       "interpolate MODEL --seeds 3,7 --images test:1 test:2": "give either --seeds 3,7 or "
       "--images", "interpolate MODEL --seeds 3": "give two seeds",
       "interpolate MODEL --seeds 3,7 --frames 1": "--frames 1: choose a number from 2",
       "interpolate MODEL --seeds 3,7 --sampler ddpm": "adds noise",
       "interpolate MODEL --seeds 3,7 --gif way.png": "end its name in .gif",
       "interpolate MODEL --images HERE/dot.gif test:1 --gif HERE/dot.gif": "dot.gif is given "
       "twice", "invert MODEL test:1 --iterations 0": "--iterations 0: choose a number from 1",
       "invert MODEL test:1 --guidance 2": "remove guidance",
       "invert MODEL test:1 --npz noise.csv": "end its name in .npz",
       "vary MODEL test:1 --strength 2": "choose a number from 0"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "text.png").write_text("hello")
    for name, colour in {"black": 0, "white": 255}.items():
        Image.new("L", (8, 8), colour).save(folder / f"{name}.png")
    dot = np.zeros((16, 16), dtype=np.uint8)
    dot[4:8, 4:8] = 255
    for kind in ("png", "gif"):
        Image.fromarray(dot).save(folder / f"dot.{kind}")
    Image.fromarray(
        255 - load("mnist")[1].images[0, 0].numpy()
    ).resize((60, 50)).save(folder / "page.png")
    return folder


@pytest.mark.parametrize("line", LINES)
def test_every_command_prints_its_errors_and_writes_what_it_names(
    line, nanoldm, trained_run, files
):
    done = nanoldm(*line.replace("MODEL", str(trained_run)).replace("HERE", str(files)).split(),
                   "--threads", 1)
    assert done.returncode == 0, done.stderr
    for text in LINES[line]:
        assert text.replace("HERE", str(files)) in done.stdout
    if "--npz" in line:
        with np.load(nanoldm.folder / "noise.npz") as arrays:
            assert (arrays["x_T"].shape, arrays["images"].shape) == ((4, 4, 6), (4, 8, 8))
    if "--gif" in line:
        assert Image.open(nanoldm.folder / "way.gif").n_frames == 7


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line_and_writes_nothing(line, trained_run, files, refused):
    refused(line.replace("MODEL", str(trained_run)).replace("HERE", str(files)), BAD[line])


def test_the_polarity_of_a_file_can_be_reversed_and_fitting_left_out(nanoldm, tmp_path):
    page = np.full((60, 60), 255, dtype=np.uint8)
    page[20:40, 26:34] = 0
    Image.fromarray(page).save(tmp_path / "page.png")
    mask = np.zeros((60, 60), dtype=np.uint8)
    mask[:, 30:] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    said = {}
    for option in ("", "--invert", "--no-fit"):
        done = nanoldm("inpaint", "mnist-fast", "page.png", "--mask", "mask.png", "--n", 1,
                       "--steps", 2, "--sampler", "ddim", *option.split(), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said[option] = done.stdout
    assert "inverted: images of the model are light on dark" in said[""]
    assert "(--no-fit and --invert change this)" in said[""]
    assert "not inverted, as asked" in said["--invert"]
    assert "60x60 grey -> resized to 28x28\n" in said["--no-fit"]
    assert all("its white pixels, cropped as the picture" in text for text in said.values())
