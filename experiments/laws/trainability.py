"""Law 6: networks train to a depth of about 6 ξ_c: they do at 3 ξ_c and do not at 12 ξ_c.

Two inputs stay apart, and gradients keep their size, over ξ_c layers: ξ_c = -1/ln χ in order, with
c* = 1, and -1/ln(σ_w² E[σ′(z) σ′(z̃)]) at c* in chaos. Schoenholz et al. see training succeed up to
about 6 ξ_c. The constant moves slowly with the number of steps, so what is asserted is a factor of
two on either side: trained at 3 ξ_c, not at 12 ξ_c. The depth that trains is where the accuracy
falls through half way from chance to one. Where the constant does not enter, theory is sharp: two
σ_w² of one phase, trained alike, have depths in the ratio of their ξ_c. Between the phases it does
not hold: what limits is the vanishing gradient in order, and inputs that come apart in chaos.
Source: Schoenholz et al. 2017, arXiv:1611.01232, section 5 and figure 5.
"""

import math
from functools import cache
from itertools import pairwise

import jax
import numpy as np

import jaxnn
from experiments.laws.law import (
    Predicted,
    Relation,
    Setup,
    Told,
    mean_of,
)
from experiments.laws.networks import draw
from experiments.laws.training import accuracies, classifier, digits
from experiments.learning.descent import DescentRule

ACTIVATION, SIGMA_B = "tanh", math.sqrt(0.05)
CRITICAL = 1.76  # σ_w² between order and chaos
REACH, FACTOR = 6.0, 2.0
BOUNDS: dict[float, Relation] = {REACH / FACTOR: "≥", REACH * FACTOR: "≤"}
WIDTH, ROOMS = 100, (48, 96, 144)  # hidden layers of a program: it updates them all, used or not
DESCENT, STEPS = DescentRule(rate=1e-3, momentum=0.9, batch=128), 600
RATIO = "depth that trains, σ_w² = {1:g} over {0:g}"
CASE = "σ_w² = {:g}: depth that trains, {:g} ξ_c"


@cache
def reach(variance: float) -> float:
    """Return ξ_c, in layers."""
    with jax.enable_x64(True):
        return float(jaxnn.theory.meanfield.xi_c(ACTIVATION, math.sqrt(variance), SIGMA_B))


def depth(variance: float, multiple: float) -> int:
    """Return a number of hidden layers as a multiple of ξ_c."""
    return min(ROOMS[-1], round(multiple * reach(variance)))


def halfway() -> float:
    """Return the accuracy that counts as trained: half way from chance to 1."""
    return (1 + digits().chance) / 2


def predict(setup: Setup) -> Told:
    """Predict that the depth that trains lies from 3 ξ_c to 12 ξ_c."""
    reason = "4 standard errors: the factor of two is in the bounds"
    for variance in setup.variances:
        for multiple, relation in BOUNDS.items():
            layers = multiple * reach(variance)
            case = CASE.format(variance, multiple)
            yield Predicted(case, layers, 0.0, reason, 4, relation).about("ξ_c")
    reason = "4 standard errors: the constant is one in a phase"
    for less, more in pairs(setup.variances):
        ratio = reach(more) / reach(less)
        yield Predicted(RATIO.format(less, more), ratio, 0.0, reason).about("ratio of ξ_c")


def pairs(variances: tuple[float, ...]) -> list[tuple[float, float]]:
    """Return neighbouring σ_w² of one phase, ascending."""
    return [(v, w) for v, w in pairwise(sorted(variances)) if (v < CRITICAL) == (w < CRITICAL)]


def measure(setup: Setup, key: jax.Array) -> Told:
    """Train networks of every σ_w², depth and seed; interpolate the depth that trains."""
    crossings: dict[float, np.ndarray] = {}
    bound, keys = halfway(), jax.random.split(key, setup.seeds)
    for variance in setup.variances:
        depths = np.array([depth(variance, multiple) for multiple in setup.reaches])
        accuracy = np.array([[_trained(k, variance, int(d)) for d in depths] for k in keys])
        crossings[variance] = np.array([_crossing(depths, of, bound) for of in accuracy])
        mean = mean_of(crossings[variance])
        yield from ((CASE.format(variance, multiple), mean) for multiple in BOUNDS)
    for v, w in pairs(setup.variances):
        with np.errstate(divide="ignore", invalid="ignore"):  # a depth of 0, or none: no number
            ratio = mean_of(crossings[w] / crossings[v])
        yield RATIO.format(v, w), ratio


def _trained(key: jax.Array, variance: float, layers: int) -> float:
    """Accuracy of one network after training."""
    key_params, key_batches = jax.random.split(key)
    net = classifier(WIDTH, next(room for room in ROOMS if room >= layers), ACTIVATION)
    params = draw(net, key_params, math.sqrt(variance), SIGMA_B)
    training = (net, params, digits(), key_batches, DESCENT, STEPS)
    return float(accuracies(*training, depth=layers)[-1])


def _crossing(depths: np.ndarray, accuracy: np.ndarray, bound: float) -> float:
    """First depth at which the accuracy falls through the bound: 0 before all, inf never."""
    below = np.flatnonzero(accuracy < bound)
    if not len(below) or below[0] == 0:
        return 0.0 if len(below) else math.inf
    i = below[0]
    share = (accuracy[i - 1] - bound) / (accuracy[i - 1] - accuracy[i])
    return float(depths[i - 1] + share * (depths[i] - depths[i - 1]))


SOURCE = "Schoenholz et al. 2017"
# reaches: depths in units of ξ_c.
FULL = Setup(variances=(1.0, 1.25, 3.0, 4.0), reaches=(3, 6, 9, 12, 16), seeds=3)
QUICK = Setup(variances=(4.0,), reaches=(3, 6, 12), seeds=1)
COARSE = (
    (
        "ξ_c",
        "the constant 6 is observed, moves with the steps of training, and may be 3 "
        "to 12: ratios of ξ_c are tested without it, and ξ_c itself by law 19",
    ),
)
