import itertools

import pytest
import torch

from nanoldm.experiments.batches import image_batches, latent_batches
from nanoldm.training.batches import epoch_length
from nanoldm.utils.seeding import generator

LATENTS = torch.arange(23.0).view(23, 1, 1).expand(23, 4, 2)  # the value tells which latent it is
IMAGES = torch.arange(23, dtype=torch.uint8).view(23, 1, 1, 1).expand(23, 1, 4, 4)


def take(batches, count):
    return list(itertools.islice(batches, count))


def test_an_epoch_visits_every_image_once_but_for_a_remainder_smaller_than_a_batch():
    epochs = take(image_batches(IMAGES, batch_size=5, seed=0), 8)
    for epoch in (epochs[:4], epochs[4:]):
        seen = torch.cat([batch["image"][:, 0, 0, 0] for batch in epoch]) * 255
        assert len(seen.unique()) == 20
    # another order in the next epoch
    assert not torch.equal(epochs[0]["image"], epochs[4]["image"])


def test_batches_from_step_k_are_those_of_an_unbroken_run():
    whole = take(latent_batches(LATENTS, 5, 100, seed=3), 12)
    for start in (1, 4, 7):                         # in the first epoch, at its end, in the second
        for ours, theirs in zip(take(latent_batches(LATENTS, 5, 100, seed=3, start=start),
                                     12 - start), whole[start:], strict=True):
            assert all(torch.equal(ours[name], theirs[name]) for name in ("x0", "t", "eps"))


def test_another_seed_gives_another_order_other_timesteps_and_other_noise():
    first, second = (next(latent_batches(LATENTS, 20, 100, seed)) for seed in (0, 1))
    assert all(not torch.equal(first[name], second[name]) for name in ("x0", "t", "eps"))


def test_timesteps_are_uniform_and_noise_is_standard_normal():
    batches = take(latent_batches(torch.zeros(1000, 4, 2), 1000, 10, seed=0), 20)
    counts = torch.bincount(torch.cat([batch["t"] for batch in batches]), minlength=11)
    assert counts[10] == 0
    assert (counts[:10] - 2000).abs().max() < 5 * (20000 * 0.1 * 0.9) ** 0.5  # five standard errors
    eps = torch.cat([batch["eps"].flatten() for batch in batches])
    assert abs(eps.mean()) < 5 / len(eps) ** 0.5
    assert abs(eps.var() - 1) < 5 * (2 / len(eps)) ** 0.5


def test_images_become_floats_between_0_and_1():
    image = next(image_batches(torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1), 3,
                               seed=0))["image"]
    assert sorted(image.flatten().tolist()) == [0.0, torch.tensor(51 / 255).item(), 1.0]


def test_a_set_smaller_than_a_batch_is_one_batch():
    assert epoch_length(23, 256) == 1
    assert len(next(image_batches(IMAGES, 256, seed=0))["image"]) == 23


@pytest.mark.parametrize("keys",
                         [[(0,), (1,), (2**32,), (2**32 + 1,)],
                          [(0, 0), (0, 1), (1, 0), (1, 1), (2**31, 1)]])
def test_streams_with_different_keys_differ_even_beyond_32_bits(keys):
    draws = {torch.randn(4, generator=generator(*key)).numpy().tobytes() for key in keys}
    assert len(draws) == len(keys)


def test_logit_normal_timesteps_are_the_sigmoid_of_a_gaussian():
    batches = take(latent_batches(torch.zeros(1000, 4, 2), 1000, 100, seed=0,
                                  distribution="logit-normal"), 20)
    t = torch.cat([batch["t"] for batch in batches])
    assert 0 <= t.min() < 8
    assert 92 < t.max() <= 99
    for quantile in (0.1, 0.25, 0.5, 0.75, 0.9):
        expected = 100 * torch.distributions.Normal(0,
                                                    1).icdf(torch.tensor(quantile)).sigmoid().item()
        assert t.double().quantile(quantile).item() == pytest.approx(expected, abs=1.5)
