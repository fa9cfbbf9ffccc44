"""A second implementation: jax.nn's activations and optax's losses, differentiated by JAX.

It shares nothing with jaxnn but the layout of the parameters. Each function is one program for an
activation, a task and a set of shapes.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
from jax import lax


class Known(NamedTuple):
    """An activation as others define it.

    of_jax: JAX's own function.
    exact: the definition, for mpmath.
    limits: σ(-inf), σ(inf), σ′(-inf), σ′(inf).
    """

    of_jax: Callable[[jax.Array], jax.Array]
    exact: Callable[[mpmath.mpf], mpmath.mpf]
    limits: tuple[float, float, float, float]


INF, NAN = np.inf, np.nan
SCALE, ALPHA = 1.0507009873554804934, 1.6732632423543772848
CUBIC = mpmath.mpf("0.044715")
ACTIVATIONS = {
    "identity": Known(lambda z: z, lambda z: z, (-INF, INF, 1, 1)),
    "sigmoid": Known(jax.nn.sigmoid, lambda z: 1 / (1 + mpmath.exp(-z)), (0, 1, 0, 0)),
    "tanh": Known(jnp.tanh, mpmath.tanh, (-1, 1, 0, 0)),
    "relu": Known(jax.nn.relu, lambda z: max(z, 0), (0, INF, 0, 1)),
    "leaky_relu": Known(jax.nn.leaky_relu, lambda z: z if z > 0 else z / 100, (-INF, INF, 0.01, 1)),
    "elu": Known(jax.nn.elu, lambda z: z if z > 0 else mpmath.expm1(z), (-1, INF, 0, 1)),
    "selu": Known(
        jax.nn.selu,
        lambda z: SCALE * (z if z > 0 else ALPHA * mpmath.expm1(z)),
        (-SCALE * ALPHA, INF, 0, SCALE),
    ),
    "softplus": Known(jax.nn.softplus, lambda z: mpmath.log1p(mpmath.exp(z)), (0, INF, 0, 1)),
    "softsign": Known(jax.nn.soft_sign, lambda z: z / (1 + abs(z)), (-1, 1, 0, 0)),
    "silu": Known(jax.nn.silu, lambda z: z / (1 + mpmath.exp(-z)), (0, INF, 0, 1)),
    "gelu": Known(
        partial(jax.nn.gelu, approximate=False), lambda z: z * mpmath.ncdf(z), (0, INF, 0, 1)
    ),
    "gelu_tanh": Known(
        partial(jax.nn.gelu, approximate=True),
        lambda z: z / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (z + CUBIC * z**3))),
        (0, INF, 0, 1),
    ),
    "mish": Known(
        jax.nn.mish, lambda z: z * mpmath.tanh(mpmath.log1p(mpmath.exp(z))), (0, INF, 0, 1)
    ),
    "erf": Known(jax.lax.erf, mpmath.erf, (-1, 1, 0, 0)),
    "sin": Known(jnp.sin, mpmath.sin, (NAN, NAN, NAN, NAN)),
    "hard_tanh": Known(jax.nn.hard_tanh, lambda z: min(max(z, -1), 1), (-1, 1, 0, 0)),
    "relu6": Known(jax.nn.relu6, lambda z: min(max(z, 0), 6), (0, 6, 0, 0)),
}
SIGMA = {name: known.of_jax for name, known in ACTIVATIONS.items()}

LOSS = {
    "regression": lambda z, y: jnp.sum(optax.l2_loss(z, y)),
    "binary": lambda z, y: jnp.sum(optax.sigmoid_binary_cross_entropy(z, y)),
    "multiclass": optax.softmax_cross_entropy,
}

compiled = partial(jax.jit, static_argnums=(0, 1))


def shifts(params, x):
    """Zeros to add to every z, and to x and every a of the hidden layers."""
    shift_z = tuple(jnp.zeros_like(b) for _, b in params)
    return shift_z, (jnp.zeros_like(x), *shift_z[:-1])


@compiled
def loss(activation, task, params, x, y, depth=None, shift_z=None, shift_a=None):
    """The loss of one example; the shifts are added to z and a. `depth` hidden layers count."""
    zero_z, zero_a = shifts(params, x)
    shift_z, shift_a = shift_z or zero_z, shift_a or zero_a

    def layer(a, values):
        theta, b, of_z, of_a = values
        return SIGMA[activation](jnp.dot(a, theta) + b + of_z) + of_a

    def layer_of_run(a, numbered):
        j, values = numbered
        return jnp.where(j < in_run, layer(a, values), a) if depth is not None else layer(a, values)

    *hidden, (theta, b) = params
    in_run = None if depth is None else depth - (len(hidden) - 1)
    a = x + shift_a[0]
    for (theta_i, b_i), *of_i in zip(hidden, shift_z, shift_a[1:], strict=False):
        values = (theta_i, b_i, *of_i)
        if theta_i.ndim == 3:
            numbered = (jnp.arange(len(b_i)), values)
            a, _ = lax.scan(lambda a, v: (layer_of_run(a, v), None), a, numbered)
        else:
            a = layer(a, values)
    return LOSS[task](jnp.dot(a, theta) + b + shift_z[-1], y)


@compiled
def mean_loss(activation, task, params, xs, ys, depth=None):
    one = partial(loss, activation, task)
    return jnp.mean(jax.vmap(one, in_axes=(None, 0, 0, None))(params, xs, ys, depth))


@compiled
def gradients(activation, task, params, xs, ys, depth=None):
    """The mean loss and its gradient by jax.grad."""
    return jax.value_and_grad(partial(mean_loss, activation, task))(params, xs, ys, depth)


@compiled
def deltas(activation, task, params, x, y, depth=None):
    """Δz[1 … L], Δa[0 … L-1] and Δ(θ, b) of one example: derivatives by a shift of each."""
    by = jax.grad(partial(loss, activation, task), argnums=(4, 5, 0))
    return by(params, x, y, depth, *shifts(params, x))


# Rows, of networks whose layers may differ in activation and block


def rms_norm(z, eps=0.0):
    return z * lax.rsqrt(jnp.mean(z**2, axis=-1, keepdims=True) + eps)


NORM = {
    "RMSNorm": rms_norm,
    "LayerNorm": lambda z, eps: jax.nn.standardize(z, -1, epsilon=eps),
    "BatchNorm": lambda z, eps: jax.nn.standardize(z, 0, epsilon=eps),
    "rms": rms_norm,
    "layer": lambda z: jax.nn.standardize(z, -1, epsilon=0.0),
}


def apply(block, sigma, theta, b, z):
    """The rows that a block makes of z."""
    name = type(block).__name__
    if name == "Dense":
        return sigma(z) @ theta + b[None]
    inner = partial(apply, block.inner, sigma, theta, b)
    if name == "Residual":
        return z + block.scale * inner(z)
    return NORM[block.norm](inner(z)) if name == "PostNorm" else inner(NORM[name](z, block.eps))


def of_rows(net, params, xs, shifts=None, depth=None):
    """Rows of z[L], with shifts added to z[1] … z[L]; `depth` hidden layers count."""
    used = [*range(len(params) - 1 if depth is None else depth), -1]
    params, blocks = ([v[i] for i in used] for v in (params, net.blocks))
    shifts = [0.0] * len(used) if shifts is None else [shifts[i] for i in used]
    z = xs @ params[0][0] + params[0][1][None] + shifts[0]
    layers = zip(blocks[1:], net.activations, params[1:], shifts[1:], strict=False)
    for block, activation, layer, shift in layers:
        z = apply(block, SIGMA[activation.name], *layer, z) + shift
    return z


@partial(jax.jit, static_argnames="depth")
def gradients_of_rows(net, params, xs, ys, depth=None):
    """The mean loss, and by JAX Δ(θ, b), Δx and Δz[1] … Δz[L]."""

    def mean_loss(params, xs, shifts):
        z = of_rows(net, params, xs, shifts, depth)
        return jnp.mean(jax.vmap(LOSS[net.task.name])(z, ys))

    shifts = [jnp.zeros((len(xs), len(b)), xs.dtype) for _, b in params]
    return jax.value_and_grad(mean_loss, argnums=(0, 1, 2))(params, xs, shifts)


def example_labels(task, key, batch, n_out, dtype=jnp.float64):
    """Random labels as rows of floats, the form that `loss` above takes."""
    if task == "regression":
        return jax.random.normal(key, (batch, n_out), dtype)
    if task == "binary":
        return jax.random.bernoulli(key, 0.5, (batch, n_out)).astype(dtype)
    return jax.nn.one_hot(jax.random.randint(key, (batch,), 0, n_out), n_out, dtype=dtype)


def assert_close(ours, theirs, tolerance):
    """Equal trees and shapes; each leaf within `tolerance` of the other's largest entry."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    pairs = zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True)
    for (path, leaf), other in pairs:
        assert leaf.shape == other.shape
        leaf, other = np.asarray(leaf, np.float64), np.asarray(other, np.float64)
        error, size = np.max(np.abs(leaf - other)), np.max(np.abs(other))
        assert error <= tolerance * size, f"{jax.tree_util.keystr(path)}: {error:.3g} of {size:.3g}"


