"""Random networks of equal layers, and what is measured of them the same way in several laws."""

import math
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxnn
from jaxnn.layers import Initializer

Params = tuple[jaxnn.Layer, ...]
GAUSSIAN, ORTHOGONAL = jaxnn.gaussian(1.0), jaxnn.orthogonal(1.0)


class Case(NamedTuple):
    """Hidden layers of one kind: weights of variance σ_w²/n, biases of variance σ_b²."""

    activation: str
    sigma_w: float
    sigma_b: float = 0.0


def square(n: int, hidden: int, activation: str) -> jaxnn.Network:
    """A network of `hidden` hidden layers, with n units in every layer, input and output too."""
    return jaxnn.Network((n,) * (hidden + 2), activation, "regression")


def drawn(
    net: jaxnn.Network,
    key: jax.Array,
    sigma_w: float | jax.Array,
    sigma_b: float | jax.Array,
    weights: Initializer = GAUSSIAN,
) -> Params:
    """Parameters in one run: of one key, the same numbers times σ, which may be traced."""
    params = cast(Params, jaxnn.init(net, key, weights, 1.0, stacked=True))
    return tuple(jaxnn.Layer(sigma_w * theta, sigma_b * b) for theta, b in params)


class Start(NamedTuple):
    """A case whose first hidden layer starts at the mean square q, for inputs of mean square q0.

    half_log_chi: ½ ln χ(q), what a layer adds to ln ‖Δz‖ on the way down, in nats.
    """

    case: Case
    q: float
    q0: float
    half_log_chi: float


def started(case: Case) -> Start:
    """The start at q*, where all layers are alike; at 1 where q has no scale, as for relu."""
    with jax.enable_x64(True):
        q = float(jaxnn.meanfield.fixed_point(*case))
        q = q if 0 < q < math.inf else 1.0
        chi = float(jaxnn.meanfield.chi(case.activation, case.sigma_w, q))
    return Start(case, q, (q - case.sigma_b**2) / case.sigma_w**2, 0.5 * math.log(chi))


def of_square(key: jax.Array, n: int, q0: float | jax.Array) -> jax.Array:
    """A random direction, (n,), of mean square q0."""
    x = jax.random.normal(key, (n,))
    return x * jnp.sqrt(q0 / jnp.mean(jnp.square(x)))


class Flows(NamedTuple):
    """Of a `jaxnn.Flow` what laws need; (seeds, hidden + 1), the output layer last.

    The rest is not computed then: smaller programs compile faster.
    """

    log_delta: jax.Array
    mean_square_z: jax.Array
    log_mean_square_z: jax.Array
    mean_a: jax.Array
    var_a: jax.Array


def flows(
    keys: jax.Array,
    n: int,
    hidden: int,
    case: Case,
    q0: float,
    weights: Initializer = GAUSSIAN,
) -> Flows:
    """The gradient's way down from a random unit cotangent at z[L], of a network for each key.

    Each has one input of mean square q0.
    """
    found: Flows = _flows(keys, square(n, hidden, case.activation), case[1:], q0, weights)
    return found


@partial(jax.jit, static_argnames="weights")
def _flows(
    keys: jax.Array,
    net: jaxnn.Network,
    sigmas: tuple[jax.Array, jax.Array],
    q0: jax.Array,
    weights: Initializer,
) -> Flows:
    n = net.sizes[0]

    def of_seed(key: jax.Array) -> Flows:
        of_params, of_x, of_u = jax.random.split(key, 3)
        params, x = drawn(net, of_params, *sigmas, weights), of_square(of_x, n, q0)
        u = of_square(of_u, n, 1 / n)
        flow = jaxnn.gradient_flow(net, params, x[None], cotangent=u[None])
        return Flows(*(getattr(flow, name) for name in Flows._fields))

    found: Flows = lax.map(of_seed, keys)
    return found


def slope_down(log_delta: np.ndarray) -> np.ndarray:
    """Straight lines fitted to ln ‖Δz[l]‖, (seeds, layers): nats a layer on the way down."""
    layers = np.arange(log_delta.shape[1])
    fitted: np.ndarray = np.polyfit(layers, log_delta.T.astype(np.float64), 1)[0]
    return -fitted
