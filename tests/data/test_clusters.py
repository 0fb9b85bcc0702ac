import pytest
import torch

from nanoldm.data.clusters import cluster_count, cluster_latents


@pytest.fixture
def latents():
    return torch.randn(1003, 4, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("count", [2, 8, 64])
def test_clusters_have_equal_sizes(latents, count):
    full = torch.bincount(cluster_latents(latents, count))
    assert len(full) == count
    assert full.max() - full.min() <= 1


def test_heaps_of_equal_size_are_found():
    centres = torch.tensor([[-9.0, -1], [-9, 1], [9, -2], [9, 2]])
    heap = torch.arange(400) % 4
    points = centres[heap] + 0.1 * torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    clusters = cluster_latents(points[:, None], 4)
    assert len(clusters.unique()) == len({(int(h), int(c))
                                          for h, c in zip(heap, clusters, strict=True)}) == 4


def test_a_cluster_depends_on_the_latents_not_on_their_order(latents):
    order = torch.randperm(len(latents), generator=torch.Generator().manual_seed(1))
    assert torch.equal(cluster_latents(latents[order], 16), cluster_latents(latents, 16)[order])


def test_an_image_shares_its_cluster_with_those_that_are_like_it(latents):
    clusters, points = cluster_latents(latents, 32), latents.flatten(1)
    within = sum(((points[clusters == k] - points[clusters == k].mean(0)) ** 2).sum()
                 for k in range(32))
    by_chance = sum(((points[k::32] - points[k::32].mean(0)) ** 2).sum() for k in range(32))
    assert within < 0.7 * by_chance


@pytest.mark.parametrize(("asked", "images", "count"),
                         [(1024, 60_000, 1024), (1024, 51_199, 512), (64, 100, 2), (64, 30, 0),
                          (0, 30, 0)])
def test_few_images_make_fewer_clusters(asked, images, count):
    assert cluster_count(asked, images) == count
