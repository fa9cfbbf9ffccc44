"""Law 8: selu pulls a signal to mean 0 and variance 1, where χ is above 1: gradients grow.

With σ_w = 1 and σ_b = 0 the length map has the stable fixed point q* = 1, at which E[σ(g)] = 0 and
E[σ(g)²] = 1: from any start the activations come to mean 0 and variance 1. But at that point
χ = E[σ′(g)²] is above 1, so that ‖Δz‖ grows by √χ a layer. A finite width shifts the mean square of
z and the mean of a by `finite.spread`, and the variance of a by 1/n, that of its mean over n units,
in addition. Source: Klambauer et al. 2017,
arXiv:1706.02515, theorems 1 and 2.
"""

import math

import jax
import numpy as np

from experiments.laws.finite import around, derivatives, slope, spread
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import HiddenLayers, fixed_point, gradients, slope_down
from jaxnn.theory import meanfield
from jaxnn.theory.quadrature import expectation

SELU = HiddenLayers("selu", 1.0)
STARTS = (0.5, 3.0)
EARLY = 5  # a layer on the way to the fixed point
GROWTH = "growth of the gradient"
MORE = 0.01  # of E[σ²], for the change of the length that it makes


def predict(setup: Setup) -> Told:
    """Predict by the length map from both starts, moments at q = 1, ½ ln χ and its bias, χ ≥ 1."""
    late = slice(setup.layers // 2, None)  # settled by then
    n = setup.width
    for q in STARTS:
        lengths = np.asarray(meanfield.lengths(*SELU, q, setup.layers))
        more = np.asarray(meanfield.lengths("selu", math.sqrt(1 + MORE), 0.0, q, setup.layers))
        finite = lengths + spread(SELU, lengths, n).bias
        for what, at in ((f"layer {EARLY}", slice(EARLY - 1, EARLY)), ("late layers", late)):
            yield Predicted(f"variance from {q:g}, {what}", float(finite[at].mean())).about(
                "E[σ²]", float((more - lengths)[at].mean()) / MORE
            )
    yield from _moments_of_a(setup)
    start = fixed_point(SELU)
    yield slope(GROWTH, start, n, setup.layers, setup.seeds)
    yield Predicted(f"{GROWTH}: χ > 1", 0.0, 0.0, "a sign has no tolerance", 0, "≥")


def _moments_of_a(setup: Setup) -> list[Predicted]:
    """Mean and variance of a[l] in the late layers of networks that start at q = 1."""
    ones, late = np.ones(setup.layers), slice(setup.layers // 2, None)
    finite = spread(SELU, ones, setup.width)
    means = [float(expectation("selu", q, lambda f, z, g: f.sigma(z))) for q in around(ones)[:, 0]]
    first, second = derivatives(np.array(means), 1.0)
    mean = means[0] + float((first * finite.bias + second * finite.variance / 2)[late].mean())
    square = float(expectation("selu", 1.0, lambda f, z, g: f.sigma(z) ** 2))
    # E[a²] of a layer is the Q of the next one; late layers are alike.
    variance = square - means[0] ** 2 + float(finite.bias[late].mean()) - square / setup.width
    return [
        Predicted("mean of a[l], late layers", mean),
        Predicted("variance of a[l], late layers", variance).about("E[σ²]", 1 / (1 - _pull())),
    ]


def _pull() -> float:
    """Return dq[l+1]/dq[l] at the fixed point."""
    lengths = [float(meanfield.length_map(*SELU, q)) for q in around(np.ones(1))[:, 0]]
    return float(derivatives(np.array(lengths), 1.0)[0])


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure the signal from both starts, and the gradient of networks at the fixed point."""
    keys = jax.random.split(key, setup.seeds)
    half = setup.layers // 2
    of_selu = SELU, setup.width, setup.layers
    for q in STARTS:
        (variance,) = gradients(keys, *of_selu, q, fields=("mean_square_z",))
        variance = variance[:, :-1]
        yield f"variance from {q:g}, layer {EARLY}", mean_of(variance[:, EARLY - 1])
        yield f"variance from {q:g}, late layers", mean_of(variance[:, half:].mean(axis=1))
    log_delta, *moments = gradients(keys, *of_selu, fields=("log_delta", "mean_a", "var_a"))
    for name, values in zip(("mean", "variance"), moments, strict=True):
        yield f"{name} of a[l], late layers", mean_of(values[:, half:-1].mean(axis=1))
    profile = log_delta[:, :-1]
    yield from dict.fromkeys((GROWTH, f"{GROWTH}: χ > 1"), mean_of(slope_down(profile))).items()


SOURCE = "Klambauer et al. 2017"
FULL = Setup(width=300, layers=50, seeds=160)
QUICK = Setup(width=200, layers=50, seeds=60)
