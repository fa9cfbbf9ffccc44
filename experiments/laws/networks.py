"""Random networks of equal layers, and measurements of them that several laws share.

Networks are drawn and measured by two programs, of which the first serves all blocks: they compile
in a third of the time of one.
"""

import math
from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments.learning.networks import field
from jaxnn.arrays.rows import ScaledRows
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.network import Layer
from jaxnn.network.activations import find_activation
from jaxnn.network.blocks import DENSE, Block
from jaxnn.network.params import Initializer
from jaxnn.passes.walk import up
from jaxnn.theory import meanfield
from jaxnn.theory.finite_width import skip_spread

Params = tuple[Layer, ...]
Activation = str | jaxnn.network.Activation
GAUSSIAN, ORTHOGONAL = jaxnn.initializers.gaussian(1.0), jaxnn.initializers.orthogonal(1.0)
PADDED = 201  # layers of `log_spread`, at least


class HiddenLayers(NamedTuple):
    """Random hidden layers of one kind: weights of variance σ_w²/n, biases of variance σ_b²."""

    activation: Activation
    sigma_w: float
    sigma_b: float = 0.0


class Start(NamedTuple):
    """An ensemble whose first hidden layer has the mean square q, for inputs of mean square q0.

    half_log_chi: ½ ln χ(q), what a layer adds to ln ‖Δz‖ on the way down, in nats.
    """

    ensemble: HiddenLayers
    q: float
    q0: float
    half_log_chi: float


@cache
def fixed_point(ensemble: HiddenLayers, keep: float = 1.0) -> Start:
    """Return the start at q*, at which all layers are alike; 1 if q has no scale, as for relu."""
    with jax.enable_x64(True):
        q = float(meanfield.fixed_point(*ensemble, keep=keep))
        q = q if 0 < q < math.inf else 1.0
        chi = float(meanfield.chi(ensemble.activation, ensemble.sigma_w, q, keep=keep))
    q0 = (q - ensemble.sigma_b**2) / ensemble.sigma_w**2
    return Start(ensemble, q, q0, 0.5 * math.log(chi))


def square_network(
    n: int, hidden: int, activation: Activation, block: Block = DENSE
) -> jaxnn.Network:
    """Return a network of `hidden` hidden layers, with n units in each, input and output too."""
    return jaxnn.Network((n,) * (hidden + 2), activation, "regression", block)


@partial(jax.jit, static_argnames="weights")
def draw(
    net: jaxnn.Network,
    key: jax.Array,
    sigma_w: float | jax.Array,
    sigma_b: float | jax.Array,
    weights: Initializer = GAUSSIAN,
) -> Params:
    """Draw stacked parameters: for one key, the same numbers times σ, which may be traced."""
    params = cast(Params, jaxnn.init(net, key, weights, 1.0, stacked=True))
    return tuple(Layer(sigma_w * theta, sigma_b * b) for theta, b in params)


class Dropout(NamedTuple):
    """Units above the first layer's input that are dropped.

    keep: the probability of an entry of a to be kept, and then divided by it.
    number: of the masks; another number, other masks in the same network.
    """

    keep: float
    number: int = 0


def gradients(
    keys: jax.Array,
    ensemble: HiddenLayers,
    n: int,
    layers: int,
    q0: float = 1.0,
    rows: int = 1,
    *,
    block: Block = DENSE,
    fields: tuple[str, ...] = ("log_delta",),
    shared: bool = False,
    depth: int | None = None,
    weights: Initializer = GAUSSIAN,
    dropout: Dropout | None = None,
) -> tuple[np.ndarray, ...]:
    """Return the flow of a network for each key, from random cotangents at z[L].

    Args:
        q0: the mean square of the inputs.
        rows: inputs of each network, orthogonal to each other if the cotangent is shared.
        fields: of `jaxnn.Flow`.
        shared: one cotangent for all rows, instead of independent ones whose sum is 0.
        depth: hidden layers in use, as data; None for all.
        dropout: if given, units are dropped, the same ones for all rows.

    Returns:
        The fields, (seeds, hidden + 1, …) each, the output layer last.
    """
    net = square_network(n, layers, ensemble.activation, block)
    used = None if depth is None else np.int32(depth)
    by_seed = []
    for key in keys:
        params, x, u = _drawn(key, n, layers, rows, shared, weights, dropout)
        flow = _flow(net, params, (*ensemble[1:], q0), x, u, used, fields)
        by_seed.append([np.asarray(values, np.float64) for values in flow])
    return tuple(map(np.stack, zip(*by_seed, strict=True)))


