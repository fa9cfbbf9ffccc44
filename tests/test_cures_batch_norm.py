"""A batch norm whose gain is zero, in each framework by its own layer: named, and set to 1."""

import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from peers import need

import jaxnn

N, B, LAYERS, ILL = 12, 8, 6, 3
GAIN = 2**0.5


def loss(output, ys):
    return jnp.mean(jnp.square(output - ys), -1)


def forward(blocks, z, head, has_skips):
    for block in blocks:
        z = z + block(z) if has_skips else block(z)
    return head(z)


def of_nnx(xs, has_skips, trains):
    rngs, init = nnx.Rngs(0), nnx.initializers.orthogonal(GAIN)

    class Block(nnx.Module):
        def __init__(self):
            self.linear = nnx.Linear(N, N, kernel_init=init, rngs=rngs)
            self.norm = nnx.BatchNorm(N, rngs=rngs)

        def __call__(self, z):
            return nnx.relu(self.norm(self.linear(z)))

    class Model(nnx.Module):
        def __init__(self):
            self.blocks = nnx.List([Block() for _ in range(LAYERS)])
            self.head = nnx.Linear(N, 2, rngs=rngs)

        def __call__(self, z):
            return forward(self.blocks, z, self.head, has_skips)

    model = Model()
    model.blocks[ILL].norm.scale[...] = jnp.zeros(N)
    if not trains:
        model.eval()
    return model, f".blocks[{ILL}].norm.scale.value"


def of_linen(xs, has_skips, trains):
    class Block(linen.Module):
        @linen.compact
        def __call__(self, z):
            z = linen.Dense(N, kernel_init=linen.initializers.orthogonal(GAIN))(z)
            return linen.relu(linen.BatchNorm(use_running_average=not trains)(z))

    class Model(linen.Module):
        @linen.compact
        def __call__(self, z):
            return forward([Block() for _ in range(LAYERS)], z, linen.Dense(2), has_skips)

    variables = Model().init(jax.random.key(0), xs)
    params, stats = variables["params"], {"batch_stats": variables["batch_stats"]}
    params[f"Block_{ILL}"]["BatchNorm_0"]["scale"] = jnp.zeros(N)

    def apply(params, xs):
        return Model().apply({"params": params} | stats, xs, mutable=["batch_stats"])[0]

    return (apply, params), f"['Block_{ILL}']['BatchNorm_0']['scale']"


class OfEquinox(eqx.Module):
    linears: list
    norms: list
    head: eqx.nn.Linear
    has_skips: bool = eqx.field(static=True)

    def __init__(self, has_skips):
        keys = jax.random.split(jax.random.key(0), LAYERS + 1)
        drawn = [jax.nn.initializers.orthogonal(GAIN)(key, (N, N)) for key in keys[1:]]
        linear = eqx.nn.Linear(N, N, key=keys[0])
        self.linears = [eqx.tree_at(lambda m: m.weight, linear, w) for w in drawn]
        self.norms = [eqx.nn.BatchNorm(N, "batch", mode="batch") for _ in range(LAYERS)]
        self.head, self.has_skips = eqx.nn.Linear(N, 2, key=keys[0]), has_skips

    def __call__(self, z, state):
        for linear, norm in zip(self.linears, self.norms, strict=True):
            y, state = norm(linear(z), state)
            z = z + jax.nn.relu(y) if self.has_skips else jax.nn.relu(y)
        return self.head(z), state


def of_equinox(xs, has_skips, trains):
    model, state = eqx.nn.make_with_state(OfEquinox)(has_skips)
    model = eqx.tree_at(lambda m: m.norms[ILL].weight, model, jnp.zeros(N))

    def batch(model, state, xs):
        over = {"axis_name": "batch", "in_axes": (0, None), "out_axes": (0, None)}
        return jax.vmap(model, **over)(xs, state)

    if not trains:  # of a state that no batch has touched it has no mean
        state = batch(model, state, xs)[1]
        model = eqx.nn.inference_mode(model)
    return (lambda model, xs: batch(model, state, xs)[0], model), f".norms[{ILL}].weight"


def of_haiku(xs, has_skips, trains):
    need("haiku")
    import haiku as hk

    def network(z, trains):
        def block(z):
            z = hk.Linear(N, w_init=hk.initializers.Orthogonal(GAIN))(z)
            return jax.nn.relu(hk.BatchNorm(True, True, 0.9)(z, is_training=trains))

        return forward([block] * LAYERS, z, hk.Linear(2), has_skips)

    transformed = hk.without_apply_rng(hk.transform_with_state(network))
    params, state = transformed.init(jax.random.key(0), xs, True)
    params[f"batch_norm_{ILL}"]["scale"] = jnp.zeros((1, N))
    apply = lambda params, xs: transformed.apply(params, state, xs, trains)[0]  # noqa: E731
    return (apply, params), f"['batch_norm_{ILL}']['scale']"


def of_keras(xs, has_skips, trains):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    need("keras")
    import keras

    keras.utils.set_random_seed(0)

    def block(z):
        init = keras.initializers.Orthogonal(GAIN)
        z = keras.layers.Dense(N, kernel_initializer=init)(z)
        return keras.layers.Activation("relu")(keras.layers.BatchNormalization()(z))

    inputs = keras.Input((N,))
    outputs = forward([block] * LAYERS, inputs, keras.layers.Dense(2), has_skips)
    model = keras.Model(inputs, outputs)
    params = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]
    gain = 4 * ILL + 2  # each block has a kernel, a bias, a gain and an offset, without names
    params[gain] = jnp.zeros(N)

    def call(params, xs):
        return model.stateless_call(params, others, xs, training=trains)[0]

    return (call, params), f"[{gain}]"


@pytest.mark.slow
@pytest.mark.usefixtures("users_jax")
@pytest.mark.parametrize("has_skips", [False, True])
@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("build", [of_nnx, of_linen, of_equinox, of_haiku, of_keras])
def test_a_gain_of_zeros_is_named_and_set_to_one(build, trains, has_skips, rng):
    """In training and in inference, in a branch and without; the lines do what the cure does."""
    xs, ys = np.float32(rng.normal(size=(B, N))), np.float32(rng.normal(size=(B, 2)))
    model, path = build(xs, has_skips, trains)
    found = jaxnn.cures(model, xs, ys, loss=loss, seconds=0)
    (sight,) = (f for f in found.verdict.findings if "to" in f.values)
    assert (sight.path, sight.advice) == (path, f"Set {path} to 1.")
    assert found[0].works
    assert found[0].advice.startswith(f"Set `{path}` to 1.")
    after = jaxnn.diagnose(found[0].model, xs, ys, loss=loss).verdict
    assert not any("to" in f.values for f in after.findings)
    is_pair = isinstance(model, tuple)
    names = {"model": model} if not is_pair else {"params": model[1]}
    names |= {"jax": jax, "jnp": jnp, "eqx": eqx}
    exec(found[0].code, names)
    changed = (model[0], names["params"]) if is_pair else names["model"]
    flow = jaxnn.diagnose(changed, xs, ys, loss=loss).flow
    np.testing.assert_allclose(flow.log_delta, found[0].flow.log_delta, atol=1e-4)
