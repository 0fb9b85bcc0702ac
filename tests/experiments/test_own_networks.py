"""A denoising network of the user: found by name, trained, saved and read back."""

import pytest
import torch
from torch import nn

import nanoldm
from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.stages import denoiser_stage
from nanoldm.models import ConvAE, DiffusionNet, find_network, network_name
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.errors import InputError

TINY = {"training": {"steps": 4}, "autoencoder_training": {"steps": 4}}


@pytest.fixture(scope="module")
def images():
    return torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Normalised(nn.Module):
    """A network without our base class: no heads, no gates, BatchNorm with its buffers."""

    def __init__(self, tokens, channels, labels, width, **unused):
        super().__init__()
        self.config = dict(tokens=tokens, channels=channels, labels=labels, width=width)
        self.labels = labels
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(tokens * channels, width),
                                 nn.BatchNorm1d(width), nn.ReLU(),
                                 nn.Linear(width, tokens * channels))

    def forward(self, x_t, t, label=None):
        return self.net(x_t).view_as(x_t)


class Shapeless(nn.Module):
    """Takes latents of every shape."""

    def __init__(self, width, **unused):
        super().__init__()
        self.config = {"width": width}
        self.net = nn.Sequential(nn.Linear(1, width), nn.Linear(width, 1))

    def forward(self, x_t, t, label=None):
        return self.net(x_t[..., None])[..., 0]


class Careless(nn.Module):
    """Does not keep its arguments."""

    def __init__(self, **options):
        super().__init__()


def kind(network: type) -> str:
    return f"{__name__}:{network.__name__}"


def test_a_network_of_the_user_is_trained_saved_and_read_back(images, tmp_path):
    recipe = RECIPES["mnist-v"]().replace(**TINY, network={"kind": kind(Normalised), "width": 16})
    nanoldm.train(recipe, tmp_path / "run", data=(images, images[:9]), device="cpu")
    model = LatentDiffusion.from_pretrained(tmp_path / "run")
    network = model.denoiser.network
    assert isinstance(network, Normalised)
    assert network.net[2].num_batches_tracked == 4      # EMA weights have BatchNorm's statistics
    assert network.net[2].running_mean.any()
    assert model.generate(2, steps=2).isfinite().all()


def test_a_network_that_needs_no_shape_is_read_back(images, tmp_path):
    recipe = RECIPES["mnist-v"]().replace(**TINY, network={"kind": kind(Shapeless), "width": 16})
    nanoldm.train(recipe, tmp_path / "run", data=(images, images[:9]), device="cpu")
    network = LatentDiffusion.from_pretrained(tmp_path / "run").denoiser.network
    assert network.config == {"width": 16}


def test_our_networks_have_plain_names():
    assert network_name(DiffusionNet(width=16, depth=1, heads=2, hidden=16)) == "DiffusionNet"
    assert find_network("DiffusionNet") is DiffusionNet
    assert find_network(kind(Normalised)) is Normalised


@pytest.mark.parametrize(("name", "message"), [
    ("no_such_module:Net", "network no_such_module:Net cannot be imported .*PYTHONPATH"),
    (f"{__name__}:Absent", "cannot be imported"), (f"{__name__}:kind", "is not a class of torch"),
    ("__main__:Net", "is in the program itself"), ("Unet", "unknown network 'Unet'"),
])
def test_networks_that_cannot_be_found_are_errors(name, message):
    with pytest.raises(InputError, match=message):
        find_network(name)


def test_a_network_that_forgets_its_arguments_is_an_error():
    recipe = RECIPES["mnist"]().replace(network={"kind": kind(Careless)})
    with pytest.raises(InputError, match=r"keeps its own arguments in self\.config"):
        denoiser_stage(recipe, ConvAE(8), 0)
    with pytest.raises(InputError, match="Unet: choose DiffusionNet, Transformer or package"):
        recipe.replace(network={"kind": "Unet"})
