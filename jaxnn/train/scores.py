"""Scores: the mean loss of a set of examples, and accuracy or R².

Accuracy is the fraction of examples that are classified correctly: in binary tasks ŷ > ½ exactly
where y > ½, in every output; in multiclass the largest ŷ is that of the largest y. Regression has

    R² = 1 - Σ (ŷ - y)² / Σ (y - mean y)²

averaged over the outputs; for an output whose label does not vary it is 1 if ŷ equals it, else 0.

Index legend: N examples, n outputs; z is z[L], (N, n).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from ..arrays.compiled import transferring
from ..arrays.rows import ScaledRows
from ..network.checks import (
    Depth,
    UsedDepth,
    as_rows,
    check_data,
    check_depth_as_data,
    check_params,
)
from ..network.network import Network
from ..network.params import Pairs, Params
from ..passes.backprop import Batch
from ..passes.walk import up


class Scores(NamedTuple):
    """The scores of a set of examples.

    loss: the mean loss.
    metric: accuracy, or for regression R².
    """

    loss: Float[Array, ""]
    metric: Float[Array, ""]


def evaluate(
    net: Network, params: Pairs, xs: Batch, ys: ArrayLike, *, depth: Depth = None
) -> Scores:
    """Return the mean loss of examples, and accuracy or R².

    Args:
        params: L pairs (θ, b).
        xs: N examples, (N, n[0]).
        ys: their labels, as for `jaxnn.backprop`.
        depth: the number of hidden layers used, as for `jaxnn.backprop`; all by default.

    Returns:
        Scores, both scalars. A batch norm takes its statistics from the examples given here.

    Raises:
        ValueError, TypeError: as `jaxnn.passes.loss`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 2), activation="tanh", task="multiclass")
        >>> params = jaxnn.init(net, jax.random.key(0), weights="zeros")
        >>> scores = jaxnn.train.evaluate(net, params, jnp.ones((4, 3)), jnp.array([0, 0, 0, 1]))
        >>> print(f"{scores.loss:.4f} {scores.metric:.2f}")  # ln 2, and class 0 for all
        0.6931 0.75
    """
    layers = check_params(net, params)
    used = check_depth_as_data(layers, depth)
    scores: Scores = _scores(net, layers, *check_data(net, xs, ys), used)
    return scores


@transferring
@jax.jit
def _scores(net: Network, params: Params, xs: Array, ys: Array, used: UsedDepth) -> Scores:
    xs, ys = as_rows(net, params, xs, ys)
    z = up(net, params, ScaledRows(xs), used)[0].m
    return Scores(jnp.mean(net.task.loss(z, ys)), _metric(net, z, ys))


def _metric(net: Network, z: Float[Array, "N n"], ys: Float[Array, "N n"]) -> Float[Array, ""]:
    if net.task.name == "multiclass":
        correct = jnp.argmax(z, axis=1) == jnp.argmax(ys, axis=1)
    elif net.task.name == "binary":
        correct = jnp.all((z > 0) == (ys > 0.5), axis=1)
    else:
        error = jnp.sum(jnp.square(net.task.output(z) - ys), axis=0)
        spread = jnp.sum(jnp.square(ys - jnp.mean(ys, axis=0, keepdims=True)), axis=0)
        varies = spread > 0
        ratio = error / jnp.where(varies, spread, 1)
        return jnp.mean(1 - jnp.where(varies, ratio, (error > 0).astype(error.dtype)))
    labelled = ~jnp.isnan(ys).any(axis=1)  # a wrong label under `jit` is nan, and so is the score
    return jnp.mean(jnp.where(labelled, correct.astype(z.dtype), jnp.nan))
