"""Training with labels: batches that carry them, networks that learn them, data in which they are
missing.
"""

import pytest
import torch

from nanoldm.data import ImageSet
from nanoldm.diffusion import Denoiser, NoiseSchedule
from nanoldm.evaluation.class_scores import class_count, labelled
from nanoldm.experiments.batches import latent_batches
from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.stages import autoencoder_stage, denoiser_stage, give_latents, label_count
from nanoldm.models import ConvAE, DiffusionNet
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.errors import InputError


def test_batches_carry_the_labels_of_their_images_and_drop_the_share_asked_for():
    latents, labels = torch.arange(4000.0).view(4000, 1, 1), torch.arange(4000)
    batch = next(latent_batches(latents, 4000, 100, seed=0, labels=labels, label_dropout=0.25))
    kept = batch["label"] >= 0
    assert torch.equal(batch["label"][kept], batch["x0"].flatten().long()[kept])
    assert 0.22 < 1 - kept.double().mean() < 0.28           # 0.25 and four standard errors of 0.007


def test_labels_leave_latents_timesteps_and_noise_of_a_batch_alone():
    latents, labels = torch.randn(50, 4, 2), torch.arange(50)
    plain, labelled = (next(latent_batches(latents, 10, 100, 0, **options))
                       for options in ({}, {"labels": labels}))
    assert all(torch.equal(plain[name], labelled[name]) for name in ("x0", "t", "eps"))
    assert "label" not in plain


def test_a_recipe_with_labels_has_as_many_as_the_data_has_classes():
    def images(labels):
        return ImageSet(torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8), labels)

    recipe, letters = RECIPES["mnist-conditional"](), images(torch.arange(300) % 26)
    assert label_count(recipe, letters) == 26
    assert label_count(RECIPES["mnist"](), letters) == 0
    assert denoiser_stage(recipe, ConvAE(8), 26).loss_module.denoiser.labels == 26
    with pytest.raises(InputError, match="one subfolder per class"):
        label_count(recipe, images(torch.tensor([0, -1] * 150)))


def test_labels_are_learnt():
    """Two classes, each one single latent: with the label the network can be far better than
    without.
    """
    latents = torch.tensor(
        [[1.0] * 6, [-1.0] * 6]
    ).repeat(64, 1).view(128, 1, 6).expand(-1, 4, -1).contiguous()
    recipe = RECIPES["mnist-conditional"]().replace(network={"width": 16, "heads": 2, "depth": 1},
                                                    diffusion={"prediction": "x0"},
                                                    training={"learning_rate": 1e-2})
    stage = denoiser_stage(recipe, ConvAE(8), 2)
    give_latents(stage, recipe, latents, torch.tensor([0, 1] * 64))
    list(stage.run(150))
    x_t, t = torch.zeros(2, 4, 6), torch.tensor([99])
    x0 = stage.loss_module.denoiser.eval()(x_t, t, torch.tensor([0, 1])).x0
    torch.testing.assert_close(x0.mean((1, 2)), torch.tensor([1.0, -1.0]), atol=0.2, rtol=0)
    assert stage.loss_module.denoiser(x_t, t).x0.abs().mean() < 0.5         # without a label


def test_a_test_label_that_no_training_image_has_counts_as_none():
    network = DiffusionNet(width=16, depth=1, heads=2, hidden=16, labels=3)
    model = LatentDiffusion(ConvAE(), Denoiser(network, NoiseSchedule()), 3.0,
                            class_names={0: "cat", 2: "dog"})
    assert model.known_labels(torch.tensor([0, 1, 3, 2, -1])).tolist() == [0, -1, -1, 2, -1]
    model.pseudo_labels = True
    assert model.known_labels(torch.tensor([0, 1])).tolist() == [-1, -1]


def test_muon_needs_to_know_the_matrices():
    recipe = RECIPES["mnist-fast"]().replace(autoencoder_training={"optimizer": "Muon"})
    with pytest.raises(InputError, match="autoencoder has no method matrices"):
        autoencoder_stage(recipe, torch.zeros(4, 1, 8, 8, dtype=torch.uint8))


def test_without_dropout_there_would_be_no_network_without_label():
    with pytest.raises(InputError, match="label_dropout"):
        RECIPES["mnist-conditional"]().replace(diffusion={"label_dropout": 0})


@pytest.mark.parametrize(("train", "test", "classes", "whole"),
                         [([0, 1, 2], [0, 1], 3, True), ([0, 1], [0, 2], 3, True),
                          ([0, 0], [0], 1, False), ([0, 1], [-1, -1], 2, False)])
def test_classes_are_those_of_both_sets(train, test, classes, whole):
    sets = [ImageSet(torch.zeros(len(labels), 1, 4, 4, dtype=torch.uint8), torch.tensor(labels))
            for labels in (train, test)]
    assert class_count(*sets) == classes
    assert labelled(*sets) is whole
