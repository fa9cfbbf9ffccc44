"""Mean-field theory of the remedies: gradient ratio and correlation, at infinite width.

Of the gradient, `meanfield.log_delta` along the lengths q[l], and for plain Gaussian networks what
a finite width adds to its mean over examples; nan where the formula of that has no number.
The correlation c[l] of two inputs is that of `meanfield.paths`, behind a batch norm what
`correlation_fixed_point` says.
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
    log_delta, c = _mean_field(
        jaxnn.network.find_activation(remedy.activation(depth)),
        remedy.weights.factor,
        inputs.q0,
        inputs.c0,
        depth,
        block,
        inputs.batch if rows_meet(block) else None,
        inputs.width if plain else None,
    )
    far = 1 - np.asarray(c)
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
    """Return `log_delta`, with the bias of a width if one is given, and the correlations c[l].

    Rows of zeros have no correlation: c0 is nan then, and so is what follows from it.
    """
    of = (activation, sigma_w, 0.0, q0)
    log_delta = meanfield.log_delta(*of, depth, hidden=block, batch=batch, c0=jnp.clip(c0, -1, 1))
    if width is not None:
        log_delta += meanfield.log_delta_band(*of, width, depth, hidden=block).bias
    if batch is None:
        return log_delta, meanfield.paths(*of, c0, depth, hidden=block).c
    far = meanfield.correlation_fixed_point(activation, sigma_w, 0.0, hidden=block, batch=batch)
    return log_delta, jnp.where(jnp.arange(depth) == 0, c0, far)
