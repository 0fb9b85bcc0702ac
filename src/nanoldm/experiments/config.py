"""Every number of an experiment in one typed, frozen object. No torch here.

`recipe.replace(...)` changes fields with their checks. The experiments themselves are in `recipes.py`. A field that came after the
first models has as default what was meant before, so that runs and models of that time can still be read.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nanoldm.utils.limits import LARGEST_SEED, LARGEST_SIZE, MOST_IMAGES, MOST_TIMESTEPS

Length = Annotated[int, Field(gt=0, le=10**9)]          # of a training
Width = Annotated[int, Field(gt=0, le=16_384)]          # of a layer
Count = Annotated[int, Field(gt=0, le=1024)]            # of layers, heads, ...


class Config(BaseModel):
    """A frozen group of settings: unknown names and values out of range are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def replace(self, **changes: Any):
        """A checked copy with some fields changed; a dictionary changes fields of a group: replace(training={"epochs": 20})."""
        current = self.model_dump()
        for name, value in changes.items():
            current[name] = (current[name] or {}) | value if isinstance(value, dict) else value
        return type(self).model_validate(current)


class Data(Config):
    name: str                       # mnist, a torchvision set, folder:PATH
    size: Annotated[int, Field(gt=0, le=LARGEST_SIZE)] | None        # side of the images; None: the set's own
    holdout: Annotated[int, Field(ge=0, le=10**9)]  # training images set aside as the test set


class Autoencoder(Config):
    hidden_channels: Width
    latent_channels: Width
    levels: Annotated[int, Field(gt=0, le=16)] = 2         # halvings of the side; channels double with each


class Network(Config):
    kind: Literal["DiffusionNet", "Transformer"]
    width: Width
    depth: Count
    heads: Count
    hidden: Width             # width of the feed-forward layer
    dropout: Annotated[float, Field(ge=0, lt=1)]
    position: Literal["rope", "rope+learned"] = "rope"
    patch: Count = 1          # side of the squares of tokens that the blocks see as one


class Diffusion(Config):
    schedule: Literal["cosine", "linear", "rectified"]
    timesteps: Annotated[int, Field(gt=0, le=MOST_TIMESTEPS)]
    prediction: Literal["epsilon", "x0", "v", "flow"]
    loss_weighting: Literal["uniform", "min-snr"] = "uniform"
    timestep_distribution: Literal["uniform", "logit-normal"] = "uniform"
    label_dropout: Annotated[float, Field(gt=0, lt=1)] | None = None    # None: told none; else this share of labels or cells is left out
    cells: Annotated[int, Field(ge=2, le=2**20)] | None = None    # at most so many cells of the latent space instead of labels of the data

    @property
    def uses_labels(self) -> bool:
        """Whether the network is told the data's labels."""
        return self.label_dropout is not None and not self.cells

    @model_validator(mode="after")
    def cells_halved(self):
        if self.cells and self.cells.bit_count() > 1:
            raise ValueError(f"cells are halved again and again: give a power of two, such as {1 << self.cells.bit_length() - 1}")
        if self.cells and not self.label_dropout:
            raise ValueError("cells are labels, some of which are left out: give label_dropout too, such as 0.1, or leave both out (none)")
        return self


class Training(Config):
    optimizer: Literal["Adam", "AdamW", "Muon"]
    learning_rate: Annotated[float, Field(gt=0, le=1e30)]
    annealing: Literal["constant", "cosine"]    # cosine: to 0 over the whole run
    batch_size: Annotated[int, Field(gt=0, le=MOST_IMAGES)]
    epochs: Length | None           # the length is given in epochs or in steps
    steps: Length | None
    gradient_clip: Annotated[float, Field(gt=0, le=1e30)] | None
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None
    ema_power: Annotated[float, Field(gt=0, le=1e6)] | None = None      # instead of ema_decay: a window that grows with the run

    @model_validator(mode="after")
    def one_length(self):
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give the length of a training either in epochs or in steps")
        if self.ema_decay and self.ema_power:
            raise ValueError("give the EMA either a decay or a power")
        return self


class Recipe(Config):
    recipe: str
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)]
    budget: Annotated[float, Field(gt=0, le=3.6e6)] | None      # seconds for the whole run; it then decides the number of denoiser steps
    fast: bool = False              # whether its models are drawn by their few-step setting where nothing else is asked for
    data: Data
    autoencoder: Autoencoder
    autoencoder_training: Training
    network: Network
    diffusion: Diffusion
    training: Training


def flat(tree: dict, prefix: str = "") -> list[tuple[str, object]]:
    """Nested settings as a list of (dotted name, value)."""
    return [leaf for key, value in tree.items()
            for leaf in (flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)])]


def settings(recipe: Recipe) -> dict[str, object]:
    """Every field that can be changed, by its dotted name: all but the recipe's own name."""
    return {field: value for field, value in flat(recipe.model_dump()) if field != "recipe"}
