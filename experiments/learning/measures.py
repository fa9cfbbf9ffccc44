"""The metric that people know of each task, in words."""

import numpy as np

METRIC = {"regression": "R²", "binary": "accuracy", "multiclass": "accuracy"}


def fixed(value: float, decimals: int) -> str:
    """Return a metric with so many decimals; an R² far below zero as a power of ten.

    Example:
        >>> fixed(0.98765, 3), fixed(-8.1e29, 3)
        ('0.988', '-8.1e+29')
    """
    return f"{value:.{decimals}f}" if abs(value) < 1000 else f"{value:.{decimals}g}"


def base_rate(truth: np.ndarray) -> float:
    """Return the accuracy of always naming the most frequent class."""
    return float(np.unique(truth, return_counts=True)[1].max() / len(truth))
