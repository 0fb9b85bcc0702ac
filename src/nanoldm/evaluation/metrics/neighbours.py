"""Nearest neighbours: density and coverage, and the search for copies of training images."""

import torch
from torch import Tensor
from tqdm.auto import tqdm

from nanoldm.utils.errors import InputError

ROWS = 500  # queries at a time: 500 x 60,000 distances are 120 MB
NEIGHBOURS = 5  # k of density and coverage


def squared_distances(queries: Tensor, references: Tensor) -> Tensor:
    """(N, F), (M, F) -> (N, M) squared Euclidean distances."""
    norms = (references**2).sum(1)
    sums = (queries**2).sum(1, keepdim=True) + norms
    return torch.addmm(sums, queries, references.T, alpha=-2).clamp_(min=0)


def nearest(queries: Tensor, references: Tensor, k: int = 1,
            progress: str | None = None) -> tuple[Tensor, Tensor]:
    """The k nearest of `references` (M, F) to each of `queries` (N, F).

    -> distances (N, k), ascending, and indices (N, k).
    progress: caption of a progress bar (None: no bar). Raises InputError if M < k.
    """
    if len(references) < k:
        raise InputError(f"{len(references)} images have no {k} nearest neighbours")
    options = dict(desc=progress, unit_scale=ROWS, unit="image", delay=1, disable=progress is None)
    parts = tqdm(queries.split(ROWS), **options)
    found = [squared_distances(part, references).topk(k, largest=False) for part in parts]
    distances, indices = (torch.cat(columns) for columns in zip(*found, strict=True))
    return distances.sqrt(), indices


def radii(real: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Distance of each row of `real` (M, F) to its k-th nearest other row -> (M,)."""
    return nearest(real, real, k + 1)[0][:, k]  # the nearest of all is the row itself


def density_coverage(samples: Tensor, real: Tensor, radius: Tensor,
                     k: int = NEIGHBOURS) -> tuple[float, float]:
    """(density, coverage) of `samples` (N, F) with respect to `real` (M, F).

    Naeem et al. 2020, arXiv 2002.09797, eqs. 4 and 5. The ball of a real image reaches to its k-th
    nearest real neighbour: radius = radii(real, k).
    density: balls that contain a sample, on average, over k; 1 for real samples, 0 for noise, more
        than 1 for samples that are concentrated where real images are densest.
    coverage: share of the balls that contain a sample; 1 - 2^-k for N = M real samples.
    """
    inside, covered = 0, torch.zeros(len(real), dtype=torch.bool)
    for part in samples.split(ROWS):
        hits = squared_distances(part, real) < radius**2
        inside += hits.sum().item()
        covered |= hits.any(0)
    return inside / (k * len(samples)), covered.double().mean().item()
