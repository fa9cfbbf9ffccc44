"""A second implementation: jax.nn's activations and optax's losses, differentiated by JAX.

It shares nothing with jaxnn but the layout of the parameters.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

SIGMA = {
    "identity": lambda z: z,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "mish": jax.nn.mish,
    "erf": jax.lax.erf,
    "sin": jnp.sin,
    "hard_tanh": jax.nn.hard_tanh,
    "relu6": jax.nn.relu6,
}

LOSS = {
    "regression": lambda z, y: jnp.sum(optax.l2_loss(z, y)),
    "binary": lambda z, y: jnp.sum(optax.sigmoid_binary_cross_entropy(z, y)),
    "multiclass": optax.softmax_cross_entropy,
}


def loss(activation, task, params, x, y, shift_z=None, shift_a=None):
    """The loss of one example; `shift_z[l-1]` and `shift_a[l]` are added to z[l] and a[l]."""
    a = x
    for i, (theta, b) in enumerate(params):
        a = a if shift_a is None else a + shift_a[i]
        z = jnp.dot(a, theta) + b
        z = z if shift_z is None else z + shift_z[i]
        a = SIGMA[activation](z)
    return LOSS[task](z, y)


def mean_loss(activation, task, params, xs, ys):
    one = partial(loss, activation, task)
    return jnp.mean(jax.vmap(one, in_axes=(None, 0, 0))(params, xs, ys))


def gradients(activation, task, params, xs, ys):
    """The mean loss and its gradient by jax.grad."""
    return jax.value_and_grad(partial(mean_loss, activation, task))(params, xs, ys)


def deltas(activation, task, params, x, y):
    """Δz[1 … L], Δa[0 … L-1] and Δ(θ, b) of one example: derivatives by a shift of each."""
    shift_z = [jnp.zeros_like(b) for _, b in params]
    shift_a = [jnp.zeros_like(theta[:, 0]) for theta, _ in params]
    of = jax.grad(partial(loss, activation, task), argnums=(3, 4, 0))
    return of(params, x, y, shift_z, shift_a)


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
