"""The commands of nanoldm: each checks its options and calls one function. Signatures and docstrings are what `--help` shows."""

from nanoldm.commands.editing import img2img, inpaint, interpolate, invert, vary
from nanoldm.commands.making import denoise, export, sample, train
from nanoldm.commands.measuring import bench, compare, curves, doctor, evaluate, features, info
from nanoldm.commands.recipes import recipes

COMMANDS = {"recipes": recipes, "train": train, "sample": sample, "denoise": denoise, "img2img": img2img, "inpaint": inpaint,
            "interpolate": interpolate, "invert": invert, "vary": vary, "evaluate": evaluate, "compare": compare, "doctor": doctor,
            "curves": curves, "features": features, "bench": bench, "info": info, "export": export}