def _drawn(
    key: jax.Array,
    n: int,
    layers: int,
    rows: int = 1,
    shared: bool = False,
    weights: Initializer = GAUSSIAN,
    dropout: Dropout | None = None,
) -> tuple[Params, jax.Array, jax.Array]:
    params, x, u = _draw(key, square_network(n, layers, "identity"), rows, shared, weights)
    return (params if dropout is None else _dropped(key, params, *dropout)), x, u


@partial(jax.jit, static_argnames=("rows", "shared", "weights"))
def _draw(
    key: jax.Array, net: jaxnn.Network, rows: int, shared: bool, weights: Initializer
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
    return draw(net, key_params, 1.0, 1.0, weights), x, u


@jax.jit
def _dropped(key: jax.Array, params: Params, keep: jax.Array, number: jax.Array) -> Params:
    """Dropout of a, as rows of θ that are 0 or over the part kept."""
    first, *above = params
    keys = jax.random.split(jax.random.fold_in(key, number), len(above))

    def masked(key: jax.Array, layer: Layer) -> Layer:
        rows = layer.theta.shape[:-1]
        mask = jax.random.bernoulli(key, keep, rows).astype(layer.theta.dtype) / keep
        return Layer(mask[..., None] * layer.theta, layer.b)

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
    params = tuple(Layer(sigma_w * theta, sigma_b * b) for theta, b in params)
    xs = jnp.sqrt(q0) * x
    flow = flow_of_net(net, params, xs, cotangent=u, depth=depth, examples=False)
    return tuple(field(flow, name) for name in fields)


def random_rows(
    key: jax.Array, rows: int, n: int, mean_square: float | jax.Array = 1.0
) -> jax.Array:
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


def slope_down(log_delta: np.ndarray) -> np.ndarray:
    """Return the slopes of lines fitted to ln ‖Δz[l]‖, (seeds, layers): nats a layer downwards."""
    layers = np.arange(log_delta.shape[1])
    fitted: np.ndarray = np.polyfit(layers, log_delta.T.astype(np.float64), 1)[0]
    return -fitted


def signals(
    keys: jax.Array,
    ensemble: HiddenLayers,
    layers: int,
    x: jax.Array,
    dtype: str = "float32",
    *,
    block: Block = DENSE,
    dropout: Dropout | None = None,
) -> Iterator[np.ndarray]:
    """Yield z of every hidden layer for each key, (hidden, rows, n), of inputs x, (rows, n).

    All is computed in the dtype; the networks are those of `gradients`.
    """
    n = x.shape[1]
    net = square_network(n, layers, ensemble.activation, block)
    for key in keys:
        params, _, _ = _drawn(key, n, layers, dropout=dropout)
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
        Layer(*((sigma * v).astype(dtype) for sigma, v in zip(sigmas, layer, strict=True)))
        for layer in params
    )
    _, saved = up(net, params, ScaledRows(x.astype(dtype)))
    return saved[1].z.m  # from the first hidden layer to the last


def correlations(z: np.ndarray) -> np.ndarray:
    """Return the correlation of each two rows, z (…, layers, rows, n) -> (…, layers, pairs)."""
    unit = z / np.linalg.norm(z, axis=-1, keepdims=True)  # lengths of rows come apart with depth
    one, other = np.triu_indices(z.shape[-2], 1)
    return np.clip((unit @ np.swapaxes(unit, -1, -2))[..., one, other], -1, 1)


def log_spread(
    activation: Activation,
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
        n: units.
        normed: whether σ takes z / √q; that q varies from draw to draw is then left out.
    """
    # Below them blocks that do nothing, so that one program serves every L.
    idle = max(0, PADDED - len(log_q))
    each = np.pad(np.broadcast_to(s, len(log_q)).astype(float), (idle, 0))
    log_q = np.pad(log_q, (idle, 0), "edge")
    root = np.ones(len(log_q)) if normed else np.exp(log_q / 2)
    lag, variance = _spread(find_activation(activation), each, log_q, root)
    return float(lag[0]) / n, float(variance[0]) / n


_spread = jax.jit(skip_spread, static_argnums=0)
