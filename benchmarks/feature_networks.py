"""Do different feature networks order the same models in the same way? And what does their memory format cost?

    python benchmarks/feature_networks.py [SAMPLES]

Judged: real images, reconstructions, and the bundled model with 100, 50, 20, 10 and 5 steps (each a worse sampler), SAMPLES (1,000) each.
Judges: both networks of digits-v1; a third classifier, trained here with another seed, width and length; and, with no network at all, the
first 64 principal components of the pixels.
"""

import sys
import time

import torch

from nanoldm.data import load
from nanoldm.evaluation.feature_training import train_network
from nanoldm.evaluation.features import load_features
from nanoldm.evaluation.metrics import ClassificationLoss, FeatureNet, extract, frechet_distance
from nanoldm.pipeline.latent_diffusion import LatentDiffusion
from nanoldm.utils.device import prepare_torch
from nanoldm.utils.images import to_bytes, to_float

N = int(sys.argv[1]) if len(sys.argv) > 1 else 1000


def seconds_per_step(memory_format: torch.memory_format) -> float:
    loss = ClassificationLoss(FeatureNet().to(memory_format=memory_format))
    image, label = torch.rand(256, 1, 28, 28), torch.randint(10, (256,))
    times = []
    for _ in range(8):
        began = time.perf_counter()
        loss(image, label).backward()
        times.append(time.perf_counter() - began)
    return sorted(times)[len(times) // 2]


prepare_torch()
plain, last = seconds_per_step(torch.contiguous_format), seconds_per_step(torch.channels_last)
print(f"forward and backward of 256 images: {plain:.3f} s contiguous, {last:.3f} s channels_last: {plain / last:.1f}x", flush=True)

train, test = load("mnist")
third = train_network(train, epochs=3, width=24, seed=7, name="third network")
pixels = train.images.flatten(1).float() / 255
components = torch.linalg.eigh(torch.cov(pixels.T))[1][:, -64:]
judges = {task: lambda images, network=network: extract(network, images)[0] for task, network in load_features().networks.items()}
judges |= {"third": lambda images: extract(third, images)[0], "pixels": lambda images: images.flatten(1).float() / 255 @ components}

model = LatentDiffusion.from_pretrained("mnist")
judged = {"real images": train.images[:N], "reconstructions": to_bytes(model.reconstruct(to_float(test.images[:N])))}
judged |= {f"{steps} steps": to_bytes(model.generate(range(N), steps, progress=True)) for steps in (100, 50, 20, 10, 5)}

distances = {name: [frechet_distance(judge(images), judge(test.images)) for images in judged.values()] for name, judge in judges.items()}
print(f"Frechet distance to the test set, {N} images:\n{'':16}" + "".join(f"{name:>12}" for name in judges))
for k, name in enumerate(judged):
    print(f"{name:16}" + "".join(f"{values[k]:12.3f}" for values in distances.values()))
orders = {name: [list(judged)[k] for k in torch.tensor(values).argsort().tolist()] for name, values in distances.items()}
for name, order in orders.items():
    print(f"{name:12}: {' < '.join(order)}")
