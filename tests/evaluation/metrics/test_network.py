"""The network behind the features."""

import pytest
import torch

from nanoldm.evaluation.metrics import FeatureNet, extract
from nanoldm.utils.seeding import generator, seeded


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32), (1, 4), (3, 8)])
def test_every_image_size_gives_features_and_logits(channels, size):
    network = FeatureNet(channels, size, classes=7, width=4, features=16).eval()
    features, logits = network(torch.rand(3, channels, size, size))
    assert (features.shape, logits.shape) == ((3, 16), (3, 7))


def test_bytes_and_floats_are_the_same_images_in_any_batch_size():
    with seeded(0):
        network = FeatureNet(1, 8, width=4, features=16)
    pixels = torch.randint(
        256, (600, 1, 8, 8), dtype=torch.uint8, generator=generator(0)
    )  # more than one batch
    features, probabilities = extract(network, pixels)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(600))
    torch.testing.assert_close(extract(network, pixels.float() / 255)[0], features)
    torch.testing.assert_close(extract(network, pixels[550:])[0], features[550:], atol=1e-5,
                               rtol=1e-5)


def test_features_can_be_used_outside_inference_mode():
    features, _ = extract(FeatureNet(1, 8, width=4, features=16), torch.rand(5, 1, 8, 8))
    (features * torch.ones(16, requires_grad=True)).sum().backward()
