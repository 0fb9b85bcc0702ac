"""Image sets as uint8 tensors in memory: bundled MNIST, torchvision's sets by name, a folder of the user's own."""

from nanoldm.data.imageset import ImageSet, check_images, images_at_a_time, to_bytes, to_float
from nanoldm.data.load import load

__all__ = ["ImageSet", "check_images", "images_at_a_time", "load", "to_bytes", "to_float"]
