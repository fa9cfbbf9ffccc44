"""Law 17: 100 plain layers train with a leaky relu tailored to them, and not with relu.

The slope s takes two inputs from c = 0 to c = η at the top, L times through

    C(c) = c + (1-s)²/(π (1+s²)) [√(1-c²) - c arccos c]

and the factor √(2/(1+s²)) keeps q and makes χ = 1. relu, s = 0, sends all inputs to one instead,
and does not train. The best of the looks at the accuracy counts, of both: at a step size at which
100 layers learn in some hundred steps, the loss jumps now and then. A network of n units draws its
c: from layer to layer, that of a sample of n

    V′ = C′(c)² V + v(c)/n    v = E[(x y - C (x² + y²)/2)²],  x = σ(z), y = σ(z̃) over their lengths

so that c has a bias of order 1/n, B′ = C′ B + ½ C″ V + b(c)/n, with b/n that of the correlation of
a sample; a derivation made here. C pulls c towards its path, so that c[L] says little of k =
(1-s)²/(1+s²). By its own c[l] a network says more: with C(c) = c + k h(c), k is (c[L] - c[0]) over
Σ h(c[l]), but for Σ b/n. ln ‖Δz‖² of a network has the mean -cL/2n. Source: Zhang, Botev & Martens
2022, arXiv:2203.08120.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.laws.law import (
    Predicted,
    Relation,
    Setup,
    Told,
    mean_of,
)
from experiments.laws.networks import (
    ORTHOGONAL,
    HiddenLayers,
    correlations,
    draw,
    gradients,
    signals,
)
from experiments.laws.training import accuracies, classifier, digits
from experiments.learning.descent import DescentRule
from jaxnn.theory import meanfield

ETA, INPUTS = 0.9, 8
ALONG = "tailored: (1-s)²/(1+s²) along c"
MORE = 0.01  # of (1-s)²/(1+s²), for the change of c that it makes
WIDTH, DESCENT = 64, DescentRule(rate=0.01, momentum=0.0, batch=128)
TRAINED, STALLED = 0.95, 0.5


def predict(setup: Setup) -> Told:
    """Predict c half way up and at the top, the size of the gradient, and two accuracies."""
    sigma, n = jaxnn.theory.tailored_relu(setup.layers, ETA), setup.width
    # a[L] has the correlation that z of one layer more would have.
    along = (1.0, 0.0, setup.layers + 1)
    c = np.asarray(meanfield.paths(sigma, 1.0, 0.0, *along).c)
    s = meanfield.tailored_slope(setup.layers, ETA)
    k = (1 - s) ** 2 / (1 + s**2)
    bias, steps = bias_of_c(c, n, s)
    reason = "4 standard errors, and a third of the bias of c for the next order"
    yield from [
        Predicted(
            f"tailored: c[{at}]", float(c[at] + bias[at]), abs(float(bias[at])) / 3, reason
        ).about("curvature of C", (end(k * (1 + MORE), at) - end(k, at)) / MORE)
        for at in (setup.layers // 2, setup.layers)
    ]
    along_path = k + float(np.sum(steps[:-1]) / np.sum(bend(c[:-1])))
    reason = "4 standard errors, and 1/n of it for the noise in each c"
    yield Predicted(ALONG, along_path, k / n, reason).about("curvature of C")
    band = meanfield.log_delta_band(sigma, 1.0, 0.0, 1.0, n, setup.layers)
    yield Predicted(
        "tailored: gradient",
        2 * float(band.bias[0]),
        0.0,
        "4 predicted deviations of one network over √draws",
    ).about("χ", setup.layers - 1.0, 2 * float(band.sd[0]) / math.sqrt(setup.draws))
    bounds: dict[str, tuple[float, Relation]] = {"tailored": (TRAINED, "≥"), "relu": (STALLED, "≤")}
    for name, (bound, relation) in bounds.items():
        yield Predicted(f"{name}: accuracy", bound, 0.0, "a bound: no tolerance", 0, relation)


def end(k: float, layers: int) -> float:
    """Return C(…C(0)), for (1-s)²/(1+s²) = k."""
    c = 0.0
    for _ in range(layers):
        c += k * float(bend(np.array(c)))
    return c


def bend(c: np.ndarray) -> np.ndarray:
    """Return h(c), of C(c) = c + k h(c)."""
    return (np.sqrt(1 - c**2) - c * np.arccos(c)) / math.pi


def bias_of_c(c: np.ndarray, n: int, s: float) -> tuple[np.ndarray, np.ndarray]:
    """Return B in each layer, given c there, and what a step adds to it, b/n.

    c[0] is that of the inputs' z, exact, and each step adds to V and B; s is that of the relu.
    """
    k = (1 - s) ** 2 / (1 + s**2)
    angle = np.linspace(0, 2 * np.pi, 4001)[:-1]
    bias, variance, biases, steps = 0.0, 0.0, [], []
    for here in c:
        biases.append(bias)
        tangent = 1 - k * math.acos(here) / math.pi  # C′
        root = math.sqrt(max(1 - here**2, 1e-12))
        z, other = np.cos(angle), here * np.cos(angle) + root * np.sin(angle)
        x, y = (np.sqrt(2 / (1 + s**2)) * np.where(v > 0, v, s * v) for v in (z, other))
        above = 2 * np.mean(x * y)  # E r² of a Gaussian pair in polar coordinates, and E r⁴ = 8
        noise = 8 * np.mean((x * y - above * (x**2 + y**2) / 2) ** 2) / n
        fourth, mixed, cubic = (8 * np.mean(v) for v in (x**4, x**2 * y**2, x**3 * y))
        # Of a quotient of means over n: -Cov(xy, x²) + C (¾ Var x² + ¼ Cov(x², y²)).
        sample = (above * (0.75 * fourth + 0.25 * mixed) - cubic) / n
        steps.append(sample)
        curvature = k / (np.pi * root)
        bias = tangent * bias + 0.5 * curvature * variance + sample
        variance = tangent**2 * variance + noise
    return np.array(biases), np.array(steps)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure c of eight inputs and the gradient as drawn; train with both activations."""
    ensemble = HiddenLayers(jaxnn.theory.tailored_relu(setup.layers, ETA), 1.0)
    key_draws, key_x, key_training = jax.random.split(key, 3)
    keys = jax.random.split(key_draws, setup.draws)
    # One layer more, linear in a[L]: its z has the correlation of a[L].
    (log_delta,) = gradients(keys, ensemble, setup.width, setup.layers + 1)
    ratio = 2 * (log_delta[:, 0] - log_delta[:, setup.layers - 1])
    orthonormal = np.linalg.qr(jax.random.normal(key_x, (setup.width, INPUTS)))[0].T
    x = jnp.asarray(math.sqrt(setup.width) * orthonormal)
    of_pairs = np.stack([correlations(z) for z in signals(keys, ensemble, setup.layers + 1, x)])
    c = of_pairs.mean(axis=2)
    top, half = setup.layers, setup.layers // 2
    yield from ((f"tailored: c[{at}]", mean_of(c[:, at])) for at in (half, top))
    yield "tailored: gradient", mean_of(ratio)
    rise, bends = c[:, top] - c[:, 0], np.sum(bend(of_pairs[:, :top]).mean(axis=2), axis=1)
    k = rise.mean() / bends.mean()
    yield ALONG, mean_of(k + (rise - k * bends) / bends.mean())
    for name in ("tailored", "relu"):
        learned = [_trained(setup, name, k) for k in jax.random.split(key_training, setup.seeds)]
        accuracy = np.array(learned, np.float64)
        yield f"{name}: accuracy", mean_of(accuracy.max(axis=1))


def _trained(setup: Setup, name: str, key: jax.Array) -> jax.Array:
    """Accuracies of one network; of one key the matrices are the same, but for √2 of relu's."""
    key_params, key_batches = jax.random.split(key)
    tailored = name == "tailored"
    sigma = jaxnn.theory.tailored_relu(setup.trained, ETA) if tailored else "relu"
    net, like = (classifier(WIDTH, setup.trained, v) for v in (sigma, "identity"))
    weights = draw(like, key_params, 1.0 if tailored else math.sqrt(2), 0.0, ORTHOGONAL)
    return accuracies(net, weights, digits(), key_batches, DESCENT, setup.steps, setup.looks)


SOURCE = "Zhang et al. 2022"
# width, layers, draws: of drawn networks; the others of trained ones.
FULL = Setup(width=400, layers=100, draws=150, trained=100, steps=600, looks=12, seeds=3)
QUICK = Setup(width=150, layers=20, draws=40, trained=100, steps=300, looks=12, seeds=1)
