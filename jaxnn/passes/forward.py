"""The forward pass and the loss of one example.

    a[0] = x,   z[l] = a[l-1] θ[l-1] + b[l-1],   a[l] = σ(z[l]),   l = 1 … L;   ŷ = a[L] = g(z[L])

Behind another kind of block (`blocks`) a[l] is what θ[l] multiplies, σ of a norm of z[l] perhaps.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree, Real

from ..arrays.compiled import Numbers, compiled
from ..arrays.rows import ScaledRows
from ..network.activations import apply_activation
from ..network.checks import (
    Depth,
    UsedDepth,
    as_rows,
    check_data,
    check_depth,
    check_params,
    check_x,
    dtype_of,
)
from ..network.network import Network
from ..network.params import Layer, Pairs, Params
from .walk import BlockOp, at_outputs, scan_up


class Trace(NamedTuple):
    """The results of the forward pass, of one example (no B) or a batch.

    z: (z[1], …, z[L]), so entry l-1 is z[l] of shape (B, n[l]).
    a: (a[0], …, a[L]), so entry l is a[l], which θ[l] multiplies; a[0] is x and a[L] is ŷ.

    A run has one entry of shape (k, B, n) for its k layers, zero in layers beyond `depth`.
    """

    z: tuple[Float[Array, "*k_B n"], ...]
    a: tuple[Float[Array, "*k_B n"], ...]


def trace(
    net: Network, params: Pairs, x: Real[Numbers, " {net.sizes[0]}"], *, depth: Depth = None
) -> Trace:
    """Return every z[l] and a[l] of one example.

    Args:
        params: L pairs (θ, b).
        x: one example, (n[0],).
        depth: the number of hidden layers used, as for `jaxnn.backprop`.

    Returns:
        Trace: `z` holds z[1] … z[L], `a` holds a[0] = x … a[L] = ŷ.

    Raises:
        ValueError: a shape that does not fit the network; the message names the layer. Also,
            outside `jit`, nan or inf in x.
        TypeError: parameters that are not floats of one dtype.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> t = jaxnn.trace(net, jaxnn.init(net, jax.random.key(0)), jnp.ones(3))
        >>> [z.shape for z in t.z], [a.shape for a in t.a]
        ([(4,), (1,)], [(3,), (4,), (1,)])
    """
    layers = check_params(net, params)
    x = check_x(net, x, batch=False)
    return _trace(net, layers, x, check_depth(layers, depth))


@compiled
def _trace(net: Network, params: Params, x: Numbers, used: UsedDepth) -> Trace:
    def step(kind: BlockOp, layer: Layer, z: ScaledRows) -> tuple[ScaledRows, tuple[Array, Array]]:
        above, _ = kind.forward(layer, z)
        return above, (above.m, apply_activation(kind.sigma, kind.block.preactivation(z)).m)

    x = jnp.asarray(x, dtype_of(params))[None]
    top, records = scan_up(net, params, ScaledRows(x), step, used)
    z, a = zip(*records, strict=True)
    above = at_outputs(params, list(a), net.task.output(top.m), used)
    t: Trace = one_example(Trace(z, (a[0], *above)))
    return t


def forward(
    net: Network, params: Pairs, x: Real[Numbers, " {net.sizes[0]}"], *, depth: Depth = None
) -> Float[Array, " {net.sizes[-1]}"]:
    """Return ŷ = g(z[L]) of one example.

    Args:
        params: L pairs (θ, b).
        x: one example, (n[0],).
        depth: the number of hidden layers used, as for `jaxnn.backprop`.

    Returns:
        ŷ of shape (n[L],): the value, the probability of label 1, or a probability for each class.

    Raises:
        ValueError, TypeError: as `jaxnn.trace`.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> batched = jax.jit(jax.vmap(jaxnn.forward, in_axes=(None, None, 0)))
        >>> batched(net, params, jnp.ones((7, 3))).shape
        (7, 1)
    """
    return trace(net, params, x, depth=depth).a[-1]


def loss(
    net: Network,
    params: Pairs,
    x: Real[Numbers, " {net.sizes[0]}"],
    y: ArrayLike,
    *,
    depth: Depth = None,
) -> Float[Array, ""]:
    """Return the loss of one example, ½‖ŷ - y‖² or a cross-entropy in nats, of its task.

    Args:
        params: L pairs (θ, b).
        x: one example, (n[0],).
        y: its label. Regression: (n[L],) floats; binary: (n[L],) of 0 and 1; either may be a
            scalar if n[L] = 1. Multiclass: an integer class, or (n[L],) probabilities.
        depth: the number of hidden layers used, as for `jaxnn.backprop`.

    Returns:
        A scalar.

    Raises:
        ValueError: as `jaxnn.trace`; also a label of a wrong shape and, outside `jit`, of a wrong
            value.
        TypeError: as `jaxnn.trace`; also classes that are not integers.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), weights="zeros")
        >>> round(float(jaxnn.passes.loss(net, params, jnp.ones(3), 1)), 4)  # ln 2: ŷ is ½
        0.6931
    """
    layers = check_params(net, params)
    x, y = check_data(net, x, y, batch=False)
    return _loss(net, layers, x, y, check_depth(layers, depth))


@compiled
def _loss(net: Network, params: Params, x: Numbers, y: Numbers, used: UsedDepth) -> Array:
    xs, ys = as_rows(net, params, x[None], y[None])

    def step(kind: BlockOp, layer: Layer, z: ScaledRows) -> tuple[ScaledRows, None]:
        return kind.forward(layer, z)[0], None

    top, _ = scan_up(net, params, ScaledRows(xs), step, used)
    return net.task.loss(top.m, ys)[0]


def one_example(tree: PyTree) -> Any:
    """Turn a batch of one into one example: drop B = 1, the last axis but one, of every leaf."""
    return jax.tree.map(lambda rows: rows[..., 0, :], tree)
