"""One set of images in, one figure for each measure out: the same for samples, real images, reconstructions and noise."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nanoldm.data import ImageSet
from nanoldm.evaluation import metrics
from nanoldm.evaluation.features import Features, check_fit
from nanoldm.utils.errors import InputError
from nanoldm.utils.files import cached, digest
from nanoldm.utils.images import check_images, to_float
from nanoldm.utils.seeding import generator

COPY = 1 / 3        # a copy is three times nearer to one training image than to any other (Yoon et al. 2023, "Diffusion probabilistic
                    # models generalize when they fail to memorize")
FEWEST_REAL = 4     # training images: halves of them are compared
NOISE = 1000        # images of the floor "noise"
Moments = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Measure:
    title: str
    good: str           # which values are good


MEASURES = {
    "frechet_train": Measure("Frechet distance, training set", "low"),
    "frechet_test": Measure("Frechet distance, test set", "low"),
    "kernel_test": Measure("kernel distance, test set", "low"),
    "rotation_frechet_train": Measure("Frechet without labels, training set", "low"),
    "rotation_frechet_test": Measure("Frechet without labels, test set", "low"),
    "rotation_kernel_test": Measure("kernel without labels, test set", "low"),
    "density": Measure("density", "as real"),
    "coverage": Measure("coverage", "as real"),
    "confidence": Measure("classifier confidence", "as real"),
    "class_distance": Measure("classes, distance from uniform", "as real"),
    "nearest_ratio": Measure("nearest training image, ratio", "1 or more"),
    "copies": Measure("share of copies", "as real"),
}
AGAINST_TEST = ("frechet_test", "kernel_test", "rotation_frechet_test", "rotation_kernel_test", "density", "coverage")
NEAREST = ("nearest_ratio", "copies")


def nothing(count: int) -> tuple[Tensor, Tensor]:
    """Distances and indices of no neighbours."""
    return (torch.empty(count, 0),) * 2


@dataclass(frozen=True)
class Observed:
    """What is needed of N images: features and class probabilities by task, and the two nearest training images in pixels."""

    features: dict[str, Tensor]
    probabilities: dict[str, Tensor]
    distances: Tensor       # (N, 2), Euclidean, over pixels in [0, 1]
    neighbours: Tensor      # (N, 2), indices into the training set

    def __getitem__(self, index: slice | Tensor) -> "Observed":
        return Observed({task: features[index] for task, features in self.features.items()},
                        {task: probabilities[index] for task, probabilities in self.probabilities.items()},
                        self.distances[index], self.neighbours[index])

    def __len__(self) -> int:
        return len(self.distances)


class Judge:
    """The real images as the networks see them; `summarise` compares other images with them.

    progress: show progress bars. What depends on real images alone is kept in the cache folder.
    """

    def __init__(self, features: Features, train: ImageSet, test: ImageSet, progress: bool = False):
        self.networks, self.train_set, self.test_set, self.progress = features.networks, train, test, progress
        check_fit(features, train.images)
        if len(train) < FEWEST_REAL:
            raise InputError(f"the training set has {len(train)} images, and {FEWEST_REAL} are needed to judge by: add images")
        if len(test) <= metrics.NEIGHBOURS:
            raise InputError(f"the test set has {len(test)} images, and {metrics.NEIGHBOURS + 1} are needed to judge by: add images")
        self.main = next(iter(self.networks))       # the classifier where there is one
        self.train, self.test = self._observe_real(train, "training images"), self._observe_real(test, "test images")
        self.train_moments, self.test_moments = (self._moments(real) for real in (self.train, self.test))
        self.test_kernel = {task: metrics.mean_kernel(features) for task, features in self.test.features.items()}
        self.radius = metrics.radii(self.test.features[self.main])

    @staticmethod
    def _moments(observed: Observed) -> dict[str, Moments]:
        return {task: metrics.moments(features) for task, features in observed.features.items()}

    def observe(self, images: Tensor, name: str = "samples", nearest: bool = True) -> Observed:
        """images: (N, C, S, S) uint8. nearest=False spares the search for copies: `summarise` must then leave out NEAREST."""
        check_images(images)
        return Observed(*self._see(images, name), *(self._nearest(images, name) if nearest else nothing(len(images))))

    def _see(self, images: Tensor, name: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        caption = f"{{}} network, {name}" if self.progress else None
        seen = {task: metrics.extract(network, images, caption and caption.format(task)) for task, network in self.networks.items()}
        return {task: pair[0] for task, pair in seen.items()}, {task: pair[1] for task, pair in seen.items()}

    def _nearest(self, images: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """The two nearest training images, in pixels."""
        flat, real = (to_float(pixels.flatten(1)) for pixels in (images, self.train_set.images))
        return metrics.nearest(flat, real, 2, f"nearest training images, {name}" if self.progress else None)

    def _observe_real(self, data: ImageSet, name: str) -> Observed:
        """As `observe`, from the cache where possible; training images have themselves as neighbours, so theirs are left out."""
        def compute() -> dict[str, Tensor]:
            features, probabilities = self._see(data.images, name)
            distances, neighbours = nothing(len(data)) if data is self.train_set else self._nearest(data.images, name)
            return ({f"features.{task}": tensor for task, tensor in features.items()} | {"distances": distances, "neighbours": neighbours}
                    | {f"probabilities.{task}": tensor for task, tensor in probabilities.items()})

        weights = {f"{task}.{name}": tensor for task, network in self.networks.items() for name, tensor in network.state_dict().items()}
        neighbours = {"neighbours": "none"} if data is self.train_set else {}      # a test set may hold the same images
        found = cached(digest(weights | {"images": data.images, "train": self.train_set.images}, **neighbours), compute)
        return Observed({task: found[f"features.{task}"] for task in self.networks},
                        {task: found[f"probabilities.{task}"] for task in self.networks}, found["distances"], found["neighbours"])

    def summarise(self, observed: Observed, leave_out: tuple[str, ...] = (),
                  train_moments: dict[str, Moments] | None = None) -> dict[str, float]:
        """MEASURES of a set by name, except `leave_out` and what a data set without labels does not have.

            nearest_ratio   median distance to the nearest training image in pixels, over that of test images
            copies          share of images at least three times nearer to one training image than to any other

        Read the two together: copies have a low ratio, and so has a model that draws one simple class alone.

        train_moments: compare with these instead of the whole training set.
        """
        own, found = self._moments(observed), {}
        for task, prefix in {self.main: "", "rotation": "rotation_"}.items():
            features = observed.features[task]
            found[f"{prefix}frechet_train"] = metrics.gaussian_distance(*own[task], *(train_moments or self.train_moments)[task])
            if "frechet_test" not in leave_out:
                found[f"{prefix}frechet_test"] = metrics.gaussian_distance(*own[task], *self.test_moments[task])
                found[f"{prefix}kernel_test"] = metrics.kernel_distance(features, self.test.features[task], self.test_kernel[task])
        if "density" not in leave_out:
            real = self.test.features[self.main]
            found["density"], found["coverage"] = metrics.density_coverage(observed.features[self.main], real, self.radius)
        if "classifier" in observed.probabilities:
            probabilities = observed.probabilities["classifier"]
            found["confidence"] = metrics.confidence(probabilities)
            found["class_distance"] = metrics.distance_from_uniform(metrics.histogram(probabilities))
        if "copies" not in leave_out:
            first, second = observed.distances.unbind(1)
            found["nearest_ratio"] = (first.median() / self.test.distances[:, 0].median()).item()
            found["copies"] = (first < COPY * second).double().mean().item()
        return {name: found[name] for name in MEASURES if name in found and name not in leave_out}

    def real_images(self, n: int, stream: torch.Generator) -> dict[str, float]:
        """The first of the floors, of real_count(n) images."""
        order = torch.randperm(len(self.train), generator=stream)
        count = self.real_count(n)
        return self.summarise(self.train[order[:count]], NEAREST, self._moments(self.train[order[count:]]))

    def real_count(self, n: int) -> int:
        """How many training images stand beside n samples: as many, of a small set half of it."""
        return min(n, len(self.train) // 2)

    def floors(self, n: int, seed: int) -> dict[str, dict[str, float]]:
        """What real images and noise get, beside which every other figure is to be read.

            real images     real_count(n) training images, drawn at random, against the others and the test set: the bias of finite samples
            test set        as if it were samples: the training set against the test set
            noise           images of uniform noise, NOISE at most
        """
        stream = generator(seed, 0, 1)
        real = self.real_images(n, stream)
        noise = torch.randint(256, (min(n, NOISE), *self.test_set.images.shape[1:]), dtype=torch.uint8, generator=stream)
        return {"real images": real,
                "test set": self.summarise(self.test, AGAINST_TEST),
                "noise": self.summarise(self.observe(noise, "noise"))}
