"""Passes through networks of blocks that several laws share: gradients, signals, infinite width.

Networks are drawn and measured by two programs, of which the first serves all blocks: they compile
in a third of the time of one.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxnn
from experiments.laws.draws import Ensemble, Params, draw, square_network
from experiments.learning.fields import field
from jaxnn.arrays.rows import ScaledRows
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.network.activations import find_activation
from jaxnn.network.blocks import Block, theory_of
from jaxnn.passes.walk import up
from jaxnn.theory import ensemble
from jaxnn.theory.finite_width import skip_spread

LOGS = ("log_delta", "log_mean_square")
PADDED = 201  # layers of `log_spread`, at least


class Dropout(NamedTuple):
    """Units above the first layer's input that are dropped.

    keep: the probability of an entry of a to be kept, and then divided by it.
    number: of the masks; another number, other masks in the same network.
    """

    keep: float
    number: int = 0


def gradients(
    keys: jax.Array,
    net: jaxnn.Network,
    ensemble: Ensemble,
    q0: float,
    rows: int = 1,
    *,
    shared: bool = False,
    depth: int | None = None,
    fields: tuple[str, ...] = LOGS,
    dropout: Dropout | None = None,
) -> tuple[np.ndarray, ...]:
    """Return the flow of a network of blocks for each key, from random cotangents at z[L].

    Args:
        keys: of the networks.
        net: square, see `square_network`.
        ensemble: its σ_w and σ_b; the activation is that of net.
        q0: the mean square of the inputs.
        rows: inputs of each network, orthogonal to each other if the cotangent is shared.
        shared: one cotangent for all rows, instead of independent ones whose sum is 0.
        depth: hidden layers in use, as data; None for all.
        fields: of `jaxnn.Flow`.
        dropout: if given, units are dropped, the same ones for all rows.

    Returns:
        The fields, (seeds, hidden + 1, …) each, the output layer last.
    """
    like = square_network(net.sizes[0], len(net.sizes) - 2, "identity")
    used = None if depth is None else np.int32(depth)
    by_seed = []
    for key in keys:
        params, x, u = _draw(key, like, rows, shared)
        params = params if dropout is None else _dropped(key, params, *dropout)
        flow = _flow(net, params, (*ensemble[1:], q0), x, u, used, fields)
        by_seed.append([np.asarray(values, np.float64) for values in flow])
    return tuple(map(np.stack, zip(*by_seed, strict=True)))


@partial(jax.jit, static_argnames=("rows", "shared"))
def _draw(
    key: jax.Array, net: jaxnn.Network, rows: int, shared: bool
) -> tuple[Params, jax.Array, jax.Array]:
    """Weights of variance 1/n, inputs of mean square 1, and cotangents."""
    key_params, key_x, key_u = jax.random.split(key, 3)
    n = net.sizes[0]
    x = random_rows(key_x, rows, n, 1.0)
    u = random_rows(key_u, 1 if shared else rows, n, 1 / n)
    if shared:
        x, u = orthogonalised(x), jnp.broadcast_to(u, x.shape)
    elif rows > 1:  # a batch norm passes on what the rows differ by, and a skip the rest too
        u = u - jnp.mean(u, axis=0)
    return draw(net, key_params, 1.0, 1.0), x, u


@jax.jit
def _dropped(key: jax.Array, params: Params, keep: jax.Array, number: jax.Array) -> Params:
    """Dropout of a, as rows of θ that are 0 or over the part kept."""
    first, *above = params
    keys = jax.random.split(jax.random.fold_in(key, number), len(above))

    def masked(key: jax.Array, layer: jaxnn.network.Layer) -> jaxnn.network.Layer:
        rows = layer.theta.shape[:-1]
        mask = jax.random.bernoulli(key, keep, rows).astype(layer.theta.dtype) / keep
        return jaxnn.network.Layer(mask[..., None] * layer.theta, layer.b)

    return (first, *(masked(k, layer) for k, layer in zip(keys, above, strict=True)))


@partial(jax.jit, static_argnames="fields")
def _flow(
    net: jaxnn.Network,
    params: Params,
    scales: tuple[jax.Array, jax.Array, jax.Array],
    x: jax.Array,
    u: jax.Array,
    depth: jax.Array | None,
    fields: tuple[str, ...],
) -> tuple[jax.Array, ...]:
    sigma_w, sigma_b, q0 = scales
    params = tuple(jaxnn.network.Layer(sigma_w * theta, sigma_b * b) for theta, b in params)
    xs = jnp.sqrt(q0) * x
    flow = flow_of_net(net, params, xs, cotangent=u, depth=depth, examples=False)
    return tuple(field(flow, name) for name in fields)


def random_rows(key: jax.Array, rows: int, n: int, mean_square: float | jax.Array) -> jax.Array:
    """Draw vectors, (rows, n), of random directions and the given mean square each."""
    x = jax.random.normal(key, (rows, n))
    return x * jnp.sqrt(mean_square / jnp.mean(jnp.square(x), axis=1, keepdims=True))


def orthogonalised(x: jax.Array) -> jax.Array:
    """Make a few rows orthogonal to each other, each of the length that it has (Gram & Schmidt)."""
    done: list[jax.Array] = []
    for row in x:
        rest = row
        for other in done:
            rest = rest - other * (rest @ other) / (other @ other)
        done.append(rest * jnp.linalg.norm(row) / jnp.linalg.norm(rest))
    return jnp.stack(done)


def signals(
    keys: jax.Array,
    net: jaxnn.Network,
    ensemble: Ensemble,
    x: jax.Array,
    dtype: str = "float32",
    *,
    dropout: Dropout | None = None,
) -> Iterator[np.ndarray]:
    """Yield z of every hidden layer for each key, (hidden, rows, n), as it is on the way up.

    Args:
        keys: of the networks.
        net: square, see `square_network`.
        ensemble: its σ_w and σ_b; the activation is that of net.
        x: the inputs, (rows, n).
        dtype: in which all is computed.
        dropout: if given, units are dropped, the same ones for all rows.
    """
    like = square_network(net.sizes[0], len(net.sizes) - 2, "identity")
    for key in keys:
        params, _, _ = _draw(key, like, 1, False)  # the program of one row of `gradients`
        params = params if dropout is None else _dropped(key, params, *dropout)
        yield np.asarray(_signals(net, params, ensemble[1:], x, dtype), np.float64)


@partial(jax.jit, static_argnames="dtype")
def _signals(
    net: jaxnn.Network,
    params: Params,
    sigmas: tuple[jax.Array, jax.Array],
    x: jax.Array,
    dtype: str,
) -> jax.Array:
    params = tuple(
        jaxnn.network.Layer(
            *((sigma * v).astype(dtype) for sigma, v in zip(sigmas, layer, strict=True))
        )
        for layer in params
    )
    _, saved = up(net, params, ScaledRows(x.astype(dtype)))
    return saved[1].z.m  # from the first hidden layer to the last


def pair(n: int, c: float) -> jax.Array:
    """Return two inputs of mean square 1 with the correlation c, (2, n)."""
    first = jnp.tile(jnp.array([1.0, 1.0]), n // 2)
    second = jnp.tile(jnp.array([1.0, -1.0]), n // 2)
    return jnp.stack([first, c * first + math.sqrt(1 - c**2) * second])


def correlation(z: np.ndarray) -> np.ndarray:
    """Return the mean correlation of two different rows, for z (…, rows, n)."""
    rows = z.shape[-2]
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)  # lengths of rows come apart with depth
    return (np.sum(np.sum(unit, axis=-2) ** 2, axis=-1) - rows) / (rows * (rows - 1))


def path(
    ensemble: Ensemble, block: Block, q0: float, c0: float, layers: int, fields: tuple[str, ...]
) -> tuple[np.ndarray, ...]:
    """Return two inputs' path at infinite width, fields (layers,) each; to be called in x64.

    Args:
        ensemble: its activation, σ_w and σ_b.
        block: of all layers.
        q0: the mean square of the inputs.
        c0: the correlation of the inputs.
        layers: hidden ones.
        fields: numbers of `jaxnn.network.blocks.Theory` by hidden layer: q, c, and factor and
            tangent of the block that takes z[l] in. What is left out is not computed either: c and
            the tangent take as long as hundreds of q.
    """
    q = ensemble.sigma_w**2 * q0 + ensemble.sigma_b**2
    c = (ensemble.sigma_w**2 * q0 * c0 + ensemble.sigma_b**2) / q
    along = _path(ensemble.activation, block, ensemble[1:], (q, c), layers, fields)
    return tuple(np.asarray(values, np.float64) for values in along)


@partial(jax.jit, static_argnames=("activation", "block", "layers", "fields"))
def _path(
    activation: str | jaxnn.network.Activation,
    block: Block,
    sigmas: tuple[jax.Array, jax.Array],
    first: tuple[jax.Array, jax.Array],
    layers: int,
    fields: tuple[str, ...],
) -> tuple[jax.Array, ...]:
    theory = theory_of(block)
    field = ensemble.Ensemble(find_activation(activation), *sigmas)

    def layer(state: Any, _: None) -> tuple[Any, tuple[jax.Array, ...]]:
        q, c = state
        above = theory.length(field, q)
        here = {"q": q, "c": c, "factor": theory.factor(field, q, c)}
        if "tangent" in fields:
            here["tangent"] = theory.tangent(field, q, c)
        of_both = theory.covariance(field, q, c) / above
        return (above, jnp.minimum(of_both, 1.0)), tuple(here[name] for name in fields)

    start = tuple(jnp.asarray(v, float) for v in first)
    return lax.scan(layer, start, None, length=layers)[1]


def log_spread(
    activation: str | jaxnn.network.Activation,
    s: np.ndarray | float,
    log_q: np.ndarray,
    n: int,
    *,
    normed: bool = False,
) -> tuple[float, float]:
    """Return lag and variance of ln ‖Δz[1]‖²/‖Δz[L+1]‖² over L residual blocks; called in x64.

    Its mean is half the lag below the logarithm of infinite width; see `finite_width.py`.

    Args:
        activation: σ.
        s: c² σ_w² of each block, or of all; with a norm in front of σ over q.
        log_q: ln q[1] … ln q[L+1], of the mean square of z in each hidden layer.
        normed: whether σ takes z / √q; that q varies from draw to draw is then left out.
    """
    # Below them blocks that do nothing, so that one program serves every L.
    idle = max(0, PADDED - len(log_q))
    each = np.pad(np.broadcast_to(s, len(log_q)).astype(float), (idle, 0))
    log_q = np.pad(log_q, (idle, 0), "edge")
    root = np.ones(len(log_q)) if normed else np.exp(log_q / 2)
    lag, variance = _spread(find_activation(activation), each, log_q, root)
    return float(lag[0]) / n, float(variance[0]) / n


@partial(jax.jit, static_argnames="activation")
def _spread(
    activation: jaxnn.network.Activation, *of_layers: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return skip_spread(activation, *of_layers)
