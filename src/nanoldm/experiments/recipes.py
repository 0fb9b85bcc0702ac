"""Recipes: one function per experiment, and recipes of files. Does not import torch.

`nanoldm recipes NAME` prints a docstring: a summary, then Command, Time (of that command) and Score
(Frechet distance to the test set; how each was measured: docs/measuring.md, docs/speedrun.md,
docs/ablations.md and docs/own-images.md).
"""

import json
from collections.abc import Callable
from pathlib import Path

from nanoldm.data.source import Data
from nanoldm.experiments.config import Autoencoder, Diffusion, Network, Recipe, Training
from nanoldm.utils.errors import InputError, check_choice
from nanoldm.utils.paths import user_path
from nanoldm.utils.text import one_line


def mnist() -> Recipe:
    """The reference: 4 AdaLN-Zero blocks on 49 tokens of 6 channels, epsilon-prediction.

    Command: nanoldm train mnist
    Time: 4 to 8 h
    Score: 4.5
    """
    return Recipe(recipe="mnist", seed=0, budget=None, data=Data(name="mnist"),
                  autoencoder=Autoencoder(hidden_channels=32, latent_channels=6),
                  autoencoder_training=Training(optimizer="Adam", learning_rate=1e-3,
                                                annealing="constant", batch_size=128, epochs=10,
                                                steps=None, gradient_clip=None, ema_decay=None),
                  network=Network(kind="DiffusionNet", width=128, depth=4, heads=4, hidden=512,
                                  dropout=0.0),
                  diffusion=Diffusion(schedule="cosine", timesteps=100, prediction="epsilon"),
                  training=Training(optimizer="AdamW", learning_rate=5e-4, annealing="cosine",
                                    batch_size=256, epochs=200, steps=None, gradient_clip=1.0,
                                    ema_decay=0.999))


def mnist_64() -> Recipe:
    """`mnist` with 64 latent channels, an expansion that the specification warns about.

    Command: nanoldm train mnist-64
    Time: as mnist
    Score: 106.6 after 20 min
    """
    return mnist().replace(recipe="mnist-64", autoencoder={"latent_channels": 64})


def mnist_additive() -> Recipe:
    """`mnist` with the plain Transformer: the time embedding is added to the tokens once.

    Command: nanoldm train mnist-additive
    Time: as mnist
    Score: 64.5 after 20 min
    """
    return mnist().replace(recipe="mnist-additive", network={"kind": "Transformer"})


def mnist_v() -> Recipe:
    """`mnist` with v-prediction, which determines x0 at every noise level.

    Command: nanoldm train mnist-v
    Time: as mnist
    Score: 23.6 after 20 min
    """
    return mnist().replace(recipe="mnist-v", diffusion={"prediction": "v"})


def mnist_flow() -> Recipe:
    """`mnist` as rectified flow, with more timesteps from the middle.

    Command: nanoldm train mnist-flow
    Time: as mnist
    Score: 18.4 after 20 min
    """
    flow = {"schedule": "rectified", "prediction": "flow", "timestep_distribution": "logit-normal"}
    return mnist().replace(recipe="mnist-flow", diffusion=flow)


def mnist_conditional() -> Recipe:
    """`mnist-v` conditioned on the digit, with smaller batches and twice the learning rate.

    Command: nanoldm train mnist-conditional
    Time: 74 min on one busy core
    Score: 5.2 after 20 min
    """
    return mnist_v().replace(recipe="mnist-conditional", diffusion={"label_dropout": 0.1},
                             network={"position": "rope+learned"},
                             training={"batch_size": 128, "learning_rate": 1e-3, "epochs": 12})


def mnist_fast() -> Recipe:
    """Good digits in half an hour: 16 tokens, Muon, pseudo-labels, v-prediction.

    What differs from `mnist` (what each gained: docs/ablations.md):

    - autoencoder: 3 levels make 16 tokens instead of 49; 12 latent channels, a wider network and
      many steps on small batches reconstruct digits that are nearly as good as real ones.
    - network: learned positions add what RoPE does not encode.
    - diffusion: v-prediction, more timesteps from the middle, and 1,024 clusters as pseudo-labels.
    - training: Muon with eight times the learning rate, and an EMA over the last tenth of the run.
    - sampling: 12 steps of ab3.
    - precision: bfloat16 where it is faster.

    Command: nanoldm train mnist-fast
    Time: 30 to 50 min
    Score: 0.59 after 13,000 steps
    """
    return mnist_v().replace(recipe="mnist-fast", precision="auto",
                             autoencoder={"hidden_channels": 64, "latent_channels": 12,
                                          "levels": 3},
                             autoencoder_training={"learning_rate": 4e-3, "batch_size": 32,
                                                   "epochs": 5, "annealing": "cosine"},
                             diffusion={"timestep_distribution": "logit-normal", "clusters": 1024,
                                        "label_dropout": 0.1},
                             network={"position": "rope+learned"},
                             training={"optimizer": "Muon", "learning_rate": 4e-3, "epochs": 60,
                                       "ema_decay": None, "ema_power": 6.94},
                             sampling={"sampler": "ab3", "steps": 12, "spacing": "shifted"})


