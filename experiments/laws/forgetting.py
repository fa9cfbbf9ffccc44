"""Law 19: in order two signals become equal in a float after 2 ξ_c ln(d₀/eps) layers.

d = √(2 (1-c)) is the distance of two signals over their length. In order (χ < 1) it falls by √χ a
layer, ξ_c = -1/ln χ, and to the rounding eps of the float after 2 ξ_c ln(d₀/eps) layers: 31.9 ξ_c
in float32, 9.7 in bfloat16. Rounding leaves a floor of one to six eps, so what is compared is the
layer at which d falls through 8 eps, on a line through ln d, predicted by the correlation map from
the true c₀. At a finite width ln d falls by as much more a layer as a gradient does. Each network
takes several inputs, of which each pair counts. A derivation, made here, from the maps of Poole et
al. 2016, arXiv:1606.05340, and Schoenholz et al. 2017, arXiv:1611.01232, who find that networks
train to 6 ξ_c.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from experiments.laws.finite import slope
from experiments.laws.law import Predicted, Setup, Told, mean_of
from experiments.laws.networks import (
    HiddenLayers,
    fixed_point,
    orthogonalised,
    random_rows,
    signals,
)
from jaxnn.theory import meanfield

ENSEMBLE = HiddenLayers("erf", 1.0, math.sqrt(0.05))
C0, FLOOR = 0.0, 8.0  # correlation of the inputs; d in units of eps that counts as forgotten
INPUTS = 4  # of each network, orthogonal


def floats(setup: Setup) -> dict[str, int]:
    """Return the layers of each float that is measured."""
    layers = {"bfloat16": setup.bfloat16, "float32": setup.float32}
    return {name: count for name, count in layers.items() if count}


def floor_of(name: str) -> float:
    """Return 8 eps, the distance that counts as none."""
    return FLOOR * float(jnp.finfo(name).eps)  # type: ignore[no-untyped-call]


def predict(setup: Setup) -> Told:
    """Predict the layer at which two signals come to be 8 eps apart."""
    deepest = max(floats(setup).values())
    apart = np.sqrt(2 * (1 - np.asarray(meanfield.paths(*ENSEMBLE, 1.0, C0, deepest).c)))
    reason = "4 standard errors, and the next order in 1/n of the bias"
    start = fixed_point(ENSEMBLE)
    growth = slope("", start, setup.width, deepest, setup.seeds)
    bias = growth.value - start.half_log_chi
    for name in floats(setup):
        forgotten, soonest = (
            falls_through(apart * np.exp(rate * np.arange(deepest)), floor_of(name))
            for rate in (bias, bias - growth.allowed)
        )
        yield Predicted(name, forgotten, forgotten - soonest, reason).about("ξ_c")


def falls_through(apart: np.ndarray, floor: float) -> float:
    """Return the layer, from 1, at which d falls through the floor; nan if it does not.

    Between the layer above the floor and the one below, ln d is a straight line.
    """
    below = np.flatnonzero(apart < floor)
    if not len(below) or not below[0]:
        return math.nan
    last, first = np.log(np.maximum(apart[below[0] - 1 : below[0] + 1], np.finfo(float).tiny))
    return float(below[0] + (last - math.log(floor)) / (last - first))


def measure(setup: Setup, key: jax.Array) -> Told:
    """Send orthogonal inputs through each network, in each float."""
    keys = jax.random.split(key, setup.seeds)
    x = orthogonalised(random_rows(key, INPUTS, setup.width))
    for name, layers in floats(setup).items():
        apart = np.stack([distances(z) for z in signals(keys, ENSEMBLE, layers, x, name)])
        forgotten = [
            np.mean([falls_through(by_layer, floor_of(name)) for by_layer in pairs])
            for pairs in apart
        ]
        yield name, mean_of(forgotten)


def distances(z: np.ndarray) -> np.ndarray:
    """Return ‖z - z̃‖ over the root of the mean of both squares of each pair of rows.

    z (layers, rows, n) -> (pairs, layers).
    """
    one, other = np.triu_indices(z.shape[1], 1)
    difference = np.sum((z[:, one] - z[:, other]) ** 2, axis=-1)
    square = np.sum(z**2, axis=-1)
    return np.sqrt(2 * difference / (square[:, one] + square[:, other])).T


SOURCE = "derived here from Schoenholz et al. 2017"
# bfloat16, float32: the hidden layers of each float.
FULL = Setup(width=300, seeds=24, bfloat16=60, float32=240)
QUICK = Setup(width=200, seeds=60, bfloat16=70, float32=0)
