"""Ten tasks of users, each at most five lines of their code, and the numbers that come out.

Every number is compared with `jax.grad` of a plain forward pass.
"""

from textwrap import dedent
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import draw_layers, gaussian

import jaxnn

pytestmark = pytest.mark.usefixtures("users_jax")

MOST_LINES = 5
LN10 = np.log(10)
SIZES = (4, 4, 4, 1)


def loss(output, ys):
    return jnp.sum((output - ys) ** 2, axis=-1)


def f(params, z):
    for theta in params:
        z = block(theta, z)
    return z


def block(theta, z):
    return jax.nn.sigmoid(z) @ theta


def mean_square(output, ys):
    return jnp.mean((output - ys) ** 2)


@pytest.fixture
def given(rng):
    """The users' data, the matrices of six blocks, a network and its parameters."""
    xs, ys = rng.normal(size=(2, 5, 4)).astype(np.float32)
    net = jaxnn.Network(SIZES, "tanh", "regression")
    return {
        "jax": jax,
        "jnp": jnp,
        "jaxnn": jaxnn,
        "eqx": eqx,
        "optax": optax,
        "f": f,
        "block": block,
        "loss": loss,
        "xs": xs,
        "ys": ys,
        "net": net,
        "SIZES": SIZES,
        "thetas": list(rng.normal(0, 0.5, (6, 4, 4)).astype(np.float32)),
        "params": draw_layers(rng, SIZES, gaussian(1.0), 0.1, np.float32),
        "targets": ys[:, :1],
    }


def done(code, given):
    """Run a user's lines, and return their names with those that were given."""
    lines = dedent(code).strip().splitlines()
    assert len(lines) <= MOST_LINES
    assert all(len(line) < 100 and ";" not in line for line in lines)
    names = {"__name__": "users", **given}
    exec("\n".join(lines), names)
    return SimpleNamespace(**names)


def plain(params, xs, sigmas=(jnp.tanh, jnp.tanh), gates=(1.0, 1.0, 1.0)):
    """Return ŷ of a network of ours, of the task regression."""
    z = xs
    for (theta, b), sigma, gate in zip(params, (*sigmas, lambda z: z), gates, strict=True):
        z = sigma(gate * (z @ theta + b))
    return z


def half_square(output, ys):
    """The loss of the task regression."""
    return jnp.mean(jnp.sum((output - ys) ** 2, axis=1)) / 2


def assert_gradient(flow, gradient):
    """Hold Δ of every parameter array against a gradient, in the order of its leaves."""
    expected = [np.log(np.linalg.norm(v)) for v in jax.tree.leaves(gradient)]
    np.testing.assert_allclose(flow.parameters.log_delta, expected, rtol=1e-4, atol=1e-4)


def of_blocks(thetas, xs, ys, of=lambda output, ys: jnp.mean(loss(output, ys))):
    return jax.jit(jax.grad(lambda thetas: of(f(thetas, xs), ys)))(thetas)


@pytest.mark.slow
def test_1_a_module_of_equinox_to_its_verdict(given):
    code = """
        model = eqx.nn.MLP(4, 4, 4, 11, jax.nn.sigmoid, key=jax.random.key(0))
        diagnosis = jaxnn.diagnose(model, xs, ys, loss=loss, each="example")
        print(diagnosis)
    """
    user = done(code, given)
    arrays, rest = eqx.partition(user.model, eqx.is_array)

    def of(arrays):
        return jnp.mean(loss(jax.vmap(eqx.combine(arrays, rest))(user.xs), user.ys))

    gradient = jax.jit(jax.grad(of))(arrays)
    assert_gradient(user.diagnosis.flow, gradient)
    assert user.diagnosis.verdict.word == "vanishing"
    assert user.diagnosis.verdict.decades < -0.5


def test_2_a_function_to_a_flow_and_on_with_trained_parameters(given):
    code = """
        net, params = jaxnn.as_network((f, thetas), xs)
        flow = jaxnn.gradient_flow((net, params), xs, ys, loss=loss)
        trained = jax.tree.map(lambda theta: 1.5 * theta, thetas)
        later = jaxnn.gradient_flow((net, net.params(trained)), xs, ys, loss=loss)
    """
    user = done(code, given)
    assert_gradient(user.flow, of_blocks(user.thetas, user.xs, user.ys))
    assert_gradient(user.later, of_blocks(user.trained, user.xs, user.ys))


@pytest.mark.slow
def test_3_a_list_of_blocks_to_a_flow(given):
    code = """
        net, params = jaxnn.as_network([(block, theta) for theta in thetas])
        flow = jaxnn.gradient_flow((net, params), xs, ys, loss=loss)
    """
    user = done(code, given)
    assert_gradient(user.flow, of_blocks(user.thetas, user.xs, user.ys))
    assert len(user.flow.names) == 6


