"""Distances between two sets of features, (N, F) and (M, F), computed in float64.

Two sets of one distribution have distance 0.
"""

import torch
from torch import Tensor

from nanoldm.utils.errors import InputError


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance between Gaussians fitted to two sets of features.

    Heusel et al. 2017, arXiv 1706.08500, eq. 6. Its bias is upward and large for small sets:
    compare only values of equal N. Raises InputError for fewer than 2 rows.
    """
    return gaussian_distance(*moments(a), *moments(b))


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """(N, F) -> mean (F,) and unbiased covariance (F, F)."""
    if features.dim() != 2 or len(features) < 2:
        raise InputError("a covariance needs features (N, F) with N of at least 2, not "
                         f"{tuple(features.shape)}")
    features = features.double()
    return features.mean(0), torch.cov(features.T).reshape(features.shape[1], -1)


def gaussian_distance(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Dowson and Landau 1982, eq. 4).

    C_a C_b has the eigenvalues of the symmetric matrix C_a^(1/2) C_b C_a^(1/2): two symmetric
    decompositions are enough.
    """
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    overlap = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    distance = ((mean_a - mean_b) ** 2).sum() + cov_a.trace() + cov_b.trace() - 2 * overlap
    return max(0.0, distance.item())  # rounding can go below 0


def kernel_distance(a: Tensor, b: Tensor, mean_b: float | None = None) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / F + 1)^3.

    Binkowski et al. 2018, arXiv 1801.01401, section 4. The estimate is unbiased (Gretton et al.
    2012, eq. 3): its expectation does not depend on N, and it can fall below 0.
    mean_b: mean_kernel(b), if it is already known. Raises InputError for fewer than 2 rows.
    """
    if min(len(a), len(b)) < 2:
        raise InputError(f"a kernel distance needs at least 2 rows on each side, not {len(a)} and "
                         f"{len(b)}")
    return mean_kernel(a) + (mean_kernel(b) if mean_b is None else mean_b) - 2 * mean_kernel(a, b)


def mean_kernel(a: Tensor, b: Tensor | None = None, rows: int = 1000) -> float:
    """Mean of k(x, y) over all pairs of rows of a and b, or of different rows of a."""
    other, width = (a if b is None else b).double(), a.shape[1]
    parts = a.split(rows)
    total = sum((part.double() @ other.T / width + 1).pow_(3).sum().item() for part in parts)
    if b is not None:
        return total / (len(a) * len(b))
    own = ((a.double() ** 2).sum(1) / width + 1).pow(3).sum().item()
    return (total - own) / (len(a) * (len(a) - 1))
