import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nanoldm.models import DiffusionNet, DiTBlock, SinusoidalTimeEmbedding, Transformer
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator


def randn(*shape, key=0):
    return torch.randn(shape, generator=generator(key))


def awaken(module):
    """Give every linear layer random weights and biases, so that nothing is zero any more."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.2)
            nn.init.normal_(layer.bias, std=0.2)
    return module


def small_block(**options):
    return DiTBlock(16, heads=2, tokens=9, hidden=32, **options)


def small_network(kind=DiffusionNet, **options):
    return kind(tokens=9, channels=3, width=16, depth=2, heads=2, hidden=32, **options)


def linear(inputs, outputs):
    return inputs * outputs + outputs


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


# Time embedding


@pytest.mark.parametrize("dim", [4, 10, 128])
def test_the_time_embedding_is_its_formula(dim):
    half = dim // 2
    angles = [[t * 10000 ** (-i / (half - 1)) for i in range(half)] for t in range(100)]
    expected = torch.tensor([[*map(math.sin, row), *map(math.cos, row)] for row in angles])
    torch.testing.assert_close(SinusoidalTimeEmbedding(dim)(torch.arange(100)), expected, atol=1e-5,
                               rtol=0)


@pytest.mark.parametrize("dim", [0, 2, 3, 7])
def test_the_time_embedding_rejects_odd_and_tiny_widths(dim):
    with pytest.raises(InputError, match=f"got {dim}"):
        SinusoidalTimeEmbedding(dim)


def test_a_learned_mlp_four_times_as_wide_makes_the_conditioning_vector():
    time, t = small_network().time, torch.tensor([5, 60])
    hidden = F.silu(F.linear(SinusoidalTimeEmbedding(16)(t), time[1].weight, time[1].bias))
    assert hidden.shape == (2, 4 * 16)
    torch.testing.assert_close(time(t), F.linear(hidden, time[3].weight, time[3].bias))


# DiTBlock


def test_a_new_block_is_the_identity_for_every_conditioning():
    x = randn(4, 9, 16)
    assert torch.equal(small_block()(x, 10 * randn(4, 16, key=1)), x)


def test_a_block_is_adaln_zero_by_hand():
    block, x, c = awaken(small_block()), randn(4, 9, 16), randn(4, 16, key=1)
    vectors = F.linear(c / (1 + (-c).exp()), block.modulation[1].weight, block.modulation[1].bias)
    gamma_1, beta_1, alpha_1, gamma_2, beta_2, alpha_2 = (
        vectors[:, None, 16 * i : 16 * (i + 1)] for i in range(6)
    )

    def normalise(x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, correction=0)
                                                 + 1e-5).sqrt()

    h = x + alpha_1 * block.attention(normalise(x) * (1 + gamma_1) + beta_1)
    expected = h + alpha_2 * block.mlp(normalise(h) * (1 + gamma_2) + beta_2)
    torch.testing.assert_close(block(x, c), expected)


def test_the_feed_forward_is_linear_gelu_linear():
    mlp, x = small_block().mlp, randn(5, 16)
    h = F.linear(x, mlp[0].weight, mlp[0].bias)
    gelu = h * (1 + torch.erf(h / math.sqrt(2))) / 2
    torch.testing.assert_close(mlp(x), F.linear(gelu, mlp[2].weight, mlp[2].bias))


@pytest.mark.parametrize("other_gate", [5, 2], ids=["attention", "mlp"])
def test_dropout_falls_on_each_sublayer(other_gate):
    """With the other gate shut the change of x is alpha times the sublayer, each element of which
    is dropped or doubled at p = 1/2.
    """
    block, x, c = awaken(small_block(dropout=0.5)), randn(200, 9, 16), randn(200, 16, key=1)
    shut = slice(other_gate * 16, (other_gate + 1) * 16)
    block.modulation[1].weight.data[shut], block.modulation[1].bias.data[shut] = 0, 0
    undisturbed = block.eval()(x, c) - x
    large = undisturbed.abs() > 0.1
    ratio = ((block.train()(x, c) - x) / undisturbed)[large]
    doubled = ratio > 1
    torch.testing.assert_close(ratio, 2.0 * doubled, atol=1e-3, rtol=0)
    assert doubled.float().mean().item() == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(len(ratio)))


# DiffusionNet


def test_the_network_starts_at_zero():
    assert torch.equal(DiffusionNet()(randn(2, 49, 6), torch.tensor([0, 99])),
                       torch.zeros(2, 49, 6))


def test_the_reference_network_has_the_parameters_of_the_specification():
    width, hidden, channels = 128, 512, 6
    time = linear(width, 512) + linear(512, width)
    mlp = linear(width, hidden) + linear(hidden, width)
    block = 4 * linear(width, width) + mlp + linear(width, 6 * width)
    final = linear(width, 2 * width) + linear(width, channels)
    expected = linear(channels, width) + time + 4 * block + final
    assert parameters(DiffusionNet()) == expected == 1_353_734


def test_the_plain_transformer_has_norms_with_weights_in_place_of_modulation():
    width, hidden, channels = 128, 512, 6
    time = linear(width, 512) + linear(512, width)
    mlp = linear(width, hidden) + linear(hidden, width)
    block = 4 * linear(width, width) + mlp + 2 * (2 * width)
    expected = linear(channels, width) + time + 4 * block + 2 * width + linear(width, channels)
    assert parameters(Transformer()) == expected


def test_the_network_is_its_parts_in_the_order_of_the_specification():
    network, x_t, t = awaken(small_network()), randn(2, 9, 3), torch.tensor([3, 70])
    c = network.time(t)
    x = F.linear(x_t, network.in_proj.weight, network.in_proj.bias)
    for block in network.blocks:
        x = block(x, c)
    modulation = network.final_modulation[1]
    scale, shift = F.linear(F.silu(c), modulation.weight, modulation.bias)[:, None].chunk(2, -1)
    x = F.layer_norm(x, (16,)) * (1 + scale) + shift
    torch.testing.assert_close(network(x_t, t),
                               F.linear(x, network.out_proj.weight, network.out_proj.bias))


@pytest.mark.parametrize("kind", [DiffusionNet, Transformer])
def test_every_parameter_learns_once_the_zero_layers_are_not_zero(kind):
    """Every single number: no row of a stacked layer, no bias is left without a gradient."""
    network = awaken(small_network(kind))
    output = network(randn(8, 9, 3), torch.arange(1, 99, 13))
    (output * randn(8, 9, 3, key=1)).sum().backward()
    assert [name
            for name, parameter in network.named_parameters() if (parameter.grad == 0).any()] == []


@pytest.mark.parametrize("kind", [DiffusionNet, Transformer])
def test_at_the_start_the_gradient_reaches_the_output_layer_alone(kind):
    """The "Zero" of zero initialisation: the first step moves out_proj, and everything else
    follows.
    """
    network = small_network(kind)
    (network(randn(8, 9, 3), torch.arange(8)) - randn(8, 9, 3, key=1)).square().mean().backward()
    assert {
        name for name, parameter in network.named_parameters() if parameter.grad.any()
    } == {"out_proj.weight", "out_proj.bias"}


@pytest.mark.parametrize("kind", [DiffusionNet, Transformer])
def test_dropout_reaches_the_blocks_of_the_network_in_training_alone(kind):
    network, x, t = awaken(small_network(kind, dropout=0.5)), randn(2, 9, 3), torch.tensor([3, 70])
    assert not torch.equal(network(x, t), network(x, t))
    network.eval()
    assert torch.equal(network(x, t), network(x, t))


@pytest.mark.parametrize("kind", [DiffusionNet, Transformer])
def test_a_network_can_be_built_again_from_its_config_and_state(kind):
    network, x, t = awaken(small_network(kind)), randn(2, 9, 3), torch.tensor([3, 70])
    copy = kind(**network.config)
    copy.load_state_dict(network.state_dict())
    assert torch.equal(copy(x, t), network(x, t))


@pytest.mark.parametrize("kind", [DiffusionNet, Transformer])
def test_a_batch_may_share_one_timestep(kind):
    network, x = awaken(small_network(kind)), randn(5, 9, 3)
    torch.testing.assert_close(network(x, torch.tensor([70])), network(x, torch.full((5,), 70)))
    assert not torch.allclose(network(x, torch.tensor([3])), network(x, torch.full((5,), 70)))


def test_gates_are_the_mean_size_of_alpha_over_the_timesteps():
    network = small_network()
    assert network.gates(7) == [0] * 4
    expected = []
    for block in awaken(network).blocks:
        vectors = block.modulation[1](F.silu(network.time(torch.arange(7))))
        expected += [vectors[:, 16 * k : 16 * (k + 1)].abs().mean().item() for k in (2, 5)]
    assert network.gates(7) == pytest.approx(expected, abs=1e-5)
