"""The judge on MNIST: real images are best; damage, collapse and copies change its metrics."""

import json
import os
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from nanoldm.data import load
from nanoldm.data.npz import save_npz
from nanoldm.evaluation import metrics
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.judge import METRICS, Judge
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.images import to_bytes, to_float
from nanoldm.utils.seeding import generator

pytestmark = pytest.mark.slow  # features of 70,000 images
# By the classifier, and by a network that never saw a label
BOTH = ("frechet_test", "rotation_frechet_test")
N = 500


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("NANOLDM_DATA", str(folder))
        yield folder


@pytest.fixture(scope="module")
def judge(cache) -> Judge:
    return Judge(load_features("digits-v1"), *load("mnist"))


@pytest.fixture(scope="module")
def found(judge) -> dict[str, dict[str, float]]:
    """Metrics of N images, ever more damaged in three ways; "real" are test images."""
    real, ones = judge.test_set.images[:N], judge.test_set.images[judge.test_set.labels == 1]
    copies = LatentDiffusion.from_pretrained("mnist-fast").reconstruct(to_float(real))
    sets = {"real": real, "reconstructions": to_bytes(copies)}
    sets |= {f"noise {sigma}": noised(real, sigma) for sigma in (0.1, 0.2, 0.4)}
    sets |= {f"blur {sigma}": gaussian_blur(real, [9, 9], [sigma, sigma])
             for sigma in (0.5, 1.0, 1.5)}
    sets |= {f"ones {share}": torch.cat((ones[: N * share // 100], real[N * share // 100 :]))
             for share in (25, 50, 100)}
    return {name: judge.summarise(judge.observe(images)) for name, images in sets.items()}


def noised(images: Tensor, sigma: float) -> Tensor:
    return to_bytes(to_float(images) + sigma * torch.randn(images.shape, generator=generator(1)))


@pytest.fixture(scope="module")
def floor(judge) -> dict[str, float]:
    return judge.summarise(judge.observe(judge.test_set.images))


def test_the_test_images_as_samples_are_the_floor(floor):
    assert list(floor) == list(METRICS)
    assert all(
        0 < floor[name] < 1 for name in ("frechet_train", "rotation_frechet_train")
    )  # of 128, the total variance
    assert all(abs(floor[name]) < 1e-6 for name in BOTH)
    assert all(abs(floor[name]) < 0.01 for name in ("kernel_test", "rotation_kernel_test"))
    assert (floor["nearest_ratio"], floor["coverage"], floor["copies"]) == (1, 1, 0)
    assert floor["density"] == pytest.approx(1, abs=0.1)
    assert floor["confidence"] > 0.99
    assert floor["class_distance"] < 0.05


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("kind", ["noise", "blur", "ones"])
def test_more_damage_is_more_distance_for_both_networks(found, kind, name):
    distances = [found["real"][name],
                 *(values[name] for damage, values in found.items() if damage.startswith(kind))]
    assert len(distances) == 4
    assert all(1.5 * less < more for less, more in pairwise(distances))


def test_a_network_without_labels_puts_all_damages_in_about_the_same_order(found):
    ranks = [torch.tensor([values[name] for values in found.values()]).argsort().argsort()
             for name in BOTH]
    assert torch.corrcoef(torch.stack(ranks).double())[0, 1] > 0.9


@pytest.mark.parametrize("name", [*BOTH, "kernel_test", "rotation_kernel_test"])
def test_reconstructions_lie_between_real_images_and_noisy_ones(found, name):
    assert (found["real"][name] < found["reconstructions"][name] < found["noise 0.2"][name]
            < found["noise 0.4"][name])


def test_damage_lowers_density_coverage_and_confidence(found):
    assert found["real"]["confidence"] > 0.98 > 0.95 > found["noise 0.2"]["confidence"]
    for name in ("density", "coverage"):
        assert found["noise 0.4"][name] < found["noise 0.2"][name] / 2 < found["real"][name] / 4


def test_one_class_alone_is_seen_as_collapse_and_not_as_copying(found):
    real, collapsed = found["real"], found["ones 100"]
    assert collapsed["coverage"] < real["coverage"] / 2
    assert collapsed["class_distance"] == pytest.approx(0.9, abs=0.01)
    assert collapsed["confidence"] > 0.98
    assert collapsed["density"] > 0.8  # each image for itself is a good one
    assert collapsed["copies"] < 0.01


@pytest.mark.parametrize(("sigma", "ratio"), [(0, 0.01), (0.02, 0.2)])
def test_copies_of_training_images_are_found(judge, sigma, ratio):
    order = torch.randperm(len(judge.train_set), generator=generator(2))[:N]
    observed = judge.observe(noised(judge.train_set.images[order], sigma))
    copied = judge.summarise(observed)
    assert copied["nearest_ratio"] < ratio
    assert copied["copies"] > 0.98
    assert torch.equal(observed.neighbours[:, 0], order)  # and which images they are copies of


def test_new_images_do_not_count_as_copies(found):
    assert found["real"]["nearest_ratio"] == pytest.approx(1, abs=0.1)
    assert max(values["copies"] for values in found.values()) < 0.01


def test_the_floors_enclose_everything_between_perfect_and_noise(judge, found):
    floors = judge.floors(N, 0)
    for name in BOTH:
        damaged = [values[name] for damage, values in found.items()
                   if damage.startswith(("noise", "blur", "ones"))]
        assert floors["real images"][name] < min(damaged) < max(damaged) < floors["noise"][name]
    assert floors["noise"]["coverage"] == 0
    assert floors["noise"]["nearest_ratio"] > 2
    assert floors["test set"]["nearest_ratio"] == 1
    assert (
        not {"nearest_ratio", "copies"} & floors["real images"].keys()
    )  # they are training images themselves
    assert not {"frechet_test", "coverage"} & floors["test set"].keys()


def test_the_floor_of_real_images_leaves_them_out_of_what_they_are_compared_with(judge):
    """Half of the training set: the distance to the other half is four times that to the whole."""
    small = Judge(load_features("digits-v1"), judge.train_set.select(slice(2000)),
                  judge.test_set.select(slice(1000)))
    features = small.train.features["classifier"][torch.randperm(2000, generator=generator(3))]
    halves = metrics.frechet_distance(features[:1000], features[1000:])
    assert small.real_count(10_000) == 1000
    assert small.real_images(10_000, generator(3))["frechet_train"] == pytest.approx(
        halves, rel=1e-3
    )
    assert metrics.frechet_distance(features[:1000], features) < halves / 2


def test_ten_thousand_ready_images_are_judged_on_the_command_line(nanoldm, cache, judge, floor):
    kept = {file: file.stat().st_mtime_ns for file in cache.rglob("*.safetensors")}
    save_npz(cache / "test.npz", judge.test_set.images)
    done = nanoldm("evaluate", "--samples", cache / "test.npz", "--out", "ten-thousand",
                   env={**os.environ, "NANOLDM_DATA": str(cache)})
    assert done.returncode == 0, done.stderr
    report = json.loads((nanoldm.folder / "ten-thousand" / "report.json").read_text())
    assert report["judged"]["images"] == 10_000
    for name, values in report["metrics"].items():
        # A set against itself: each k-th neighbour is on the edge of its ball: rounding decides.
        assert values["value"] == pytest.approx(
            floor[name], rel=0.05 if name == "density" else 1e-3, abs=1e-3
        ), name
    distance = report["metrics"]["frechet_train"]
    assert 0 < distance["real images"] < distance["value"] < 1 < distance["noise"]
    assert len(kept) >= 2  # the features of real images are not computed again
    assert {file: file.stat().st_mtime_ns for file in cache.rglob("*.safetensors")} == kept
