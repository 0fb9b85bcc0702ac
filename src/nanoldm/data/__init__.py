"""Image sets as uint8 tensors in memory: bundled MNIST, torchvision's sets, a folder of images."""

from nanoldm.data.imageset import ImageSet
from nanoldm.data.load import load

__all__ = ["ImageSet", "load"]
