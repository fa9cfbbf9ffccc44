"""Law 8: selu pulls every signal towards mean 0 and variance 1, and yet its gradients grow.

With σ_w = 1 and σ_b = 0 the length map has the stable fixed point q* = 1, at which E[σ(g)] = 0 and
E[σ(g)²] = 1: from any start the activations come to mean 0 and variance 1. But at that point
χ = E[σ′(g)²] is above 1, so that ‖Δz‖ grows by √χ a layer. Source: Klambauer et al. 2017,
arXiv:1706.02515, theorems 1 and 2.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
import polars as pl

import jaxnn
from experiments.laws.draws import Ensemble, fixed_point, flows, slope_down
from experiments.laws.law import (
    ERRORS,
    Law,
    Measurement,
    Panel,
    Predicted,
    Prediction,
    curve,
    mean_of,
    points,
)
from jaxnn.theory.quadrature import expectation

SELU = Ensemble("selu", 1.0)
STARTS = (0.5, 3.0)
EARLY = 5  # a layer on the way to the fixed point
LENGTH = Panel("Variance of z[l]", "layer l", "mean square of z[l]")
GRADIENT = Panel("Gradient, started at variance 1", "layer l", "ln ‖Δz[l]‖ / ‖Δz[last]‖")
GROWTH = "growth of the gradient"


class Setup(NamedTuple):
    """Width, layers, whose first half is left out of the late means, and seeds."""

    width: int
    layers: int
    seeds: int

    @property
    def weights(self) -> int:
        """Weights of the largest network."""
        return self.width**2 * (self.layers + 1)


def predict(setup: Setup) -> Prediction:
    """Predict by the length map from both starts, the moments at q = 1, ½ ln χ - c/4n, χ ≥ 1."""
    numbers, curves = [], []
    layer, half = np.arange(1, setup.layers + 1), setup.layers // 2
    noise = "4 standard errors, and 3/n for the finite width"
    finite = 3 / setup.width
    for q in STARTS:
        lengths = np.asarray(jaxnn.theory.meanfield.lengths(*SELU, q, setup.layers))
        curves.append(curve(LENGTH, f"from {q:g}", layer, lengths))
        early = float(lengths[EARLY - 1])
        numbers += [
            Predicted(f"variance from {q:g}, layer {EARLY}", early, finite * early, noise),
            Predicted(
                f"variance from {q:g}, late layers", float(lengths[half:].mean()), finite, noise
            ),
        ]
    mean_a = float(expectation("selu", 1.0, lambda f, z, g: f.sigma(z)))
    var_a = float(expectation("selu", 1.0, lambda f, z, g: f.sigma(z) ** 2)) - mean_a**2
    numbers.append(Predicted("mean of a[l], late layers", mean_a, finite, noise))
    numbers.append(Predicted("variance of a[l], late layers", var_a, finite, noise))
    slope = fixed_point(SELU).half_log_chi
    band = jaxnn.theory.meanfield.slope_band("selu", 1.0, setup.width, setup.layers)
    allowed = 2 * ERRORS * float(band.sd) / math.sqrt(setup.seeds)
    reason = "4 sd of the finite-width band over √seeds, doubled: units saturate"
    numbers.append(Predicted(GROWTH, slope + float(band.bias), allowed, reason, errors=0))
    numbers.append(Predicted(f"{GROWTH}: χ > 1", 0.0, 0.0, "a sign has no tolerance", 0, "≥"))
    curves.append(curve(GRADIENT, "½ ln χ a layer", layer, slope * (setup.layers - layer)))
    return Prediction(tuple(numbers), pl.concat(curves))


def measure(setup: Setup, key: jax.Array) -> Measurement:
    """Measure the signal from both starts, and the gradient of networks at the fixed point."""
    keys, numbers, frames = jax.random.split(key, setup.seeds), {}, []
    layer, half = np.arange(1, setup.layers + 1), setup.layers // 2
    for q in STARTS:
        flow = flows(keys, setup.width, setup.layers, SELU, q)
        variance = np.asarray(flow.mean_square_z)[:, : setup.layers]
        frames.append(points(LENGTH, f"from {q:g}", layer, variance))
        numbers[f"variance from {q:g}, layer {EARLY}"] = mean_of(variance[:, EARLY - 1])
        numbers[f"variance from {q:g}, late layers"] = mean_of(variance[:, half:].mean(axis=1))
    flow = flows(keys, setup.width, setup.layers, SELU, 1.0)
    for name, values in (("mean", flow.mean_a), ("variance", flow.var_a)):
        late = np.asarray(values)[:, half : setup.layers]
        numbers[f"{name} of a[l], late layers"] = mean_of(late.mean(axis=1))
    profile = np.asarray(flow.log_delta)[:, : setup.layers]
    numbers[GROWTH] = numbers[f"{GROWTH}: χ > 1"] = mean_of(slope_down(profile))
    frames.append(points(GRADIENT, "½ ln χ a layer", layer, profile - profile[:, -1:]))
    return Measurement(numbers, pl.concat(frames))


LAW = Law(
    number=8,
    name="self-normalising",
    source="Klambauer et al. 2017",
    statement="selu pulls a signal to mean 0 and variance 1; χ there is above 1: gradients grow",
    predict=predict,
    measure=measure,
    full=Setup(width=300, layers=50, seeds=160),
    quick=Setup(width=200, layers=50, seeds=40),
    panels=(LENGTH, GRADIENT),
)