def mnist_fast_conditional() -> Recipe:
    """`mnist-fast` conditioned on the digit instead of a cluster.

    Command: nanoldm train mnist-fast-conditional
    Time: 30 to 50 min
    Score: 0.37 after 18,000 steps at 8e-3
    """
    return mnist_fast().replace(recipe="mnist-fast-conditional", diffusion={"clusters": None})


def fashion_fast() -> Recipe:
    """`mnist-fast-conditional` on Fashion-MNIST: ten kinds of clothes.

    Reads Debian's package dataset-fashion-mnist, or downloads 30 MB.

    Command: nanoldm train fashion-fast
    Time: 55 min on one core
    Score: 3.8, own features
    """
    return mnist_fast_conditional().replace(recipe="fashion-fast", data={"name": "fashion-mnist"})


def shapes() -> Recipe:
    """`mnist-fast-conditional` on coloured shapes, which the program draws: 32x32 RGB, 12 classes.

    Command: nanoldm train shapes
    Time: 18 min on one core
    Score: 3.1, own features
    """
    return mnist_fast_conditional().replace(recipe="shapes", data={"name": "shapes"})


def dit_s() -> Recipe:
    """DiT-S of Peebles and Xie on CIFAR-10 with labels, for a GPU. Downloads; not trained yet.

    33 M parameters, 64 tokens. Your own images: --data folder:PATH --size 64. Several GPUs:
    --processes N.

    Command: nanoldm train dit-s
    Time: not measured
    Score: not measured
    """
    return mnist_v().replace(recipe="dit-s", data={"name": "cifar10"}, precision="auto",
                             autoencoder={"hidden_channels": 128, "latent_channels": 8},
                             autoencoder_training={"epochs": 40, "annealing": "cosine"},
                             diffusion={"label_dropout": 0.1},
                             network={"width": 384, "depth": 12, "heads": 6, "hidden": 1536,
                                      "position": "rope+learned"},
                             training={"epochs": 1000, "learning_rate": 3e-4, "ema_decay": 0.9999})


def dit_b() -> Recipe:
    """DiT-B: `dit-s` twice as wide, 133 M parameters. Not trained yet.

    Command: nanoldm train dit-b
    Time: not measured
    Score: not measured
    """
    return dit_s().replace(recipe="dit-b",
                           network={"width": 768, "heads": 12, "hidden": 3072})


RECIPES: dict[str, Callable[[], Recipe]] = {
    make.__name__.replace("_", "-"): make
    for make in (mnist_fast, mnist_fast_conditional, mnist, mnist_v, mnist_flow,
                 mnist_conditional, mnist_64, mnist_additive, fashion_fast, shapes, dit_s, dit_b)
}


def find_recipe(name: str) -> Callable[[], Recipe]:
    """The function of a recipe. Raises InputError that lists all names."""
    check_choice("recipe", name, RECIPES)
    return RECIPES[name]


def load_recipe(source: str | Path) -> Recipe:
    """A recipe by name, or of a JSON file: the recipe.json of a run, or changes of a recipe.

    For example:

        {"recipe": "mnist-fast", "training": {"batch_size": 128}}

    A file with changes has the name of the file. Raises InputError.
    """
    if not str(source).endswith(".json"):
        return find_recipe(str(source))()
    path = user_path(source)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        base = content.pop("recipe")
        known = base in RECIPES
    except OSError:
        raise InputError(f"there is no recipe {path}: give a name of `nanoldm recipes`, or the "
                         "path of a JSON file") from None
    except (ValueError, RecursionError, LookupError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is not a recipe ({one_line(error)}): write "
                         '{"recipe": NAME, ...}, or copy the recipe.json of a run') from None
    name = base if path.stem == "recipe" else path.stem
    if not known and "training" not in content:
        raise InputError(f"{path} changes the recipe {base!r}, which does not exist: choose one of "
                         f"{', '.join(RECIPES)}")
    try:
        return RECIPES[base]().replace(recipe=name, **content) if known else Recipe(
            recipe=name, **content)
    except (InputError, TypeError) as error:
        raise InputError(f"{path}: {error}") from None
