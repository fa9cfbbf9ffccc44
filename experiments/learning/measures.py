"""Measures of a set of examples: loss, the metric that people know, and AUC of a binary task.

AUC is the probability that a random positive example has a larger z than a random negative one,
ties counting half (Mann & Whitney 1947):

    AUC = mean over positives of (#{negatives below} + ½ #{negatives equal}) / #{negatives}

Examples that are all equal but for rounding are ties: a network that tells none apart has ½.

Index legend: N examples; z is z[L], (N,) for a binary task with one output.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import jaxnn
from jaxnn.arrays.rows import ScaledRows
from jaxnn.passes.walk import up
from jaxnn.train.scores import scores_of

METRIC = {"regression": "R²", "binary": "accuracy", "multiclass": "accuracy"}

ROUNDING = 16  # times eps of the largest |z|


class Measures(NamedTuple):
    """The measures of one set.

    loss: the mean loss.
    metric: accuracy, or R² of a regression.
    auc: of a binary task whose set has both labels; else nan.
    """

    loss: Float[Array, ""]
    metric: Float[Array, ""]
    auc: Float[Array, ""]


class Tested(NamedTuple):
    """The measures of one set, and the predictions that they are of.

    y_hat: ŷ of each example, (N, n[L]).
    """

    measures: Measures
    y_hat: Float[Array, "N n"]


@jax.jit
def measure(
    net: jaxnn.Network, params: tuple[jaxnn.network.Layer, ...], sets: list[tuple[Array, Array]]
) -> list[Measures]:
    """Return the measures of several sets, by one program."""
    measures = []
    for (xs, ys), scores in zip(sets, scores_of(net, params, sets, None), strict=True):
        none = jnp.full((), jnp.nan, scores.loss.dtype)
        has_auc = net.task.name == "binary" and net.sizes[-1] == 1
        area = auc(_z(net, params, xs)[:, 0], ys[:, 0]) if has_auc else none
        measures.append(Measures(scores.loss, scores.metric, area))
    return measures


@jax.jit
def test(
    net: jaxnn.Network, params: tuple[jaxnn.network.Layer, ...], xs: Array, ys: Array
) -> Tested:
    """Return the measures of one set with its predictions, by one program."""
    (measures,) = measure(net, params, [(xs, ys)])
    return Tested(measures, net.task.output(_z(net, params, xs)))


def _z(
    net: jaxnn.Network, params: tuple[jaxnn.network.Layer, ...], xs: Array
) -> Float[Array, "N n"]:
    """z[L]. Inside one program XLA computes it once, however often it is asked for."""
    return up(net, params, ScaledRows(xs))[0].m


def auc(z: Float[Array, " N"], y: Float[Array, " N"]) -> Float[Array, ""]:
    """Return the AUC of z for labels 0 and 1; nan if all labels are equal.

    Example:
        >>> import jax.numpy as jnp
        >>> float(auc(jnp.array([0.1, 0.4, 0.4, 0.8]), jnp.array([0.0, 0.0, 1.0, 1.0])))
        0.875
    """
    # Equal rows may differ in the last digits, for XLA sums them in different orders.
    eps = float(jnp.finfo(z.dtype).eps)  # type: ignore[no-untyped-call]
    rounding = ROUNDING * eps * jnp.max(jnp.abs(z))
    z = jnp.where(jnp.ptp(z) < rounding, 0, z)
    order = jnp.argsort(z)
    # The number of negatives among the first k examples, k = 0 … N.
    negatives = jnp.concatenate([jnp.zeros(1, int), jnp.cumsum((y[order] < 0.5).astype(int))])
    below, upto = (negatives[jnp.searchsorted(z[order], z, side)] for side in ("left", "right"))
    won = 0.5 * (below + upto).astype(z.dtype) / negatives[-1].astype(z.dtype)
    positive = (y > 0.5).astype(z.dtype)
    return jnp.sum(won * positive) / jnp.sum(positive)


def fixed(value: float, decimals: int) -> str:
    """Return a metric with so many decimals; an R² far below zero as a power of ten.

    Example:
        >>> fixed(0.98765, 3), fixed(-8.1e29, 3)
        ('0.988', '-8.1e+29')
    """
    return f"{value:.{decimals}f}" if abs(value) < 1000 else f"{value:.{decimals}g}"


def base_rate(truth: np.ndarray) -> float:
    """Return the accuracy of always naming the most frequent class."""
    return float(np.unique(truth, return_counts=True)[1].max() / len(truth))


def compared(truth: np.ndarray, decided: np.ndarray) -> str:
    """Say what an accuracy is to be compared with; of rare classes also the balanced one.

    A class is rare that has less than half of an equal share.
    """
    from sklearn import metrics  # here, for it takes long to import

    words = f"base rate {base_rate(truth):.4g}"
    counts = np.unique(truth, return_counts=True)[1]
    if counts.min() < len(truth) / (2 * len(counts)):
        words += f", balanced accuracy {metrics.balanced_accuracy_score(truth, decided):.4g}"
    return words
