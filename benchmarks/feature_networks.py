"""Do different feature networks order the same models equally? What does channels_last gain?

    python benchmarks/feature_networks.py [SAMPLES]

Compared with the test set: real images, reconstructions, and the bundled model with 100, 50, 20, 10
and 5 steps (each a worse sampler), SAMPLES (1,000) each.
Features: both networks of digits-v1; a third classifier, trained here with another seed, width and
length; and, without a network, the first 64 principal components of the pixels.
"""

import sys
import time

import torch

from nanoldm.data import load
from nanoldm.evaluation.feature_training import new_network, train_network
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.metrics import ClassificationLoss, FeatureNet, extract, frechet_distance
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.images import to_bytes, to_float


def seconds_per_step(memory_format: torch.memory_format) -> float:
    loss = ClassificationLoss(FeatureNet().to(memory_format=memory_format))
    image, label = torch.rand(256, 1, 28, 28), torch.randint(10, (256,))
    times = []
    for _ in range(8):
        began = time.perf_counter()
        loss(image, label).backward()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


def print_speed() -> None:
    formats = (torch.contiguous_format, torch.channels_last)
    plain, last = (seconds_per_step(memory_format) for memory_format in formats)
    print(f"forward and backward of 256 images: {plain:.3f} s contiguous, {last:.3f} s "
          f"channels_last: {plain / last:.1f}x", flush=True)


def main(n: int = 1000) -> None:
    prepare_torch()
    print_speed()
    train, test = load("mnist")
    third = new_network(train, 10, width=24, seed=7)
    train_network(third, train, epochs=3, seed=7, caption="third network")
    components = torch.linalg.eigh(torch.cov(to_float(train.images.flatten(1)).T))[1][:, -64:]
    networks = load_features().networks | {"third": third}
    features = {name: lambda images, network=network: extract(network, images)[0]
                for name, network in networks.items()}
    features["pixels"] = lambda images: to_float(images.flatten(1)) @ components

    model = LatentDiffusion.from_pretrained("mnist")
    sets = {"real images": train.images[:n]}
    sets["reconstructions"] = to_bytes(model.reconstruct(to_float(test.images[:n])))
    for steps in (100, 50, 20, 10, 5):
        sets[f"{steps} steps"] = to_bytes(model.generate(n, steps=steps, progress=True))
    distances = {name: [frechet_distance(of(images), of(test.images)) for images in sets.values()]
                 for name, of in features.items()}
    head = "".join(f"{name:>12}" for name in features)
    print(f"Frechet distance to the test set, {n} images:\n{'':16}{head}")
    for k, name in enumerate(sets):
        print(f"{name:16}" + "".join(f"{values[k]:12.3f}" for values in distances.values()))
    for name, values in distances.items():
        order = [list(sets)[k] for k in torch.tensor(values).argsort().tolist()]
        print(f"{name:12}: {' < '.join(order)}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
