"""The peers of the race train and sample, each with its library."""

import sys
from itertools import count
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import peers

IMAGES = torch.zeros(64, 1, 28, 28, dtype=torch.uint8)
IMAGES[..., 10:18, 10:18] = 255


@pytest.mark.slow
@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_learns_and_samples(name, monkeypatch):
    monkeypatch.setattr(peers, "STEPS", 2)
    monkeypatch.setattr(peers, "BATCH", 8)
    clock = count()
    monkeypatch.setattr(peers.time, "monotonic", lambda: next(clock))  # a step takes a second
    torch.manual_seed(0)
    peer = peers.PEERS[name]()
    before = [parameter.clone() for parameter in peer.network.parameters()]
    assert peers.train(peer, IMAGES, seconds=3) == 3
    changed = [not torch.equal(a, b)
               for a, b in zip(before, peer.network.parameters(), strict=True)]
    assert sum(changed) > 0.9 * len(changed)
    images = peers.generate(peer, 3, batch=2)
    assert images.shape == (3, 1, 28, 28)
    assert images.dtype == torch.uint8
    assert images.unique().numel() > 10
