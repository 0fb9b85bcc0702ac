"""Frechet and kernel distance: closed forms, identities, torchmetrics as oracle."""

import math

import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from nanoldm.evaluation.metrics import (
    frechet_distance,
    gaussian_distance,
    kernel_distance,
    mean_kernel,
)
from nanoldm.utils.errors import InputError
from nanoldm.utils.seeding import generator


def normal(*shape: int, key: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=generator(key), dtype=torch.float64)


def moments(mean: float, std: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([mean], dtype=torch.float64), torch.tensor([[std**2]], dtype=torch.float64)


@pytest.mark.parametrize(("m1", "s1", "m2", "s2"),
                         [(0, 1, 0, 1), (0, 1, 3, 1), (0, 1, 0, 4), (-2, 0.5, 1, 2), (1, 0, 1, 3)])
def test_in_one_dimension_it_is_the_difference_of_means_and_of_standard_deviations(m1, s1, m2, s2):
    assert gaussian_distance(*moments(m1, s1), *moments(m2, s2)) == pytest.approx(
        (m1 - m2) ** 2 + (s1 - s2) ** 2, abs=1e-12
    )


def test_covariances_that_do_not_commute_match_the_closed_form_in_two_dimensions():
    """tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)) for a 2x2 matrix with positive eigenvalues."""
    a, b = (part @ part.T for part in normal(2, 2, 2))
    assert not torch.allclose(a @ b, b @ a)
    product, zero = a @ b, torch.zeros(2, dtype=torch.float64)
    overlap = math.sqrt(product.trace() + 2 * math.sqrt(torch.linalg.det(product)))
    assert gaussian_distance(zero, a, zero, b) == pytest.approx(
        (a.trace() + b.trace() - 2 * overlap).item(), rel=1e-9
    )


def test_it_is_symmetric_and_blind_to_rotation_and_translation():
    a, b = normal(300, 8), normal(200, 8, key=1) * torch.arange(1, 9) + 1
    rotation = torch.linalg.qr(normal(8, 8, key=2)).Q
    distance = frechet_distance(a, b)
    assert distance > 10
    assert frechet_distance(b, a) == pytest.approx(distance)
    assert frechet_distance(a @ rotation + 5, b @ rotation + 5) == pytest.approx(distance)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_fewer_images_than_features_still_have_a_distance():
    a, b = normal(10, 64), normal(12, 64, key=1)
    assert math.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-4)


def test_the_finite_sample_bias_is_the_theoretical_one_for_white_features():
    """((d + 1) / 4 + 1) (1/N + 1/M) of the trace d, to first order."""
    d, n = 32, 4000
    distance = frechet_distance(normal(n, d), normal(n, d, key=1))
    assert distance == pytest.approx(((d + 1) / 4 + 1) * 2 / n * d, rel=0.15)


class Flat(nn.Module):
    """Pixels as features, in the form that torchmetrics asks for."""

    num_features = 12

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1).double()


@pytest.fixture(scope="module")
def two_sets() -> list[torch.Tensor]:
    return [torch.rand(count, 3, 2, 2, generator=generator(count)) ** power
            for count, power in ((300, 1), (300, 2))]


def test_frechet_distance_is_that_of_torchmetrics(two_sets):
    oracle = FrechetInceptionDistance(feature=Flat(), normalize=False,
                                      input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    oracle.update(two_sets[0], real=True)
    oracle.update(two_sets[1], real=False)
    assert frechet_distance(*(images.flatten(1) for images in two_sets)) == pytest.approx(
        oracle.compute().item(), rel=1e-5
    )


def test_kernel_distance_is_that_of_torchmetrics(two_sets):
    oracle = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=300)
    oracle.update(two_sets[0], real=True)
    oracle.update(two_sets[1], real=False)
    assert kernel_distance(*(images.flatten(1) for images in two_sets)) == pytest.approx(
        oracle.compute()[0].item(), rel=1e-5
    )


def test_kernel_distance_is_the_double_sum_over_pairs():
    a, b = normal(4, 3), normal(5, 3, key=1)

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return ((x @ y).item() / 3 + 1) ** 3

    own = [sum(k(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j)
           / (len(s) * (len(s) - 1)) for s in (a, b)]
    between = sum(k(x, y) for x in a for y in b) / 20
    assert kernel_distance(a, b) == pytest.approx(own[0] + own[1] - 2 * between)


def test_kernel_distance_has_no_bias_even_for_ten_images():
    draws = torch.tensor([kernel_distance(normal(10, 4, key=2 * k), normal(10, 4, key=2 * k + 1))
                          for k in range(400)])
    error = draws.std().item() / 20
    assert abs(draws.mean().item()) < 3 * error
    biased = (
        2 * ((5.0 / 4 + 1) ** 3 - 1) / 10
    )  # about what counting each image with itself would add
    assert biased > 6 * error  # and the test would see it


def test_pieces_do_not_change_the_mean_kernel():
    a, b = normal(50, 4), normal(30, 4, key=1)
    assert mean_kernel(a, rows=7) == pytest.approx(mean_kernel(a))
    assert mean_kernel(a, b, rows=7) == pytest.approx(mean_kernel(a, b))


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_one_image_is_an_error(distance):
    with pytest.raises(InputError, match="at least 2"):
        distance(normal(1, 4), normal(9, 4))


def test_features_far_from_zero_lose_no_digits():
    """float32 would: the squares of 1e4 leave about 1 of rounding."""
    a, b = (torch.randn(400, 4, generator=generator(k)) for k in range(2))
    far = [(part.double() + 1e6) for part in (a, 2 * b)]
    assert frechet_distance(*far) == pytest.approx(frechet_distance(a, 2 * b), rel=1e-4)
