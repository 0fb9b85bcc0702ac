"""The commands of nanoldm: each checks its options and calls one function. Signatures and docstrings are what `--help` shows."""

from nanoldm.cli.edit import img2img, inpaint, interpolate, invert, vary
from nanoldm.cli.making import denoise, export, sample, train
from nanoldm.cli.measure import compare, curves, doctor, evaluate, features, info
from nanoldm.cli.recipes import recipes

COMMANDS = {"recipes": recipes, "train": train, "sample": sample, "denoise": denoise, "img2img": img2img, "inpaint": inpaint,
            "interpolate": interpolate, "invert": invert, "vary": vary, "evaluate": evaluate, "compare": compare, "doctor": doctor,
            "curves": curves, "features": features, "info": info, "export": export}
