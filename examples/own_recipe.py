"""Train a recipe of your own from Python; the same call resumes a stopped run.

python examples/own_recipe.py [STEPS]
"""

import sys

from nanoldm import RECIPES, LatentDiffusion, Run
from nanoldm.utils.images import grid, save

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
recipe = RECIPES["mnist-fast"]().replace(recipe="small",
                                         network={"width": 96, "heads": 3, "hidden": 384,
                                                  "depth": 4}, training={"steps": steps},
                                         autoencoder_training={"steps": steps})
Run("runs/small", recipe).train()
save(grid(LatentDiffusion.from_pretrained("runs/small").generate(64)), "own_recipe.png")
print("wrote own_recipe.png")
