"""Measures of a set of examples: loss, the metric that people know, and AUC of a binary task.

AUC is the probability that a random positive example has a larger z than a random negative one,
ties counting half (Mann & Whitney 1947):

    AUC = mean over positives of (#{negatives below} + ½ #{negatives equal}) / #{negatives}

Index legend: N examples; z is z[L], (N,) for a binary task with one output.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import jaxnn
from jaxnn.network import forward_rows
from jaxnn.scores import scores_of

METRIC = {"regression": "R²", "binary": "accuracy", "multiclass": "accuracy"}


class Measures(NamedTuple):
    """Of one set.

    loss: the mean loss.
    metric: accuracy, or for regression R².
    auc: of a binary task whose set has both labels; else nan.
    """

    loss: Float[Array, ""]
    metric: Float[Array, ""]
    auc: Float[Array, ""]


@jax.jit
def measure(
    net: jaxnn.Network, params: tuple[jaxnn.Layer, ...], sets: list[tuple[Array, Array]]
) -> list[Measures]:
    """The measures of several sets, as one program.

    Args:
        net: the network.
        params: Layers, single ones or runs.
        sets: xs, (N, n[0]), and labels, (N, n[L]), of each, as `jaxnn.network.check_batch` has
            made them.
    """
    found = []
    for (xs, ys), scores in zip(sets, scores_of(net, params, sets, None), strict=True):
        none = jnp.full((), jnp.nan, scores.loss.dtype)
        of_binary = net.task.name == "binary" and net.sizes[-1] == 1
        z = forward_rows(net, params, xs).z[-1][:, 0] if of_binary else none
        area = auc(z, ys[:, 0]) if of_binary else none
        found.append(Measures(scores.loss, scores.metric, area))
    return found


def auc(z: Float[Array, " N"], y: Float[Array, " N"]) -> Float[Array, ""]:
    """AUC of z for labels 0 and 1; nan where one of them is missing.

    Example:
        >>> import jax.numpy as jnp
        >>> float(auc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([0.0, 0.0, 1.0, 1.0])))
        0.875
    """
    order = jnp.argsort(z)
    # How many negatives there are among the first k of them all, k = 0 … N.
    negatives = jnp.concatenate([jnp.zeros(1, int), jnp.cumsum((y[order] < 0.5).astype(int))])
    below, upto = (negatives[jnp.searchsorted(z[order], z, side)] for side in ("left", "right"))
    won = 0.5 * (below + upto).astype(z.dtype) / negatives[-1].astype(z.dtype)
    positive = (y > 0.5).astype(z.dtype)
    return jnp.sum(won * positive) / jnp.sum(positive)
