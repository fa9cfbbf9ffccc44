"""Law 19: in order, a float forgets which of two inputs it has after so many layers, and no more.

d = √(2 (1-c)) is the distance of two signals over their length. In order (χ < 1) it falls by √χ a
layer, ξ_c = -1/ln χ, and to the rounding eps of the float after 2 ξ_c ln(d₀/eps) layers: 31.9 ξ_c
in float32, 9.7 in bfloat16. Rounding leaves a floor of one to six eps, so what is compared is the
first layer with d < 8 eps, predicted by the correlation map from the true c₀. A derivation, made
here, from the maps of Poole et al. 2016, arXiv:1606.05340, and Schoenholz et al. 2017,
arXiv:1611.01232, who find that networks train to 6 ξ_c.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl

from experiments.laws.draws import Ensemble, square_network
from experiments.laws.law import (
    Law,
    Measurement,
    Panel,
    Predicted,
    Prediction,
    curve,
    mean_of,
    points,
)
from experiments.laws.passes import pair, path, signals
from jaxnn.network.blocks import DENSE

ENSEMBLE = Ensemble("erf", 1.0, math.sqrt(0.05))
C0, FLOOR = 0.0, 8.0  # correlation of the inputs; d in units of eps that counts as forgotten
FINITE = 0.03  # of the number of layers
APART = Panel("Distance of two signals", "layer l", "d[l]", log_y=True)


class Setup(NamedTuple):
    """Width, networks, and the hidden layers of each float."""

    width: int
    seeds: int
    bfloat16: int
    float32: int

    @property
    def weights(self) -> int:
        """Weights of the largest network."""
        return self.width**2 * (max(self.bfloat16, self.float32) + 1)


def floats(setup: Setup) -> dict[str, int]:
    """Return the layers of each float that is measured."""
    layers = {"bfloat16": setup.bfloat16, "float32": setup.float32}
    return {name: count for name, count in layers.items() if count}


def floor_of(name: str) -> float:
    """Return 8 eps, the distance that counts as none."""
    return FLOOR * float(jnp.finfo(name).eps)  # type: ignore[no-untyped-call]


def predict(setup: Setup) -> Prediction:
    """Predict the first layer at which two signals are 8 eps apart or less."""
    deepest = max(floats(setup).values())
    (c,) = path(ENSEMBLE, DENSE, 1.0, C0, deepest, ("c",))
    apart = np.sqrt(2 * (1 - c))
    numbers, curves = [], []
    reason = "4 standard errors, and 3 % of the layers for the finite width"
    for name, layers in floats(setup).items():
        forgotten = first_below(apart, floor_of(name))
        numbers.append(Predicted(name, forgotten, FINITE * forgotten, reason))
        until = min(layers, int(forgotten) + 3)
        curves.append(curve(APART, name, np.arange(1, until + 1), apart[:until]))
    return Prediction(tuple(numbers), pl.concat(curves))


def first_below(apart: np.ndarray, floor: float) -> float:
    """Return the first layer l, from 1, with d[l] below the floor; nan if there is none."""
    below = np.flatnonzero(apart < floor)
    return float(below[0] + 1) if len(below) else math.nan


def measure(setup: Setup, key: jax.Array) -> Measurement:
    """Send two orthogonal inputs through each network, in each float."""
    numbers, frames = {}, []
    keys, x = jax.random.split(key, setup.seeds), pair(setup.width, C0)
    for name, layers in floats(setup).items():
        net = square_network(setup.width, layers, ENSEMBLE.activation)
        apart = np.stack([distance(z) for z in signals(keys, net, ENSEMBLE, x, name)])
        forgotten = [first_below(by_layer, floor_of(name)) for by_layer in apart]
        numbers[name] = mean_of(forgotten)
        layer = np.unique(np.linspace(1, layers, 15).astype(int))
        frames.append(points(APART, name, layer, apart[:, layer - 1]))
    return Measurement(numbers, pl.concat(frames))


def distance(z: np.ndarray) -> np.ndarray:
    """Return ‖z - z̃‖ over the root of the mean of both squares, for z (layers, 2, n)."""
    difference = np.sum((z[:, 0] - z[:, 1]) ** 2, axis=-1)
    apart: np.ndarray = np.sqrt(difference / (np.sum(z**2, axis=(1, 2)) / 2))
    return apart


LAW = Law(
    number=19,
    name="forgetting",
    source="derived here from Schoenholz et al. 2017",
    statement="in order two signals are one in a float after 2 ξ_c ln(d₀/eps) layers",
    predict=predict,
    measure=measure,
    full=Setup(width=300, seeds=10, bfloat16=60, float32=240),
    quick=Setup(width=150, seeds=8, bfloat16=70, float32=0),
    panels=(APART,),
)
