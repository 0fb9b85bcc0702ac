"""Metrics: pure functions of features and probabilities, and the network that computes those."""

from nanoldm.evaluation.metrics.classifier import (
    class_accuracy,
    confidence,
    distance_from_uniform,
    histogram,
)
from nanoldm.evaluation.metrics.distances import (
    frechet_distance,
    gaussian_distance,
    kernel_distance,
    mean_kernel,
    moments,
)
from nanoldm.evaluation.metrics.feature_net import ClassificationLoss, FeatureNet, extract
from nanoldm.evaluation.metrics.neighbours import NEIGHBOURS, density_coverage, nearest, radii

__all__ = ["NEIGHBOURS", "ClassificationLoss", "FeatureNet", "class_accuracy", "confidence",
           "density_coverage", "distance_from_uniform", "extract", "frechet_distance",
           "gaussian_distance", "histogram", "kernel_distance", "mean_kernel", "moments", "nearest",
           "radii"]
