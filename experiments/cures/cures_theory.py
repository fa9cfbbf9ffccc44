"""Mean-field theory of the remedies: gradient ratio and correlation, at infinite width.

Of the gradient, `meanfield.log_delta` along the lengths q[l], and for plain Gaussian networks what
a finite width adds to its mean over examples; nan where the formula of that has no number.
The correlation c[l] of two inputs follows from the same lengths: of a leaky relu of slope s, with κ
of Cho & Saul 2009 (arc-cosine kernel),

    κ(c) = c + k/π (√(1-c²) - c arccos c),  k = (1-s)²/(1+s²)         s = 0 of relu
    q[l+1] c[l+1] = m q[l] c[l] + (q[l+1] - m q[l]) κ(c[l])           m = 1 with a skip, else 0

for what does not come through the skip connection, comes through σ. Behind a batch norm c is what
`correlation_fixed_point` says; of other units `correlation_map` is followed until c stands still.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.cures.columns import DISTANCE, GRADIENT
from experiments.cures.remedies import GAUSSIAN, Remedy
from jaxnn.network.blocks import Block, rows_meet
from jaxnn.theory import meanfield

STILL = 1e-6  # a change of 1 - c a layer that is none, relative to it
LEAST = 1e-12  # of 1 - c: below is rounding

Predicted = dict[tuple[str, int], float]  # by quantity and depth


class Inputs(NamedTuple):
    """The inputs of theory: n units a layer, B rows a batch, and of x mean square and correlation.

    width: n.
    batch: B.
    q0: the mean square of an entry of x.
    c0: the mean correlation of two rows of x.
    """

    width: int
    batch: int
    q0: float
    c0: float


def predict(remedy: Remedy, depths: Iterable[int], inputs: Inputs) -> Predicted:
    """Return log10_gradient and distance, 1 - c, of networks of each depth.

    1 - c is nan where it is rounding, and for inputs of zeros. Of a remedy that is not the same at
    every depth, each depth is a theory of its own.
    """
    within = sorted(depth for depth in set(depths) if depth >= remedy.least)
    predicted: Predicted = {}
    with jax.enable_x64(True), np.errstate(invalid="ignore"):  # inputs of zeros: ∞ - ∞
        for depth in within:
            if depth == within[0] or not remedy.same_at_every_depth:
                deepest = within[-1] if remedy.same_at_every_depth else depth
                log_delta, far = _profiles(remedy, deepest, inputs)
            ratio = (log_delta[0] - log_delta[depth - 1]) / np.log(10)
            predicted[GRADIENT, depth] = float(ratio)
            predicted[DISTANCE, depth] = float(far[depth - 1])
    return predicted


def _profiles(remedy: Remedy, depth: int, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Return ln ‖Δz[l]‖ / ‖Δz[depth]‖ and 1 - c[l], for l = 1 … depth."""
    block = remedy.kind.of(depth)
    plain = remedy.kind.name == "dense" and remedy.weights.scheme == GAUSSIAN
    log_delta, q = _mean_field(
        jaxnn.network.find_activation(remedy.activation(depth)),
        remedy.weights.factor,
        inputs.q0,
        inputs.c0,
        depth,
        block,
        inputs.batch if rows_meet(block) else None,
        inputs.width if plain else None,
    )
    far = 1 - correlations(remedy, depth, np.asarray(q), inputs)
    return np.asarray(log_delta), np.where(far > LEAST, far, np.nan)


@partial(jax.jit, static_argnames=("activation", "depth", "block", "batch", "width"))
def _mean_field(
    activation: jaxnn.network.Activation,
    sigma_w: float,
    q0: float,
    c0: float,
    depth: int,
    block: Block,
    batch: int | None,
    width: int | None,
) -> tuple[jax.Array, jax.Array]:
    """Return `log_delta`, with the bias of a width if one is given, and the lengths q[l]."""
    of = (activation, sigma_w, 0.0, q0)
    log_delta = meanfield.log_delta(*of, depth, hidden=block, batch=batch, c0=jnp.clip(c0, -1, 1))
    q = meanfield.lengths(*of, depth, hidden=block, batch=batch)
    if width is not None:
        log_delta += meanfield.log_delta_band(*of, width, depth, hidden=block).bias
    return log_delta, q


def correlations(remedy: Remedy, depth: int, q: np.ndarray, inputs: Inputs) -> np.ndarray:
    """Return c[l] for l = 1 … depth, along the lengths q[l]; the first layer keeps c0.

    Rows of zeros have no correlation: c0 is nan then, and so is what follows from it.
    """
    activation = jaxnn.network.find_activation(remedy.activation(depth))
    block, ensemble = remedy.kind.of(depth), (activation, remedy.weights.factor, 0.0)
    c, through = np.full(depth, inputs.c0), 0.0
    if rows_meet(block):
        c[1:] = meanfield.correlation_fixed_point(*ensemble, hidden=block, batch=inputs.batch)
        return c
    if np.isnan(inputs.c0):
        return c
    below, above = (float(activation.sigma(jnp.asarray(x))) for x in (-1.0, 1.0))
    for i in range(1, depth):
        if activation.homogeneous:
            if isinstance(block, jaxnn.blocks.Residual) and np.isfinite(q[i]):
                through = q[i - 1] / q[i]  # beyond the range it is that of the layer below
            c[i] = through * c[i - 1] + (1 - through) * kernel(c[i - 1], -below / above)
        else:
            c[i] = meanfield.correlation_map(*ensemble, q[i - 1], c[i - 1])
            if abs(c[i] - c[i - 1]) < STILL * (1 - c[i]) or 1 - c[i] < LEAST:
                c[i:] = c[i]
                break
    return c


def kernel(c: float, slope: float) -> float:
    """Return κ(c) = E[σ(z) σ(z̃)] / E[σ(z)²] of a leaky relu, of z and z̃ with correlation c.

    Example:
        >>> kernel(0.0, 1.0), round(kernel(0.0, 0.0), 4)  # linear; relu: 1/π
        (0.0, 0.3183)
    """
    k, c = (1 - slope) ** 2 / (1 + slope**2), float(np.clip(c, -1.0, 1.0))
    return float(c + k / np.pi * (np.sqrt(1 - c * c) - c * np.arccos(c)))
