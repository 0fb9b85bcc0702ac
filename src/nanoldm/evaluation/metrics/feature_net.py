"""The network whose features images are compared by."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm


def halving(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution, then half the side (rounded up). Pooling before the rest saves time."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
                         nn.MaxPool2d(2, ceil_mode=True), nn.BatchNorm2d(outputs), nn.ReLU())


class FeatureNet(nn.Module):
    """A small convolutional classifier.

    Images (B, C, S, S) in [0, 1] -> features (B, `features`) and logits (B, classes). The features
    are normalised over the training images (mean 0, standard deviation 1), so that a Frechet
    distance of 1 means about the same in every such network.
    """

    def __init__(self, image_channels: int = 1, image_size: int = 28, classes: int = 10,
                 width: int = 32, features: int = 128):
        super().__init__()
        self.config = dict(image_channels=image_channels, image_size=image_size, classes=classes,
                           width=width, features=features)
        side = -(-image_size // 8)
        self.trunk = nn.Sequential(halving(image_channels, width, 5), halving(width, 2 * width, 3),
                                   halving(2 * width, 4 * width, 3))
        self.project = nn.Linear(4 * width * side**2, features, bias=False)
        self.norm = nn.BatchNorm1d(features, affine=False)
        self.classify = nn.Linear(features, classes)
        # 1.5 times as fast on the CPU (benchmarks/feature_networks.py)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.trunk(images).flatten(1)                             # (B, 4 width (S/8)^2)
        features = self.norm(self.project(x))                         # (B, features)
        return features, self.classify(features.relu())               # (B, classes)


class ClassificationLoss(nn.Module):
    """Mean cross-entropy. image: (B, C, S, S) in [0, 1], label: (B,) integers -> scalar."""

    def __init__(self, network: FeatureNet):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(self.network(image)[1], label)


@torch.no_grad()
def extract(
    network: FeatureNet, images: Tensor, progress: str | None = None
) -> tuple[Tensor, Tensor]:
    """Features (N, F) and class probabilities (N, classes) of images, on the CPU.

    images: (N, C, S, S), uint8 or float in [0, 1]. progress: caption of a progress bar (None: no
    bar).
    """
    network.eval()
    device, outputs = network.classify.weight.device, []
    options = dict(desc=progress, unit_scale=500, unit="image", delay=1, disable=progress is None)
    for part in tqdm(images.split(500), **options):
        part = part.to(device).float() / (255 if part.dtype == torch.uint8 else 1)
        outputs.append(network(part))
    features, logits = (torch.cat(parts).cpu() for parts in zip(*outputs, strict=True))
    return features, logits.softmax(1)
