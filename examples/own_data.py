"""Train on images of your own: here 16x16 shapes in colour that the program draws, with labels.

python examples/own_data.py [STEPS]        (other STEPS: remove runs/shapes first)
"""

import sys

from PIL import Image, ImageDraw
from torch.utils.data import Dataset

from nanoldm import RECIPES, LatentDiffusion, train
from nanoldm.utils.images import grid, save


class Shapes(Dataset):
    """(PIL image, class): a map-style dataset like those of torchvision."""

    classes = ("disc", "square", "triangle")

    def __len__(self):
        return 3000

    def __getitem__(self, k):
        image = Image.new("RGB", (16, 16), "white")
        draw, x, y, r = ImageDraw.Draw(image), 5 + k % 7, 5 + k // 7 % 7, 2 + k % 4
        colour = tuple((k * factor) % 200 for factor in (37, 59, 83))
        shape = (draw.ellipse, draw.rectangle, draw.polygon)[k % 3]
        corners = [(x - r, y + r), (x, y - r), (x + r, y + r)]
        shape(corners if k % 3 == 2 else [x - r, y - r, x + r, y + r], fill=colour)
        return image, k % 3


steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
recipe = RECIPES["mnist-conditional"]().replace(recipe="shapes", training={"steps": steps},
                                                autoencoder_training={"steps": steps})
train(recipe, "runs/shapes", data=(Shapes(), Shapes()))  # you: other images to test with
model = LatentDiffusion.from_pretrained("runs/shapes")
save(grid(model.generate(24, labels=["disc", "square", "triangle"] * 8), rows=3), "own_data.png")
