"""Train a recipe of your own from Python; the same call resumes a stopped run.

python examples/own_recipe.py [STEPS]        (other STEPS: remove runs/small first)
"""

import sys

from nanoldm import RECIPES, LatentDiffusion, train
from nanoldm.utils.images import grid, save

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
recipe = RECIPES["mnist-fast"]().replace(recipe="small",
                                         network={"width": 96, "heads": 3, "hidden": 384,
                                                  "depth": 4}, training={"steps": steps},
                                         autoencoder_training={"steps": steps})
train(recipe, "runs/small")
save(grid(LatentDiffusion.from_pretrained("runs/small").generate(64)), "own_recipe.png")
print("wrote own_recipe.png")
