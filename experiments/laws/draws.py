"""Random networks of equal layers, and measurements of them that several laws share."""

import math
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxnn
from experiments.learning.fields import field
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.network.blocks import DENSE, Block
from jaxnn.network.params import Initializer

Params = tuple[jaxnn.network.Layer, ...]
GAUSSIAN, ORTHOGONAL = jaxnn.initializers.gaussian(1.0), jaxnn.initializers.orthogonal(1.0)


class SquareNetworks(NamedTuple):
    """A set-up of networks of one kind: units in a layer, hidden layers, and how many networks."""

    width: int
    layers: int
    seeds: int


class Ensemble(NamedTuple):
    """Random hidden layers of one kind: weights of variance σ_w²/n, biases of variance σ_b²."""

    activation: str | jaxnn.network.Activation
    sigma_w: float
    sigma_b: float = 0.0


def square_network(
    n: int, hidden: int, activation: str | jaxnn.network.Activation, block: Block = DENSE
) -> jaxnn.Network:
    """Return a network of `hidden` hidden layers, with n units in each, input and output too."""
    return jaxnn.Network((n,) * (hidden + 2), activation, "regression", block)


def draw(
    net: jaxnn.Network,
    key: jax.Array,
    sigma_w: float | jax.Array,
    sigma_b: float | jax.Array,
    weights: Initializer = GAUSSIAN,
) -> Params:
    """Draw stacked parameters: for one key, the same numbers times σ, which may be traced."""
    params = cast(Params, jaxnn.init(net, key, weights, 1.0, stacked=True))
    return tuple(jaxnn.network.Layer(sigma_w * theta, sigma_b * b) for theta, b in params)


class Start(NamedTuple):
    """An ensemble whose first hidden layer has the mean square q, for inputs of mean square q0.

    half_log_chi: ½ ln χ(q), what a layer adds to ln ‖Δz‖ on the way down, in nats.
    """

    ensemble: Ensemble
    q: float
    q0: float
    half_log_chi: float


def fixed_point(ensemble: Ensemble) -> Start:
    """Return the start at q*, at which all layers are alike; 1 if q has no scale, as for relu."""
    with jax.enable_x64(True):
        q = float(jaxnn.theory.meanfield.fixed_point(*ensemble))
        q = q if 0 < q < math.inf else 1.0
        chi = float(jaxnn.theory.meanfield.chi(ensemble.activation, ensemble.sigma_w, q))
    q0 = (q - ensemble.sigma_b**2) / ensemble.sigma_w**2
    return Start(ensemble, q, q0, 0.5 * math.log(chi))


def random_vector(key: jax.Array, n: int, mean_square: float | jax.Array) -> jax.Array:
    """Draw a vector, (n,), of random direction and the given mean square."""
    x = jax.random.normal(key, (n,))
    return x * jnp.sqrt(mean_square / jnp.mean(jnp.square(x)))


class Flows(NamedTuple):
    """The fields of `jaxnn.Flow` that laws need; (seeds, hidden + 1), the output layer last.

    The others are not computed then: smaller programs compile faster.
    """

    log_delta: jax.Array
    mean_square_z: jax.Array
    log_mean_square: jax.Array
    mean_a: jax.Array
    var_a: jax.Array


def flows(
    keys: jax.Array,
    n: int,
    hidden: int,
    ensemble: Ensemble,
    q0: float,
    weights: Initializer = GAUSSIAN,
) -> Flows:
    """Return the flow of a network for each key, from a random unit cotangent at z[L].

    Each network has one input, of mean square q0.
    """
    net = square_network(n, hidden, ensemble.activation)
    return _flows(keys, net, ensemble[1:], q0, weights)


@partial(jax.jit, static_argnames="weights")
def _flows(
    keys: jax.Array,
    net: jaxnn.Network,
    sigmas: tuple[jax.Array, jax.Array],
    q0: jax.Array,
    weights: Initializer,
) -> Flows:
    n = net.sizes[0]

    def flow_of(key: jax.Array) -> Flows:
        key_params, key_x, key_u = jax.random.split(key, 3)
        params, x = draw(net, key_params, *sigmas, weights), random_vector(key_x, n, q0)
        u = random_vector(key_u, n, 1 / n)
        flow = flow_of_net(net, params, x[None], cotangent=u[None], examples=False)
        return Flows(*(field(flow, name) for name in Flows._fields))

    return lax.map(flow_of, keys)


def slope_down(log_delta: np.ndarray) -> np.ndarray:
    """Return the slopes of lines fitted to ln ‖Δz[l]‖, (seeds, layers): nats a layer downwards."""
    layers = np.arange(log_delta.shape[1])
    fitted: np.ndarray = np.polyfit(layers, log_delta.T.astype(np.float64), 1)[0]
    return -fitted