@pytest.mark.slow
def test_4_a_scalar_loss(given):
    code = """
        layers = [(block, theta) for theta in thetas]
        flow = jaxnn.diagnose(layers, xs, ys, loss=lambda o, ys: jnp.mean((o - ys) ** 2)).flow
    """
    user = done(code, given)
    assert_gradient(user.flow, of_blocks(user.thetas, user.xs, user.ys, mean_square))


@pytest.mark.slow
def test_5_seeds_to_a_table_of_all(given):
    code = """
        def flow_of(key):
            return jaxnn.gradient_flow((net, jaxnn.init(net, key)), xs, targets)
        flows = jax.vmap(flow_of)(jax.random.split(jax.random.key(0), 3))
        table = flows.table()
    """
    user = done(code, given)
    assert [(row["flow"], row["layer"]) for row in user.table] == [
        (seed, layer) for seed in range(3) for layer in (1, 2, 3)
    ]

    @jax.jit
    @jax.vmap
    def gradients(key):
        params = jaxnn.init(user.net, key)
        return jax.grad(lambda p: half_square(plain(p, user.xs), user.targets))(params)

    layers = gradients(jax.random.split(jax.random.key(0), 3))
    expected = [
        np.log10(np.hypot(*(np.linalg.norm(v[seed]) for v in layer)))
        for seed in range(3)
        for layer in layers
    ]
    found = [row["log10_theta"] for row in user.table]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_6_a_loss_of_one_s_own_on_a_network(given):
    code = """
        flow = jaxnn.gradient_flow((net, params), xs, targets, loss=lambda o, ys: abs(o - ys)[:, 0])
    """
    user = done(code, given)
    of = lambda p: jnp.mean(jnp.abs(plain(p, user.xs) - user.targets))  # noqa: E731
    assert_gradient(user.flow, jax.jit(jax.grad(of))(user.params))


@pytest.mark.slow
def test_7_an_activation_for_each_layer(given):
    code = """
        mixed = jaxnn.Network(SIZES, ["tanh", "sigmoid"], "regression")
        flow = jaxnn.gradient_flow((mixed, params), xs, targets)
    """
    user = done(code, given)
    sigmas = jnp.tanh, jax.nn.sigmoid
    of = lambda p: half_square(plain(p, user.xs, sigmas), user.targets)  # noqa: E731
    assert_gradient(user.flow, jax.jit(jax.grad(of))(user.params))


@pytest.mark.slow
def test_8_a_block_of_one_s_own(given):
    code = """
        class Halved(jaxnn.blocks.Dense):
            def forward(self, sigma, layer, z):
                return jaxnn.blocks.scaled(super().forward(sigma, layer, z)[0], 0.5), None
            def backward(self, sigma, layer, z, saved, delta):
                return super().backward(sigma, layer, z, saved, jaxnn.blocks.scaled(delta, 0.5))
    """
    user = done(code, given)
    net = jaxnn.Network(SIZES, "tanh", "regression", hidden=user.Halved())
    flow = jaxnn.gradient_flow((net, user.params), user.xs, user.targets)
    of = lambda p: half_square(plain(p, user.xs, gates=(1.0, 0.5, 1.0)), user.targets)  # noqa: E731
    assert_gradient(flow, jax.jit(jax.grad(of))(user.params))


@pytest.mark.slow
def test_9_a_compiled_step_with_optax(given):
    code = """
        adam = optax.adam(1e-2)
        state = jaxnn.train.start(net, params, adam, jax.random.key(1))
        step = jax.jit(jaxnn.train.step, static_argnames="optimizer")
        state, value = step(net, state, xs, targets, optimizer=adam)
    """
    user = done(code, given)
    of = jax.jit(jax.value_and_grad(lambda p: half_square(plain(p, user.xs), user.targets)))
    value, gradient = of(user.params)
    updates, _ = user.adam.update(gradient, user.adam.init(user.params))
    assert float(user.value) == pytest.approx(float(value), rel=1e-5)
    expected = jax.tree.leaves(optax.apply_updates(user.params, updates))
    for found, other in zip(jax.tree.leaves(user.state.params), expected, strict=True):
        np.testing.assert_allclose(found, other, rtol=1e-4, atol=1e-6)


def test_10_scalars_to_a_tracker(given):
    tracker = {}
    code = """
        flow = jaxnn.gradient_flow((net, params), xs, targets)
        for name, value in flow.scalars().items():
            log(name, value)
    """
    user = done(code, given | {"log": tracker.__setitem__})
    assert all(type(value) is float and np.isfinite(value) for value in tracker.values())

    def of(shift):
        (theta, b), *rest = user.params
        return half_square(plain([(theta, b + shift), *rest], user.xs), user.targets)

    delta = jax.jit(jax.grad(of))(jnp.zeros((5, 4)))
    first = np.log10(np.linalg.norm(delta))
    assert tracker["gradient/1/log10_delta"] == pytest.approx(first, rel=1e-4, abs=1e-4)
