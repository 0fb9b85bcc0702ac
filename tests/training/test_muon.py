import pytest
import torch
from torch import nn

from nanoldm.diffusion import Denoiser, DenoisingLoss, NoiseSchedule
from nanoldm.models import DiffusionNet
from nanoldm.training import load_checkpoint, save_checkpoint
from nanoldm.training.muon import Muon, make_optimizers, orthogonalised
from nanoldm.utils.seeding import generator


def randn(*shape, key=0):
    return torch.randn(shape, generator=generator(key))


class Net(nn.Module):
    """Three hidden matrices for Muon, of two shapes, and parameters of other kinds."""

    def __init__(self):
        super().__init__()
        self.net = nn.Module()
        self.net.blocks = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 12),
                                        nn.Tanh(), nn.Linear(12, 20))
        self.net.out = nn.Linear(20, 3)
        with torch.no_grad():
            for k, p in enumerate(self.parameters()):
                p.copy_(randn(*p.shape, key=k))

    def forward(self, x):
        return self.net.out(self.net.blocks(x).tanh())

    def matrices(self):
        return [self.net.blocks[k].weight for k in (0, 2, 4)]


def muon(model):
    return make_optimizers("Muon", model, 1e-2, model.matrices())


@pytest.mark.parametrize("shape", [(2, 16, 16), (3, 16, 48), (3, 48, 16)])
def test_singular_values_come_close_to_one_and_their_directions_stay(shape):
    matrices = randn(*shape) * torch.tensor([1.0, 100.0, 0.01])[: shape[0], None, None]
    found = orthogonalised(matrices)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3
    assert values.max() < 1.3
    U, _, Vh = torch.linalg.svd(matrices, full_matrices=False)
    turned = U.mT @ found @ Vh.mT  # diagonal in the matrix's own directions
    assert (turned - torch.diag_embed(turned.diagonal(dim1=1, dim2=2))).abs().max() < 1e-3


@pytest.mark.parametrize("shape", [(2, 16, 16), (3, 16, 48), (3, 48, 16)])
def test_products_in_bf16_change_it_by_their_rounding_alone(shape):
    matrices = randn(*shape)
    exact, rounded = orthogonalised(matrices), orthogonalised(matrices, "bf16")
    assert rounded.dtype == torch.float32
    error = (rounded - exact).norm() / exact.norm()
    assert 0 < error < 8 * 2**-8  # 8 roundings of bfloat16


def steps(optimizers, model, count=5):
    for k in range(count):
        model.zero_grad()
        (model(randn(32, 12, key=100 + k)) - 1).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has it from 2.9 on")
def test_hidden_matrices_are_updated_as_by_torchs_muon():
    """Up to bfloat16, in which torch iterates: 3 significant digits of each step."""
    ours, theirs = Net(), Net()
    for model in (ours, theirs):
        for name, p in model.named_parameters():
            p.requires_grad_("blocks" in name and "weight" in name)
    starts = [matrix.detach().clone() for matrix in ours.matrices()]
    steps(muon(ours), ours)
    steps([torch.optim.Muon(theirs.matrices(), lr=1e-2, weight_decay=0.01,
                            adjust_lr_fn="match_rms_adamw")], theirs)
    for a, b, start in zip(ours.matrices(), theirs.matrices(), starts, strict=True):
        assert (a - b).norm() < 0.03 * (b - start).norm()


def test_state_survives_a_checkpoint(tmp_path):
    whole, resumed = Net(), Net()
    optimizer, again = muon(whole), muon(resumed)
    steps(optimizer, whole, 3)
    save_checkpoint(tmp_path / "c.safetensors", 3, whole, optimizer)
    load_checkpoint(tmp_path / "c.safetensors", resumed, again)
    for model, chosen in ((whole, optimizer), (resumed, again)):
        steps(chosen, model, 4)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_only_the_matrices_of_attention_and_feed_forward_use_muon():
    """Embeddings, projections to and from the tokens, and modulations, which start at zero, use
    AdamW.
    """
    loss = DenoisingLoss(Denoiser(DiffusionNet(width=16, depth=2, heads=2, hidden=32, labels=3),
                                  NoiseSchedule()))
    matrices = loss.denoiser.network.matrices()
    optimizers = make_optimizers("Muon", loss, 1e-3, matrices)
    assert [type(optimizer) for optimizer in optimizers] == [Muon, torch.optim.AdamW]
    hidden, rest = (optimizer.param_groups[0]["params"] for optimizer in optimizers)
    assert len(hidden) == 2 * 4  # qkv, out and the two of the MLP in each block
    assert len(hidden) + len(rest) == len(list(loss.parameters()))
