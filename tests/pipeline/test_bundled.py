"""The bundled weights draw digits: as an independent classifier sees them."""

import pytest
import torch

from nanoldm.cli.options import AS_USUAL
from nanoldm.evaluation import metrics
from nanoldm.evaluation.features import load_features
from nanoldm.pipeline.folders import DEFAULT_MODEL, bundled_models
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.images import to_bytes


def seen(images):
    """Class probabilities (N, 10), as the classifier of digits-v1 gives them."""
    return metrics.extract(load_features("digits-v1").networks["classifier"], to_bytes(images))[1]


def test_the_best_of_them_draws_digits_in_a_few_passes_that_the_classifier_is_sure_of():
    """Real digits: 0.998; the reference weights: 0.84."""
    model = LatentDiffusion.from_pretrained(DEFAULT_MODEL)
    assert AS_USUAL.drawing(DEFAULT_MODEL) == Sampling(**model.fast)
    assert model.fast == {"steps": 12, "sampler": "ab3", "grid": "shifted"}
    probabilities = seen(model.generate(range(300), **model.fast))
    assert metrics.confidence(probabilities) >= 0.95
    assert metrics.distance_from_uniform(metrics.histogram(probabilities)) < 0.2


@pytest.mark.parametrize("name", [name for name in bundled_models() if "conditional" in name])
def test_models_with_labels_draw_the_digits_they_are_told(name):
    """Without guidance or told wrongly it would be far less."""
    model, labels = LatentDiffusion.from_pretrained(name), [k % 10 for k in range(30)]
    images = model.generate(range(30), labels=labels, guidance=2.0, **model.fast)
    assert (seen(images).argmax(1) == torch.tensor(labels)).double().mean() >= 0.9


def test_the_fast_one_with_labels_needs_no_guidance():
    model, labels = LatentDiffusion.from_pretrained("mnist-fast-conditional"), [k % 10 for k in range(200)]
    images = model.generate(range(200), labels=labels, **model.fast)
    assert (seen(images).argmax(1) == torch.tensor(labels)).double().mean() >= 0.95
