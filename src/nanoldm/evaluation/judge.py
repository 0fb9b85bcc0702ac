"""Judge: the metrics of a set of images, computed in one way for samples, real images and noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nanoldm.data import ImageSet
from nanoldm.evaluation import metrics
from nanoldm.evaluation.features import Features, check_fit
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import cached, digest, named_tensors
from nanoldm.utils.images import check_images, to_float
from nanoldm.utils.seeding import Stream, generator

# A copy is three times nearer to one training image than to any other (Yoon et al. 2023, "Diffusion
# probabilistic models generalize when they fail to memorize").
COPY = 1 / 3
FEWEST_REAL = 4  # training images: halves of them are compared
NOISE = 1000  # images of the floor "noise"
Moments = dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Metric:
    """title: for tables. good: the value of a good model."""

    title: str
    good: str


METRICS = {"frechet_train": Metric("Frechet distance, training", "low"),
           "frechet_test": Metric("Frechet distance, test", "low"),
           "kernel_test": Metric("kernel distance, test", "low"),
           "rotation_frechet_train": Metric("Frechet (rotation), training", "low"),
           "rotation_frechet_test": Metric("Frechet (rotation), test", "low"),
           "rotation_kernel_test": Metric("kernel (rotation), test", "low"),
           "density": Metric("density", "real"), "coverage": Metric("coverage", "real"),
           "confidence": Metric("classifier confidence", "real"),
           "class_distance": Metric("distance from equal classes", "real"),
           "nearest_ratio": Metric("nearest-image ratio", "≥ 1"),
           "copies": Metric("share of copies", "real")}


@dataclass(frozen=True)
class Observed:
    """Features and probabilities of N images by task, and their two nearest training images."""

    features: dict[str, Tensor]
    probabilities: dict[str, Tensor]
    distances: Tensor  # (N, 2), Euclidean, over pixels in [0, 1]; (N, 0) without search
    neighbours: Tensor  # (N, 2), indices into the training set; (N, 0) without search

    def __getitem__(self, index: slice | Tensor) -> "Observed":
        features, probabilities = ({task: rows[index] for task, rows in of.items()}
                                   for of in (self.features, self.probabilities))
        return Observed(features, probabilities, self.distances[index], self.neighbours[index])

    def __len__(self) -> int:
        return len(self.distances)

    def moments(self) -> Moments:
        return {task: metrics.moments(features) for task, features in self.features.items()}

    def classification(self) -> dict[str, float]:
        """Metrics of the classifier; {} without one."""
        if "classifier" not in self.probabilities:
            return {}
        probabilities = self.probabilities["classifier"]
        shares = metrics.histogram(probabilities)
        return {"confidence": metrics.confidence(probabilities),
                "class_distance": metrics.distance_from_uniform(shares)}


class Judge:
    """The features of the real images; `summarise` compares other images with them.

    Features of real images are kept in the cache folder.
    """

    def __init__(self, features: Features, train: ImageSet, test: ImageSet):
        self.networks = features.networks
        self.train_set, self.test_set = train, test
        check_fit(features, train.images)
        for name, images, count in (("training", train, FEWEST_REAL),
                                    ("test", test, metrics.NEIGHBOURS + 1)):
            if len(images) < count:
                raise InputError(f"the {name} set has {len(images)} images, and {count} are "
                                 "needed: add images")
        self.main = next(iter(self.networks))  # the classifier, if there is one
        self.prefixes = {task: "rotation_" if task == "rotation" else "" for task in self.networks}
        self.train = self._observe_real(train, "training images")
        self.test = self._observe_real(test, "test images")
        self.train_moments, self.test_moments = self.train.moments(), self.test.moments()
        self.test_kernel = {task: metrics.mean_kernel(features)
                            for task, features in self.test.features.items()}
        self.radius = metrics.radii(self.test.features[self.main])

    def observe(self, images: Tensor, name: str = "samples", nearest: bool = True) -> Observed:
        """images: (N, C, S, S) uint8. nearest: search for copies, the slowest part."""
        check_images(images)
        features, probabilities = {}, {}
        for task, network in self.networks.items():
            features[task], probabilities[task] = metrics.extract(network, images,
                                                                  f"{task} network, {name}")
        found = (torch.empty(len(images), 0),) * 2
        if nearest:
            flat, real = (to_float(part.flatten(1)) for part in (images, self.train_set.images))
            found = metrics.nearest(flat, real, 2, f"nearest training images, {name}")
        return Observed(features, probabilities, *found)

    def _observe_real(self, data: ImageSet, name: str) -> Observed:
        """Like `observe`, cached. Training images are not searched for copies."""
        search = data is not self.train_set

        def compute() -> dict[str, Tensor]:
            seen = self.observe(data.images, name, nearest=search)
            parts = {"features": seen.features, "probabilities": seen.probabilities}
            rows = {f"{kind}.{task}": found for kind, tasks in parts.items()
                    for task, found in tasks.items()}
            return rows | {"distances": seen.distances, "neighbours": seen.neighbours}

        images = {"images": data.images, "train": self.train_set.images}
        searched = {} if search else {"neighbours": "none"}  # a test set may hold the same images
        found = cached(digest(named_tensors(**self.networks) | images, **searched), compute)
        return Observed({task: found[f"features.{task}"] for task in self.networks},
                        {task: found[f"probabilities.{task}"] for task in self.networks},
                        found["distances"], found["neighbours"])

    def summarise(self, observed: Observed) -> dict[str, float]:
        """{metric: value}. Without a classifier or a search, their metrics are missing."""
        return ordered(self.to_train(observed, self.train_moments) | self.to_test(observed)
                       | observed.classification() | self.copying(observed))

    def to_train(self, observed: Observed, train: Moments) -> dict[str, float]:
        """Distances to training images with the moments `train`."""
        own = observed.moments()
        return {f"{prefix}frechet_train": metrics.gaussian_distance(*own[task], *train[task])
                for task, prefix in self.prefixes.items()}

    def to_test(self, observed: Observed) -> dict[str, float]:
        """Distances to the test set, density and coverage."""
        own, found, real = observed.moments(), {}, self.test.features
        for task, prefix in self.prefixes.items():
            distance = metrics.gaussian_distance(*own[task], *self.test_moments[task])
            found[f"{prefix}frechet_test"] = distance
            found[f"{prefix}kernel_test"] = metrics.kernel_distance(
                observed.features[task], real[task], self.test_kernel[task])
        found["density"], found["coverage"] = metrics.density_coverage(
            observed.features[self.main], real[self.main], self.radius)
        return found

    def copying(self, observed: Observed) -> dict[str, float]:
        """Metrics of the search for copies; {} without search.

        nearest_ratio: median distance to the nearest training image, over that of test images.
        copies: share of images three times nearer to one training image than to others.
        Read both: copies have a low ratio, but so has a model that generates one simple class.
        """
        if not observed.distances.numel():
            return {}
        first, second = observed.distances.unbind(1)
        return {"nearest_ratio": (first.median() / self.test.distances[:, 0].median()).item(),
                "copies": (first < COPY * second).double().mean().item()}

    def real_count(self, n: int) -> int:
        """Number of training images that n samples are compared with: n, at most half of them."""
        return min(n, len(self.train) // 2)

    def real_images(self, n: int, stream: torch.Generator) -> dict[str, float]:
        """Metrics of real_count(n) random training images, against the others and the test set."""
        order = torch.randperm(len(self.train), generator=stream)
        part, others = (self.train[rows] for rows in order.tensor_split([self.real_count(n)]))
        return ordered(self.to_train(part, others.moments()) | self.to_test(part)
                       | part.classification())

    def floors(self, n: int, seed: int) -> dict[str, dict[str, float]]:
        """Metrics of images that are not generated, for comparison with n samples.

        real images: `real_images`, what perfect samples get: the bias of finite samples.
        test set: the test set as samples, against the training set.
        noise: images of uniform noise, at most NOISE.
        """
        stream, test = generator(seed, 0, Stream.FLOORS), self.test
        real = self.real_images(n, stream)
        shape = (min(n, NOISE), *self.test_set.images.shape[1:])
        noise = torch.randint(256, shape, dtype=torch.uint8, generator=stream)
        against_train = self.to_train(test, self.train_moments)
        return {"real images": real,
                "test set": ordered(against_train | test.classification() | self.copying(test)),
                "noise": self.summarise(self.observe(noise, "noise"))}


def ordered(found: dict[str, float]) -> dict[str, float]:
    return {name: found[name] for name in METRICS if name in found}
