"""One seed, one stream."""

import numpy as np
import pytest
import torch

from nanoldm.utils.seeding import generator, seeded

SEEDS = 200_000


@pytest.mark.slow
def test_of_200_000_seeds_no_two_share_a_stream():
    first = [int(torch.empty(1, dtype=torch.int64).random_(generator=generator(seed)))
             for seed in range(SEEDS)]
    # of 63 bits each: two equal ones by chance have a probability of 2e-9
    assert len(set(first)) == SEEDS


def test_seeds_that_32_bits_cannot_tell_apart_give_different_noise():
    assert not torch.equal(torch.randn(4, generator=generator(14375)),
                           torch.randn(4, generator=generator(53572)))
    assert generator(14375).initial_seed() != generator(53572).initial_seed()


def test_a_stream_is_the_mersenne_twister_with_the_state_that_the_key_fills():
    words = np.random.PCG64(np.random.SeedSequence((3, 7))).random_raw(312).view(np.uint32)
    reference = np.random.RandomState()
    reference.set_state(("MT19937", words, 624))
    ours = torch.empty(2000, dtype=torch.int32).random_(generator=generator(3, 7)).numpy()
    assert (ours == (reference.randint(0, 2**32, 2000, dtype=np.uint64) & 0x7FFFFFFF)).all()


def test_noise_is_standard_normal_across_seeds_and_within_one():
    noise = torch.stack([torch.randn(64, generator=generator(seed)) for seed in range(4000)])
    for axis in (0, 1):
        spread = noise.mean(axis) * noise.shape[axis] ** 0.5
        assert spread.abs().max() < 5.5
    assert abs(noise.std().item() - 1) < 0.01


def test_global_samples_follow_the_key_and_the_state_is_put_back():
    before = torch.get_rng_state()
    with seeded(5, 1):
        sample = torch.randn(3)
    assert torch.equal(sample, torch.randn(3, generator=generator(5, 1)))
    assert torch.equal(torch.get_rng_state(), before)
