"""Density, coverage and copies: brute force as oracle, and what is known of equal distributions."""

import pytest
import torch

from nanoldm.evaluation.metrics import (
    class_accuracy,
    confidence,
    density_coverage,
    distance_from_uniform,
    histogram,
    nearest,
    radii,
)
from nanoldm.evaluation.metrics.neighbours import ROWS
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator


def normal(*shape: int, key: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=generator(key))


def test_nearest_is_brute_force_also_over_several_pieces():
    queries, references = normal(ROWS + 20, 6), normal(70, 6, key=1)
    distances, indices = nearest(queries, references, 3)
    expected = torch.cdist(queries.double(), references.double()).sort(dim=1)
    torch.testing.assert_close(distances.double(), expected.values[:, :3], atol=1e-4, rtol=1e-4)
    assert (indices == expected.indices[:, :3]).double().mean() > 0.999  # but for ties in float32


def test_too_few_references_are_an_error():
    with pytest.raises(InputError, match="3 images have no 4 nearest"):
        nearest(normal(2, 2), normal(3, 2), 4)


def test_density_and_coverage_are_the_counts_of_naeem_et_al():
    real, samples, k = normal(40, 3), 0.8 * normal(ROWS + 5, 3, key=1), 4
    distance = torch.cdist(real, real)
    radius = [sorted(row.tolist())[k] for row in distance]
    inside = [[torch.dist(x, y) < r for y, r in zip(real, radius, strict=True)] for x in samples]
    density = sum(hit.item() for row in inside for hit in row) / (k * len(samples))
    coverage = sum(any(row[i] for row in inside) for i in range(len(real))) / len(real)
    torch.testing.assert_close(radii(real, k), torch.tensor(radius))
    assert density_coverage(samples, real, radii(real, k), k) == pytest.approx((density, coverage))


def test_real_images_have_density_1_and_coverage_1_minus_2_to_the_minus_k():
    real, samples = normal(3000, 5), normal(3000, 5, key=1)
    density, coverage = density_coverage(samples, real, radii(real))
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.015)


def test_collapse_and_noise_have_low_coverage():
    real = normal(1000, 5)
    density, coverage = density_coverage(
        0.02 * normal(1000, 5, key=1), real, radii(real)
    )  # one good image again and again
    assert density > 0.5
    assert coverage < 0.1
    assert density_coverage(30 + normal(100, 5, key=2), real, radii(real)) == (0, 0)


def test_histogram_and_its_distance_from_uniform():
    probabilities = torch.eye(4)[[0, 0, 1, 3]]
    assert histogram(probabilities).tolist() == [0.5, 0.25, 0, 0.25]
    assert distance_from_uniform(histogram(probabilities)) == pytest.approx(0.25)
    assert distance_from_uniform(torch.full((10,), 0.1)) == pytest.approx(0)
    assert distance_from_uniform(torch.eye(10)[3]) == pytest.approx(0.9)


def test_confidence_is_the_mean_of_the_largest_probability():
    assert confidence(torch.tensor([[0.5, 0.5], [0.1, 0.9]])) == pytest.approx(0.7)


def test_accuracy_by_class_leaves_out_what_is_not_there():
    assert class_accuracy(
        torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 1]), 3
    ) == [0.5, 0.5, None]


def test_a_copy_is_at_distance_zero_though_rounding_makes_squares_negative():
    x = torch.randn(3000, 128, generator=generator(0))
    distances, indices = nearest(x, x)
    assert torch.equal(indices[:, 0], torch.arange(3000))
    assert distances.max() < 0.05
