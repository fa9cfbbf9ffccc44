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

import jaxnn
from experiments.laws.draws import Case, flows, slope_down, started
from experiments.laws.law import (
    ERRORS,
    Expected,
    Law,
    Measurement,
    Panel,
    Prediction,
    curve,
    found,
    points,
    together,
)
from jaxnn.quadrature import mean

SELU = Case("selu", 1.0)
STARTS = (0.5, 3.0)
EARLY = 5  # a layer on the way to the fixed point
LENGTH = Panel("Variance of z[l]", "layer l", "mean square of z[l]")
GRADIENT = Panel("Gradient, started at variance 1", "layer l", "ln ‖Δz[l]‖ / ‖Δz[last]‖")
GROWTH = "growth of the gradient"


class Setup(NamedTuple):
    """Networks of one width; the first half of the layers is left out of the late means."""

    width: int
    layers: int
    seeds: int


def predict(setup: Setup) -> Prediction:
    """The length map from both starts, the moments at q = 1, ½ ln χ - c/4n, and a bound χ ≥ 1."""
    expected, curves = [], []
    layer, half = np.arange(1, setup.layers + 1), setup.layers // 2
    noise = "4 standard errors, and 3/n for the finite width"
    finite = 3 / setup.width
    for q in STARTS:
        lengths = np.asarray(jaxnn.meanfield.lengths(*SELU, q, setup.layers))
        curves.append(curve(LENGTH, f"from {q:g}", layer, lengths))
        early = float(lengths[EARLY - 1])
        expected += [
            Expected(f"variance from {q:g}, layer {EARLY}", early, finite * early, noise),
            Expected(
                f"variance from {q:g}, late layers", float(lengths[half:].mean()), finite, noise
            ),
        ]
    mean_a = float(mean("selu", 1.0, lambda f, z, g: f.sigma(z)))
    var_a = float(mean("selu", 1.0, lambda f, z, g: f.sigma(z) ** 2)) - mean_a**2
    expected.append(Expected("mean of a[l], late layers", mean_a, finite, noise))
    expected.append(Expected("variance of a[l], late layers", var_a, finite, noise))
    slope = started(SELU).half_log_chi
    band = jaxnn.meanfield.slope_band("selu", 1.0, setup.width, setup.layers)
    allowed = 2 * ERRORS * float(band.sd) / math.sqrt(setup.seeds)
    reason = "4 sd of the finite-width band over √seeds, doubled: units saturate"
    expected.append(Expected(GROWTH, slope + float(band.bias), allowed, reason, errors=0))
    expected.append(Expected(f"{GROWTH}: χ > 1", 0.0, 0.0, "a sign has no tolerance", 0, "≥"))
    curves.append(curve(GRADIENT, "½ ln χ a layer", layer, slope * (setup.layers - layer)))
    return Prediction(tuple(expected), together(curves))


def measure(setup: Setup, key: jax.Array) -> Measurement:
    """The signal from both starts, and the gradient of networks that start at the fixed point."""
    keys, numbers, shown = jax.random.split(key, setup.seeds), {}, []
    layer, half = np.arange(1, setup.layers + 1), setup.layers // 2
    for q in STARTS:
        flow = flows(keys, setup.width, setup.layers, SELU, q)
        square = np.asarray(flow.mean_square_z)[:, : setup.layers]
        shown.append(points(LENGTH, f"from {q:g}", layer, square))
        numbers[f"variance from {q:g}, layer {EARLY}"] = found(square[:, EARLY - 1])
        numbers[f"variance from {q:g}, late layers"] = found(square[:, half:].mean(axis=1))
    flow = flows(keys, setup.width, setup.layers, SELU, 1.0)
    for name, values in (("mean", flow.mean_a), ("variance", flow.var_a)):
        late = np.asarray(values)[:, half : setup.layers]
        numbers[f"{name} of a[l], late layers"] = found(late.mean(axis=1))
    profile = np.asarray(flow.log_delta)[:, : setup.layers]
    numbers[GROWTH] = numbers[f"{GROWTH}: χ > 1"] = found(slope_down(profile))
    shown.append(points(GRADIENT, "½ ln χ a layer", layer, profile - profile[:, -1:]))
    return Measurement(numbers, together(shown))


LAW = Law(
    number=8,
    name="self-normalising",
    source="Klambauer et al. 2017",
    statement="selu pulls a signal to mean 0 and variance 1; χ there is above 1: gradients grow",
    predict=predict,
    measure=measure,
    full=Setup(width=300, layers=50, seeds=40),
    quick=Setup(width=200, layers=50, seeds=10),
    panels=(LENGTH, GRADIENT),
)
