"""The bundled models generate digits, as an independent classifier sees them."""

import subprocess
import sys

import pytest
import torch

from nanoldm.evaluation import metrics
from nanoldm.evaluation.features import load_features
from nanoldm.pipeline.folders import DEFAULT_MODEL
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.pipeline.settings import Sampling
from nanoldm.utils.images import to_bytes


def probabilities_of(images):
    """Class probabilities (N, 10), as the classifier of digits-v1 gives them."""
    return metrics.extract(load_features("digits-v1").networks["classifier"], to_bytes(images))[1]


def test_the_default_model_generates_digits_in_a_few_steps_that_the_classifier_is_sure_of():
    """Real digits: 0.998; the reference weights: 0.84."""
    model = LatentDiffusion.from_pretrained(DEFAULT_MODEL)
    assert model.settings == Sampling("ab3", 12, "shifted")
    probabilities = probabilities_of(model.generate(300))
    assert metrics.confidence(probabilities) >= 0.95
    assert metrics.distance_from_uniform(metrics.histogram(probabilities)) < 0.2


@pytest.mark.parametrize("name", ["mnist-conditional", "mnist-fast-conditional"])
def test_models_with_labels_generate_the_digits_they_are_conditioned_on(name):
    """Without guidance or with wrong labels it would be far less."""
    model, labels = LatentDiffusion.from_pretrained(name), [k % 10 for k in range(30)]
    images = model.generate(30, labels, sampler="ab3", steps=12, spacing="shifted", guidance=2.0)
    assert (probabilities_of(images).argmax(1) == torch.tensor(labels)).double().mean() >= 0.9


def test_the_fast_one_with_labels_needs_no_guidance():
    model, labels = LatentDiffusion.from_pretrained("mnist-fast-conditional"), [
        k % 10 for k in range(200)
    ]
    images = model.generate(range(200), labels=labels)
    assert (probabilities_of(images).argmax(1) == torch.tensor(labels)).double().mean() >= 0.95


@pytest.mark.parametrize("passes", [1, 2])
def test_students_show_the_digits_of_their_teacher(passes):
    name, labels = f"mnist-fast-conditional-{passes}-pass", [k % 10 for k in range(200)]
    student, teacher = (LatentDiffusion.from_pretrained(each)
                        for each in (name, "mnist-fast-conditional"))
    assert student.settings.steps == passes
    images, theirs = (model.generate(range(200), labels=labels) for model in (student, teacher))
    assert (probabilities_of(images).argmax(1) == torch.tensor(labels)).double().mean() >= 0.95
    error = (images - theirs).square().mean()
    assert error < 0.1 * (images - theirs.roll(10, 0)).square().mean()  # another one of the label


def test_a_model_is_loaded_and_used_without_importing_the_compiler():
    """The compiler's import would take as long as that of torch."""
    code = ("import sys, nanoldm; nanoldm.LatentDiffusion.from_pretrained('mnist-fast').generate(1)"
            "; sys.exit('torch._dynamo' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
