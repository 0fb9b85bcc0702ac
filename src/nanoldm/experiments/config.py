"""Every setting of an experiment in one typed, frozen object. Does not import torch.

`recipe.replace(...)` changes fields with their checks. The recipes are in `recipes.py`. The comment
above a field is the help text of its option.
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_serializer, model_validator
from tyro.conf import Suppress

from nanoldm.data.source import Data, absolute
from nanoldm.pipeline.folders import absolute_model
from nanoldm.utils.config import Config
from nanoldm.utils.limits import (
    LARGEST_SEED,
    LONGEST_BUDGET,
    MOST_GUIDANCE,
    MOST_IMAGES,
    MOST_TIMESTEPS,
)

Length = Annotated[int, Field(gt=0, le=10**9)]  # of a training
Width = Annotated[int, Field(gt=0, le=16_384)]  # of a layer
Count = Annotated[int, Field(gt=0, le=1024)]  # of layers, heads, ...
Share = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1e30)]
MOST_PASSES, PAIRS, STUDENT_STEPS = 8, 60_000, 4000  # of a student: passes, images, training
SAMPLERS = Literal["ddpm", "ddpm-posterior", "ddpm-repaint", "ddim", "heun", "dpm++2m", "ab2",
                   "ab3", "ab4"]


class Autoencoder(Config):
    """The convolutional autoencoder."""

    # Channels of the first hidden layer; they double at every level.
    hidden_channels: Width
    # Channels of a latent token.
    latent_channels: Width
    # How often the side of the image is halved.
    levels: Annotated[int, Field(gt=0, le=16)] = 2


class Network(Config):
    """The denoising network."""

    # DiffusionNet (AdaLN-Zero), Transformer (time added once), or package.module:Class of your own.
    kind: str
    # Width of a token.
    width: Width
    # Number of blocks.
    depth: Count
    # Attention heads; width must be a multiple.
    heads: Count
    # Width of the feed-forward layer.
    hidden: Width
    # Probability of dropout.
    dropout: Annotated[float, Field(ge=0, lt=1)]
    # rope encodes distances between tokens, rope+learned also their absolute positions.
    position: Literal["rope", "rope+learned"] = "rope"
    # Side of the squares of tokens that the blocks process as one.
    patch: Count = 1

    @field_validator("kind")
    @classmethod
    def check_kind(cls, kind: str) -> str:
        if kind not in ("DiffusionNet", "Transformer") and not re.fullmatch(r"[\w.]+:\w+", kind):
            raise ValueError("choose DiffusionNet, Transformer or package.module:Class of your own")
        return kind


class Diffusion(Config):
    """Noise schedule, prediction target and conditioning."""

    # Noise schedule.
    schedule: Literal["cosine", "linear", "rectified"]
    # T, the number of timesteps.
    timesteps: Annotated[int, Field(gt=0, le=MOST_TIMESTEPS)]
    # What the network predicts.
    prediction: Literal["epsilon", "x0", "v", "flow"]
    # Weights of the timesteps in the loss.
    loss_weighting: Literal["uniform", "min-snr"] = "uniform"
    # Distribution of the timesteps in training.
    timestep_distribution: Literal["uniform", "logit-normal"] = "uniform"
    # Label dropout for classifier-free guidance; None: unconditional.
    label_dropout: Share | None = None
    # Number of clusters, which replace the labels of the data (pseudo-labels), a power of two.
    clusters: Annotated[int, Field(ge=2, le=2**20)] | None = None

    @property
    def uses_labels(self) -> bool:
        """Whether the network is conditioned on the labels of the data."""
        return self.label_dropout is not None and not self.clusters

    @model_validator(mode="after")
    def check_clusters(self):
        if self.clusters and self.clusters.bit_count() > 1:
            power = 1 << self.clusters.bit_length() - 1
            raise ValueError(f"clusters must be a power of two, such as {power}")
        if self.clusters and not self.label_dropout:
            raise ValueError("clusters are labels: give label_dropout too, such as 0.1, or remove "
                             "clusters")
        return self


class Training(Config):
    """One of the two trainings."""

    # Muon treats weight matrices; AdamW the other parameters.
    optimizer: Literal["Adam", "AdamW", "Muon"]
    # Learning rate of the first step.
    learning_rate: Rate
    # cosine: the learning rate falls to 0 over the whole training.
    annealing: Literal["constant", "cosine"]
    # Images per step.
    batch_size: Annotated[int, Field(gt=0, le=MOST_IMAGES)]
    # Length in epochs, unless steps is given.
    epochs: Length | None
    # Length in steps, which takes precedence over epochs.
    steps: Length | None
    # Largest norm of the gradient (None: no limit).
    gradient_clip: Rate | None
    # Decay of the EMA (None: no EMA, or ema_power).
    ema_decay: Share | None
    # Power of an EMA whose window grows with the run, instead of ema_decay.
    ema_power: Annotated[float, Field(gt=0, le=1e6)] | None = None

    @model_validator(mode="after")
    def check_length(self):
        if self.epochs is None and self.steps is None:
            raise ValueError("give the length of the training in epochs or in steps")
        if self.ema_decay and self.ema_power:
            raise ValueError("give the EMA either a decay or a power")
        return self


class SamplingFields(Config):
    """Sampling settings of the trained model."""

    # Sampler (None: ddpm, or ddim for the rectified schedule).
    sampler: SAMPLERS | None = None
    # Sampling steps (None: all timesteps).
    steps: Length | None = None
    # Timestep spacing.
    spacing: Literal["trailing", "log-snr", "shifted"] = "trailing"


class Distillation(Config):
    """A student of another model."""

    # The teacher: a bundled name, a run folder or an exported folder.
    teacher: str
    # SHA-256 of the teacher's network.
    network_sha256: str
    # Images of the teacher that the student learns.
    pairs: Annotated[int, Field(gt=0, le=MOST_IMAGES)]
    # How the teacher makes them.
    sampling: SamplingFields
    # Guidance scale of the teacher.
    guidance: Annotated[float, Field(ge=0, le=MOST_GUIDANCE)] = 1.0


class Recipe(Config):
    """An experiment: data, networks, diffusion, trainings."""

    recipe: Suppress[str]
    # Seed of initial weights, order of the data and noise.
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)]
    # Wall time of the whole run, such as 90s, 10m or 1h30m (in a file: seconds): decides the steps
    # of the denoiser.
    budget: Annotated[float, Field(gt=0, le=LONGEST_BUDGET)] | None
    # Of the denoiser: fp32; bf16 (matrix products in bfloat16, weights in float32); tf32 (for CUDA
    # GPUs); or auto, the faster of fp32 and bf16 on this machine, measured when the run starts.
    precision: Literal["fp32", "tf32", "bf16", "auto"] = "fp32"
    # The images.
    data: Data
    # Take the trained autoencoder of this run or model, instead of training one.
    autoencoder_from: str | None = None
    # The convolutional autoencoder.
    autoencoder: Autoencoder
    # Training of the autoencoder.
    autoencoder_training: Training
    # The denoising network.
    network: Network
    # Noise schedule, prediction target and conditioning.
    diffusion: Diffusion
    # Training of the denoiser.
    training: Training
    # How the trained model samples.
    sampling: SamplingFields = SamplingFields()
    # Of a student (`nanoldm distill`).
    distillation: Suppress[Distillation | None] = None

    @model_serializer(mode="wrap")
    def without_empty_group(self, dump: Callable) -> dict[str, Any]:
        """The fields; those of a student only if it is one."""
        fields = dump(self)
        if not self.distillation:
            del fields["distillation"]
        return fields

    @property
    def passes(self) -> int:
        """How often a training step calls the network."""
        return self.sampling.steps if self.distillation else 1

    def examples(self, images: int) -> int:
        """How many examples the denoiser trains on, with so many training images."""
        return self.distillation.pairs if self.distillation else images

    @model_validator(mode="after")
    def check_student(self):
        own = self.sampling
        if self.distillation and (own.sampler != "ddim"
                                  or own.steps not in range(1, MOST_PASSES + 1)):
            raise ValueError(f"a student samples with 1 to {MOST_PASSES} steps of ddim")
        return self

    def with_absolute_paths(self) -> "Recipe":
        """The recipe with the absolute paths of images and of another run."""
        source = self.autoencoder_from
        return self.replace(data={"name": absolute(self.data.name)},
                            autoencoder_from=source and absolute_model(source))
