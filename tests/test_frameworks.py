"""Networks of Haiku and Keras, untouched: cut by themselves, and measured as jax.grad says.

What needs these packages is slow, and skipped where they are not installed.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peers import need

import jaxnn

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("users_jax")]

B, N, LAYERS = 5, 4, 3


@pytest.fixture
def batch(rng):
    return rng.normal(size=(2, B, N)).astype(np.float32)


def loss(output, ys):
    return jnp.sum((output - ys) ** 2, axis=-1)


def by_hand(weights, xs, nudges):
    """Layers of tanh in plain JAX, with what is added to each z."""
    a = xs
    for (theta, b), nudge in zip(weights, nudges, strict=True):
        z = a @ theta + b + nudge
        a = jnp.tanh(z)
    return z


def check(f, params, weights_of, batch):
    """Compare Δz with that of the network by hand, Δθ with that of the framework's own function."""
    xs, ys = batch
    net, own = jaxnn.as_network((f, params), xs)
    flow = jaxnn.gradient_flow((net, own), xs, ys, loss=loss)
    assert len(net.names) == LAYERS

    nudges = [jnp.zeros((B, N))] * LAYERS
    weights = weights_of(params)
    of_z = jax.grad(lambda nudges: loss(by_hand(weights, xs, nudges), ys).mean())(nudges)
    of_theta = weights_of(jax.grad(lambda params: loss(f(params, xs), ys).mean())(params))
    sizes = [np.log(np.linalg.norm(delta)) for delta in of_z]
    np.testing.assert_allclose(flow.log_delta, sizes, rtol=1e-4, atol=1e-4)
    sizes = [0.5 * np.log(sum(np.sum(np.square(v)) for v in pair)) for pair in of_theta]
    np.testing.assert_allclose(flow.log_theta, sizes, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(f(params, xs), by_hand(weights, xs, nudges), rtol=1e-4, atol=1e-5)


def test_a_network_of_haiku(batch, key):
    need("haiku")
    import haiku as hk

    def network(xs):
        return hk.nets.MLP([N] * LAYERS, activation=jnp.tanh)(xs)

    made = hk.without_apply_rng(hk.transform(network))
    params = made.init(key, batch[0])
    check(made.apply, params, lambda p: [(v["w"], v["b"]) for v in p.values()], batch)


def test_a_functional_model_of_keras(batch, monkeypatch, tmp_path):
    need("keras")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    import keras

    assert keras.backend.backend() == "jax"
    keras.utils.set_random_seed(0)
    x = keras.Input((N,))
    z = x
    for i in range(LAYERS):
        z = keras.layers.Dense(N, activation="tanh" if i < LAYERS - 1 else None)(z)
    model = keras.Model(x, z)
    rest = [v.value for v in model.non_trainable_variables]

    def f(params, xs):
        return model.stateless_call(params, rest, xs)[0]

    params = [v.value for v in model.trainable_variables]
    check(f, params, lambda p: list(zip(p[::2], p[1::2], strict=True)), batch)
