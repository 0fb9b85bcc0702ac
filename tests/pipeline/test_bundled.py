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
    """Real digits: 0.998; the reference weights: 0.90."""
    model = LatentDiffusion.from_pretrained(DEFAULT_MODEL)
    assert model.settings == Sampling("ab3", 12, "shifted")
    probabilities = probabilities_of(model.generate(300))
    assert metrics.confidence(probabilities) >= 0.95
    assert metrics.distance_from_uniform(metrics.histogram(probabilities)) < 0.2


@pytest.mark.parametrize(("guidance", "recognised"), [(1.0, 0.95), (2.0, 0.99)])
def test_a_model_with_labels_generates_the_digits_it_is_conditioned_on(guidance, recognised):
    """97.8 % of 10,000 without guidance; 10 % with wrong labels."""
    model = LatentDiffusion.from_pretrained("mnist-fast-conditional")
    labels = [k % 10 for k in range(200)]
    found = probabilities_of(model.generate(200, labels, guidance=guidance)).argmax(1)
    assert (found == torch.tensor(labels)).double().mean() >= recognised


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