def exact_flow(params, x, sigma, slope, error):
    """The article's recursion for one example, in 200 bits.

    sigma, slope: σ and σ′ of a number of mpmath.
    error: z[L] -> Δz[L], entry by entry.

    Returns:
        ln ‖Δz‖, ln ‖Δθ‖ and ln of the mean of z² of every layer.
    """
    exact = np.vectorize(lambda v: mpmath.mpf(float(v)), otypes=[object])
    of_entries = partial(np.vectorize, otypes=[object])

    def log_norm(values):
        return float(mpmath.log(mpmath.norm(list(values))))

    with mpmath.workprec(200):
        layers, inputs, zs = [tuple(map(exact, layer)) for layer in params], [exact(x)], []
        for theta, b in layers:
            zs.append(inputs[-1] @ theta + b)
            inputs.append(of_entries(sigma)(zs[-1]))
        deltas = [of_entries(error)(zs[-1])]
        for (theta, _), z in zip(layers[:0:-1], zs[-2::-1], strict=True):
            deltas.append((theta @ deltas[-1]) * of_entries(slope)(z))
        log_delta = [log_norm(delta) for delta in deltas[::-1]]
        log_theta = [d + log_norm(a) for d, a in zip(log_delta, inputs[:-1], strict=True)]
        return log_delta, log_theta, [2 * log_norm(z) - np.log(len(z)) for z in zs]
