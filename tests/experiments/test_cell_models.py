"""Cells of the latent space in place of labels, from the recipe to the command line. To its user such a model knows no labels."""

import numpy as np
import pytest
import torch

from nanoldm import editing
from nanoldm.data import load
from nanoldm.editing.masks import fit_mask
from nanoldm.evaluation.samples import Drawing
from nanoldm.experiments.config import Diffusion
from nanoldm.experiments.overrides import override
from nanoldm.experiments.stages import denoiser_stage
from nanoldm.experiments.train import load_or_make_clusters
from nanoldm.models import NETWORKS
from nanoldm.pipeline.folders import RunFolder
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.errors import InputError
from nanoldm.utils.images import to_float

CELLS = ("--set", "diffusion.cells=4", "--set", "diffusion.label_dropout=0.1")


@pytest.fixture(scope="module")
def run(nanoldm, tiny_options):
    finished = nanoldm("train", "mnist", *tiny_options, *CELLS, "--steps", 12, "--out", "cells")
    assert finished.returncode == 0, finished.stderr
    return nanoldm.folder / "cells"


@pytest.fixture(scope="module")
def model(run) -> LatentDiffusion:
    found = LatentDiffusion.from_pretrained(run)
    with torch.no_grad():
        found.denoiser.network.label.weight.mul_(200)            # twelve steps have taught it little
        for parameter in found.denoiser.network.parameters():
            if not parameter.any() or parameter.abs().max() < 0.02:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    return found


def test_cells_are_learnt():
    """Latents of two kinds, and nobody says which: told the cell, the network can be far better than without."""
    latents = torch.tensor([1.0, -1.0]).repeat(64)[:, None, None].expand(-1, 4, 6).contiguous()
    recipe = override("mnist-conditional", {"diffusion.cells": "2"}, steps=600).replace(
        network={"width": 16, "heads": 2, "depth": 1}, diffusion={"prediction": "x0"}, training={"learning_rate": 1e-2})
    stage = denoiser_stage(recipe, latents)
    assert (stage.loss_module.denoiser.cells, stage.loss_module.denoiser.classes) == (2, 0)
    list(stage.run())
    denoise, x_t, t = stage.loss_module.denoiser.eval(), torch.zeros(2, 4, 6), torch.tensor([99])
    first, second = denoise(x_t, t, torch.tensor([0, 1])).x0.mean((1, 2))
    assert sorted([first.item(), second.item()]) == pytest.approx([-1, 1], abs=0.2)
    assert denoise(x_t, t).x0.abs().mean() < 0.5


def test_each_seed_draws_a_cell_and_all_come_up(model):
    told = model.told(range(300), None, Sampling())
    assert torch.bincount(told, minlength=4).min() > 45       # 75 expected, deviation 7.5
    drawn = model.generate([7, 8], 5)
    assert torch.equal(drawn, model.generate([7, 8], 5))
    assert not torch.equal(drawn, model.generate([7, 8], 5, labels=-1))      # told none


def test_it_knows_no_labels_but_can_be_guided(model):
    assert model.labels(range(4)) is None
    with pytest.raises(InputError, match="trained without labels"):
        model.generate([0], 2, labels=0)
    assert not torch.equal(model.generate([1], 5, guidance=3.0), model.generate([1], 5))
    with pytest.raises(InputError, match="none is told here: leave guidance out"):
        model.generate([1], 5, labels=-1, guidance=3.0)


def test_edits_go_without_cells(model):
    """So that they depend on the image, and an inversion leads back."""
    image = to_float(load("mnist")[1].resize(8).images[:1])
    for edit in (lambda **told: editing.img2img(model, image, 50, range(2), steps=3, **told),
                 lambda **told: editing.inpaint(model, image, fit_mask("right", 8).painted, range(2), steps=3, **told),
                 lambda **told: editing.vary(model, image, 0.2, range(2), steps=3, **told)):
        assert torch.equal(edit().images, edit(labels=-1).images)
    x_T, back = editing.invert(model, image, steps=20)
    assert (model.generate([5], 20, x_T=x_T, sampler="ddim", labels=-1) - back.images).abs().max() < 1e-4


@pytest.mark.parametrize(("images", "cells"), [(1, 0), (60, 0), (300, 4)])
def test_images_without_labels_are_enough_and_few_of_them_make_fewer_cells(images, cells):
    recipe, latents = override("mnist-fast", steps=1), torch.randn(images, 16, 8)
    stage = denoiser_stage(recipe, latents)
    assert stage.loss_module.denoiser.cells == cells
    (step,) = stage.run()
    assert step.loss.isfinite()


def test_the_command_line_shows_a_model_without_labels(nanoldm, run):
    refused = nanoldm("sample", run, "--label", 3, "--n", 1)
    assert refused.returncode == 2
    assert "trained without labels" in refused.stderr
    assert nanoldm("sample", run, "--n", 2, "--steps", 2, "--npz", "cells.npz").returncode == 0
    assert set(np.load(nanoldm.folder / "cells.npz").files) == {"images"}
    assert "none (4 cells)" in nanoldm("info", run).stdout


def test_its_images_are_judged_as_images_without_labels(model, tmp_path):
    assert (Drawing(model, tmp_path / "samples.npz", range(8), Sampling(steps=2)).labels() == -1).all()


def test_a_resumed_run_keeps_its_cells_whatever_its_latents_look_like_now(run):
    """Other threads or another torch change their last digits, and thereby perhaps the number of a cell that the network has learnt."""
    recipe = override("mnist-fast", steps=1)
    first, second = (load_or_make_clusters(RunFolder(run), recipe, torch.randn(288, 4, 6)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.bincount(first).tolist() == [72] * 4


@pytest.mark.parametrize(("fields", "message"), [
    ({"cells": 6, "label_dropout": 0.1}, "a power of two, such as 4"), ({"cells": 4}, "give label_dropout too")])
def test_cells_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Diffusion(schedule="cosine", timesteps=100, prediction="v", **fields)


@pytest.mark.parametrize("kind", NETWORKS)
def test_labels_and_cells_at_once_are_refused(kind):
    with pytest.raises(InputError, match="leave one of them out"):
        NETWORKS[kind](classes=10, cells=4)
