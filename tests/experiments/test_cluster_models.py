"""Clusters of the latents as pseudo-labels, from the recipe to the command line. Its user cannot
choose labels.
"""

import numpy as np
import pytest
import torch

from nanoldm import editing
from nanoldm.data import load
from nanoldm.data.clusters import cluster_count, cluster_latents
from nanoldm.editing.masks import fit_mask
from nanoldm.evaluation.samples import SampleSet
from nanoldm.experiments.config import Diffusion
from nanoldm.experiments.latents import load_or_make_clusters
from nanoldm.experiments.recipes import RECIPES
from nanoldm.experiments.stages import denoiser_stage, give_latents
from nanoldm.models import ConvAE
from nanoldm.pipeline.folders import RunFolder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float

CLUSTERS = ("--diffusion.clusters", 4, "--diffusion.label_dropout", 0.1)


@pytest.fixture(scope="module")
def run(nanoldm, tiny_options):
    finished = nanoldm("train", "mnist", *tiny_options, *CLUSTERS, "--steps", 12, "--out",
                       "clusters")
    assert finished.returncode == 0, finished.stderr
    return nanoldm.folder / "clusters"


@pytest.fixture(scope="module")
def model(run) -> LatentDiffusion:
    found = LatentDiffusion.from_pretrained(run)
    with torch.no_grad():
        found.denoiser.network.label.weight.mul_(200)  # after twelve steps it has learnt little
        for parameter in found.denoiser.network.parameters():
            if not parameter.any() or parameter.abs().max() < 0.02:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    return found


def test_clusters_are_learnt():
    """Latents of two kinds without labels: conditioned on the cluster, the network is far better
    than without.
    """
    latents = torch.tensor([1.0, -1.0]).repeat(64)[:, None, None].expand(-1, 4, 6).contiguous()
    recipe = RECIPES["mnist-conditional"]().replace(network={"width": 16, "heads": 2, "depth": 1},
                                                    diffusion={"prediction": "x0", "clusters": 2},
                                                    training={"learning_rate": 1e-2})
    stage = denoiser_stage(recipe, ConvAE(8), cluster_count(2, len(latents)))
    assert stage.loss_module.denoiser.labels == 2
    give_latents(stage, recipe, latents, cluster_latents(latents, 2))
    list(stage.run(600))
    denoise, x_t, t = stage.loss_module.denoiser.eval(), torch.zeros(2, 4, 6), torch.tensor([99])
    first, second = denoise(x_t, t, torch.tensor([0, 1])).x0.mean((1, 2))
    assert sorted([first.item(), second.item()]) == pytest.approx([-1, 1], abs=0.2)
    assert denoise(x_t, t).x0.abs().mean() < 0.5


def test_each_seed_has_a_cluster_and_all_occur(model):
    clusters = model.draw_labels(300)
    assert torch.bincount(clusters, minlength=4).min() > 45  # 75 expected, standard deviation 7.5
    images = model.generate([7, 8], steps=5)
    assert torch.equal(images, model.generate([7, 8], steps=5))
    assert not torch.equal(images, model.generate([7, 8], -1, steps=5))      # without a cluster


def test_it_has_no_classes_but_can_be_guided(model):
    assert model.classes == 0
    with pytest.raises(InputError, match="trained without labels"):
        model.generate([0], 0, steps=2)
    assert not torch.equal(model.generate([1], steps=5, guidance=3.0), model.generate([1], steps=5))
    with pytest.raises(InputError, match="guidance needs labels: remove guidance"):
        model.generate([1], -1, steps=5, guidance=3.0)


def test_edits_use_no_clusters(model):
    """So that they depend on the image, and an inversion returns to it."""
    image = to_float(load("mnist")[1].resize(8).images[:1])
    for edit in (lambda **options: editing.img2img(model, image, 50, range(2), steps=3, **options),
                 lambda **options: editing.inpaint(model, image, fit_mask("right", 8).masked,
                                                   range(2), steps=3, **options),
                 lambda **options: editing.vary(model, image, 0.2, range(2), steps=3, **options)):
        assert torch.equal(edit().images, edit(labels=-1).images)
    x_T, back = editing.invert(model, image, steps=20)
    assert (model.generate([5], -1, x_T=x_T, sampler="ddim", steps=20)
            - back.images).abs().max() < 1e-4


@pytest.mark.parametrize(("images", "clusters"), [(1, 0), (60, 0), (300, 4)])
def test_images_need_no_labels_and_few_of_them_make_fewer_clusters(images, clusters):
    recipe, latents = RECIPES["mnist-fast"](), torch.randn(images, 16, 8)
    stage = denoiser_stage(recipe, ConvAE(latent_channels=8, levels=3), cluster_count(1024, images))
    assert stage.loss_module.denoiser.labels == clusters
    give_latents(stage, recipe, latents, cluster_latents(latents, clusters))
    (step,) = stage.run(1)
    assert step.loss.isfinite()


def test_the_command_line_shows_a_model_without_labels(nanoldm, run):
    refused = nanoldm("sample", run, "--label", 3, "--n", 1)
    assert refused.returncode == 2
    assert "trained without labels" in refused.stderr
    assert nanoldm("sample", run, "--n", 2, "--steps", 2, "--npz", "clusters.npz").returncode == 0
    assert set(np.load(nanoldm.folder / "clusters.npz").files) == {"images"}
    assert "none (4 clusters)" in nanoldm("info", run).stdout


def test_its_images_are_judged_as_images_without_labels(model, tmp_path):
    samples = SampleSet(model, tmp_path / "samples.npz", range(8), Sampling(steps=2))
    assert (samples.image_set().labels == -1).all()


def test_a_resumed_run_keeps_its_clusters_even_if_its_latents_change(run):
    """Other threads or another torch change their last digits, and perhaps the number of a cluster.
    """
    file = RunFolder(run).checkpoint("clusters")
    first, second = (load_or_make_clusters(file, torch.randn(288, 4, 6), 4) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.bincount(first).tolist() == [72] * 4


@pytest.mark.parametrize(("fields", "message"),
                         [({"clusters": 6, "label_dropout": 0.1}, "a power of two, such as 4"),
                          ({"clusters": 4}, "give label_dropout too")])
def test_impossible_clusters_are_errors(fields, message):
    with pytest.raises(ValueError, match=message):
        Diffusion(schedule="cosine", timesteps=100, prediction="v", **fields)
