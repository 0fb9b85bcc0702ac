"""Train a network of your own: any torch module that keeps its arguments in `config`.

python examples/own_network.py [STEPS]        (other STEPS: remove runs/convnet first)
"""

import sys

from torch import nn

from nanoldm import RECIPES, LatentDiffusion, SinusoidalTimeEmbedding, train
from nanoldm.utils.images import grid, save


class ConvNet(nn.Module):
    """Residual convolutions on the grid of tokens, shifted by the time embedding."""

    def __init__(self, tokens, channels, width, depth, **unused):
        super().__init__()
        self.config = dict(tokens=tokens, channels=channels, width=width, depth=depth)
        self.side = int(tokens**0.5)
        self.time = nn.Sequential(SinusoidalTimeEmbedding(width), nn.Linear(width, width))
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.last = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x_t, t, label=None):
        h = self.first(x_t.transpose(1, 2).unflatten(2, (self.side, self.side)))
        for layer in self.layers:
            h = h + layer((h + self.time(t)[:, :, None, None]).relu())
        return self.last(h).flatten(2).transpose(1, 2)


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    recipe = RECIPES["mnist-v"]().replace(network={"kind": "own_network:ConvNet", "width": 64},
                                          training={"steps": steps},
                                          autoencoder_training={"steps": steps})
    train(recipe, "runs/convnet")
    save(grid(LatentDiffusion.from_pretrained("runs/convnet").generate(64)), "own_network.png")
