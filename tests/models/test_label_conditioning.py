import pytest
import torch
from torch import nn

from nanoldm.models import NETWORKS
from nanoldm.models.embedding import LabelEmbedding, TimeEmbedder
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import seeded

SIZES = dict(tokens=9, channels=3, width=16, depth=2, heads=2, hidden=32)
KINDS = pytest.mark.parametrize("kind", NETWORKS)


def awake(kind, **options):
    """A network whose layers that start at zero do something."""
    with seeded(3), torch.no_grad():
        network = NETWORKS[kind](**SIZES, **options)
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.3)
        return network.eval()


def inputs():
    with seeded(4):
        return torch.randn(4, 9, 3), torch.tensor([5, 50, 70, 99])


def test_each_label_and_no_label_have_a_vector_of_their_own():
    embedding = LabelEmbedding(3, 8)
    vectors = embedding(torch.tensor([-1, 0, 1, 2]))
    assert torch.equal(vectors, embedding.weight)
    assert torch.equal(embedding(None), vectors[:1])


@KINDS
def test_the_label_changes_the_answer_for_its_own_image_alone(kind):
    network, (x_t, t) = awake(kind, labels=5), inputs()
    label = torch.tensor([0, 1, 2, 3])
    answer, other = network(x_t, t, label), network(x_t, t, torch.tensor([0, 4, 2, 3]))
    assert torch.allclose(answer[[0, 2, 3]], other[[0, 2, 3]], atol=1e-6)
    assert (answer[1] - other[1]).abs().max() > 1e-4


@KINDS
def test_no_label_is_label_minus_one(kind):
    network, (x_t, t) = awake(kind, labels=5), inputs()
    torch.testing.assert_close(network(x_t, t), network(x_t, t, torch.full((4,), -1)))
    shared = torch.tensor([70])
    torch.testing.assert_close(network(x_t, shared, torch.full((4,), 2)),
                               network(x_t, shared, torch.tensor([2])))


@KINDS
def test_a_network_without_labels_takes_no_label(kind):
    x_t, t = inputs()
    with pytest.raises(InputError, match="without labels"):
        awake(kind)(x_t, t, torch.zeros(4, dtype=torch.long))


@KINDS
def test_labels_and_position_leave_the_initial_weights_of_a_plain_network_alone(kind):
    """The reference recipe still starts from the weights it always had."""
    with seeded(7):
        plain = NETWORKS[kind](**SIZES).state_dict()
    with seeded(7):
        first = nn.ModuleDict({"in_proj": nn.Linear(3, 16), "time": TimeEmbedder(16)}).state_dict()
    assert all(torch.equal(plain[name], weight) for name, weight in first.items())
    assert not any(name.startswith(("label", "position")) for name in plain)
    assert {
        *awake(kind, labels=2, position="rope+learned").state_dict()
    } - plain.keys() == {"label.weight", "position"}


@KINDS
def test_only_learned_positions_show_the_network_where_a_token_is(kind):
    """Identical tokens are all answered alike by rotary positions, whose attention sees nothing but
    differences.
    """
    x_t, t = torch.ones(1, 9, 3), torch.tensor([30])
    spread = {position: awake(kind, position=position)(x_t, t).std(1).max().item()
              for position in ("rope", "rope+learned")}
    assert spread["rope"] < 1e-6
    assert spread["rope+learned"] > 1e-3


def test_an_unknown_position_embedding_is_an_error():
    with pytest.raises(InputError, match=r"rope\+learned"):
        NETWORKS["DiffusionNet"](**SIZES, position="learned")
