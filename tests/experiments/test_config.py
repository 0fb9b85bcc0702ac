"""The names in a recipe's types are those of the code that they choose from."""

from typing import get_args

import pytest
import torch

from nanoldm.diffusion import PREDICTIONS, SAMPLERS, SPACINGS
from nanoldm.diffusion.objective import WEIGHTINGS
from nanoldm.diffusion.schedule import TABLES
from nanoldm.diffusion.timesteps import DISTRIBUTIONS
from nanoldm.experiments.config import Diffusion, Network, SamplingFields, Training
from nanoldm.experiments.recipes import RECIPES
from nanoldm.models import NETWORKS
from nanoldm.models.network import POSITIONS
from nanoldm.training import make_optimizers


@pytest.mark.parametrize(("group", "field", "names"), [
    (Network, "position", POSITIONS), (Diffusion, "schedule", TABLES),
    (Diffusion, "prediction", PREDICTIONS), (Diffusion, "loss_weighting", WEIGHTINGS),
    (Diffusion, "timestep_distribution", DISTRIBUTIONS), (SamplingFields, "spacing", SPACINGS)])
def test_the_choices_of_a_field_are_the_registered_names(group, field, names):
    assert set(get_args(group.model_fields[field].annotation)) == set(names)


def test_the_choices_of_samplers_are_the_registered_names():
    choices, none = get_args(SamplingFields.model_fields["sampler"].annotation)
    assert none is type(None)
    assert set(get_args(choices)) == set(SAMPLERS)


@pytest.mark.parametrize("name", get_args(Training.model_fields["optimizer"].annotation))
def test_every_optimiser_can_be_made(name):
    module = torch.nn.Linear(2, 2)
    assert make_optimizers(name, module, 0.1, [module.weight])[0].param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_named(name):
    assert RECIPES["mnist"]().replace(network={"kind": name}).network.kind == name
