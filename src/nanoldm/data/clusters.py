"""Pseudo-labels: equal-size clusters of the latents."""

import torch
from torch import Tensor

LEAST_IMAGES = 50  # per cluster: a smaller cluster would identify the image


def cluster_count(clusters: int, images: int) -> int:
    """`clusters`, halved until each has at least 50 of `images`; 0 if fewer than 2 are left."""
    while images < LEAST_IMAGES * clusters:
        clusters //= 2
    return clusters if clusters > 1 else 0


@torch.no_grad()
def cluster_latents(latents: Tensor, count: int) -> Tensor:
    """(N, tokens, channels) -> the cluster of each latent (N,), 0 ... count - 1.

    Every cluster is split at the median of its first principal component until there are `count`, a
    power of two (after Boley 1998, "Principal direction divisive partitioning"). Because the sizes
    are equal, uniformly sampled clusters give uniformly sampled images. Clusters as labels make the
    task of the network easier (Hu et al. 2022, arXiv 2210.06462; Adaloglou et al. 2024, arXiv
    2403.00570).
    """
    points = latents.flatten(1).cpu().double()
    clusters = torch.zeros(len(points), dtype=torch.long)
    for existing in (2**k for k in range(count.bit_length() - 1)):
        for cluster in range(existing):
            members = (clusters == cluster).nonzero()[:, 0]
            centred = points[members]
            centred = centred - centred.mean(0)
            direction = torch.linalg.eigh(centred.T @ centred)[1][:, -1]
            # An eigenvector has no sign of its own: fix it, so that every run finds the same.
            direction = direction * direction[direction.abs().argmax()].sign()
            order = (centred @ direction).argsort(stable=True)
            clusters[members[order[len(order) // 2 :]]] = existing + cluster
    return clusters
