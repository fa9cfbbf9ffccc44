"""Law 10: a signal survives 10,000 orthogonal layers; Gaussian ones take L/2n off its log.

    linear, orthogonal:  ln ‖z[L]‖/‖z[1]‖ = 0 exactly
    linear, Gaussian:    -L/2n ± √(L/2n), from E ln χ²_n/n = ψ(n/2) - ln(n/2) a layer, halved
    tanh, orthogonal:    q[l+1] = E[tanh(√q[l] g)²], so -½ ln 3 for q0 = 1/L: dq/dl = -2q²

For n units that are spread on a sphere, E[z⁴] is 3 q² n/(n+2): a finite width slows tanh down, to
-½ ln(1 + 2n/(n+2)). In a linear Gaussian network R = ‖z[l+1]‖²/‖z[l]‖² has the mean 1. So what is
measured is the sum of ½ (ln R - (R - 1)), of the same mean and n times less variance, R = χ²_n/n:
¼ (ψ′(n/2) - 2/n) a layer, as ln R and R have the covariance 2/n.
Source: Xiao et al. 2018, arXiv:1806.05393, there with convolutions.
"""

import math

import jax
import numpy as np
from scipy.special import digamma, polygamma

import jaxnn
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import GAUSSIAN, ORTHOGONAL, HiddenLayers, gradients
from jaxnn.network.params import Initializer

NAMES = ("linear, orthogonal", "linear, Gaussian", "tanh, orthogonal")


def predict(setup: Setup) -> Told:
    """Predict ln ‖z[l]‖/‖z[1]‖ of the three kinds of network, at l = L and on the way."""
    n, layers, seeds = setup.width, setup.layers, setup.seeds
    loss = 0.5 * (float(digamma(n / 2)) - math.log(n / 2))
    sd = 0.5 * math.sqrt((float(polygamma(1, n / 2)) - 2 / n) * (layers - 1))
    q = np.asarray(jaxnn.theory.meanfield.lengths("tanh", 1.0, 0.0, 1 / layers, layers))
    path = 0.5 * np.log(q / q[0])
    slower = 0.5 * math.log((1 + 2 * layers * q[0]) / (1 + 2 * layers * q[0] * n / (n + 2)))
    rounding = layers * float(np.finfo(np.float32).eps)
    lost, reason = loss * (layers - 1), "rounding, L · 2⁻²³"
    yield Predicted(NAMES[0], 0.0, rounding, reason, errors=0)
    of_loss = f"4 of the predicted deviation over √seeds, and {reason}"
    yield Predicted(NAMES[1], lost, rounding, of_loss).about(
        "loss of a layer", lost, sd / math.sqrt(seeds)
    )
    yield Predicted(
        NAMES[2], float(path[-1]) + slower, rounding, f"4 standard errors, and {reason}"
    ).about("curvature of tanh", -1 / 3)


def measure(setup: Setup, key: jax.Array) -> Told:
    """Measure the length of z[l] by the mean squares that `gradient_flow` records."""
    keys = jax.random.split(key, setup.seeds)
    kinds: tuple[tuple[str, Initializer, float], ...] = (
        ("identity", ORTHOGONAL, 1.0),
        ("identity", GAUSSIAN, 1.0),
        ("tanh", ORTHOGONAL, 1 / setup.layers),
    )
    for name, (activation, weights, q0) in zip(NAMES, kinds, strict=True):
        of_kind = HiddenLayers(activation, 1.0), setup.width, setup.layers, q0
        (square,) = gradients(keys, *of_kind, fields=("log_mean_square",), weights=weights)
        log_z = 0.5 * square[:, :-1]
        path = log_z - log_z[:, :1]
        step = 2 * np.diff(log_z, axis=1)
        paired = np.sum(step - np.expm1(step), axis=1) / 2
        yield name, mean_of(paired if weights is GAUSSIAN else path[:, -1])


SOURCE = "Xiao et al. 2018"
FULL = Setup(width=64, layers=10_000, seeds=8)
QUICK = Setup(width=64, layers=10_000, seeds=3)
