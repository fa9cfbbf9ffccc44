"""Chains: a network of the user's own layers, against plain gradients and our own networks."""

import functools
from itertools import pairwise

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from problems import (
    barriers_stay,
    draw_batch,
    draw_layers,
    gaussian,
    log_norm,
    mostly_slow,
    refusals,
)
from problems import chain_flow as gradient_flow

import jaxnn

pytestmark = pytest.mark.usefixtures("light")

B, N = 5, 4


def dense(p, z):
    return jnp.tanh(z) @ p["theta"] + p["b"][None]


def drawn(rng, n_in=N, n_out=N, dtype=np.float64):
    theta = rng.normal(size=(n_in, n_out)) / n_in**0.5
    return {"theta": theta.astype(dtype), "b": (0.1 * rng.normal(size=n_out)).astype(dtype)}


def square(out, ys):
    return jnp.sum(jnp.square(out - ys), axis=tuple(range(1, out.ndim)))


def by_jax(layers, xs, top):
    """Plain gradients of top(output): Δ of every state and of every layer's parameters, and Δx.

    Args:
        layers: pairs (f, params).
        xs: the first state.
        top: output -> a number.
    """
    shapes, state = [], xs
    for f, p in layers:
        state = f(p, state)
        shapes.append(jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), state))

    def of(params, shifts, xs):
        state = xs
        for (f, _), p, shift in zip(layers, params, shifts, strict=True):
            state = jax.tree.map(jnp.add, f(p, state), shift)
        return top(state)

    return jax.jit(jax.grad(of, argnums=(0, 1, 2)))([p for _, p in layers], shapes, xs)


def assert_flow_is(flow, gradients, rtol=1e-11):
    """Every norm of the flow is that of plain gradients."""
    theta, states, delta_x = gradients
    close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=rtol)
    close(flow.log_theta, [log_norm(g) for g in theta])
    close(flow.log_delta, [log_norm(g) for g in states])
    close(flow.log_delta_input, log_norm(delta_x))
    examples = [[log_norm(jax.tree.map(lambda v, i=i: v[i], g)) for i in range(B)] for g in states]
    close(flow.log_delta_example, examples)
    largest = [max(float(jnp.max(jnp.abs(v))) for v in jax.tree.leaves(g)) for g in states]
    close(flow.log_largest, np.log(largest))


def flow_of(layers, xs, cotangent, **options):
    net, params = jaxnn.as_network(layers)
    return gradient_flow(net, params, xs, cotangent=cotangent, **options)


# Numbers


@mostly_slow("memory", ["all", "sqrt"], "all")
def test_it_measures_what_gradient_flow_does(rng, memory):
    """Far below the range of float32, for each example, with Δθ."""
    net = jaxnn.Network((3, *[16] * 150, 1), "sigmoid", "binary")
    pairs = draw_layers(rng, net.sizes, gaussian(1.0), 0.1, jnp.float32)
    xs, ys = draw_batch(rng, net, B, jnp.float32)

    def first(p, x):
        return x @ p.theta + p.b[None]

    def layer(p, z):
        return jax.nn.sigmoid(z) @ p.theta + p.b[None]

    def loss(z, ys):
        return jnp.logaddexp(z[:, 0], 0) - ys.reshape(-1).astype(z.dtype) * z[:, 0]

    own, params = jaxnn.as_network([(first, pairs[0]), *[(layer, p) for p in pairs[1:]]])
    assert own.lengths == (0, 149, 0)
    flow = gradient_flow(own, params, xs, ys, loss=loss, memory=memory)
    ours = jax.jit(gradient_flow)(net, jaxnn.network.stack(pairs), xs, ys)
    assert float(ours.log_delta[0]) < -150
    for name in ("log_delta", "log_delta_example", "log_largest", "log_mean_square"):
        np.testing.assert_allclose(getattr(flow, name), getattr(ours, name), rtol=3e-7, atol=3e-6)
    np.testing.assert_allclose(flow.log_theta, ours.log_theta, rtol=3e-7, atol=3e-6)
    np.testing.assert_allclose(flow.log_delta_input, ours.log_delta_input, rtol=3e-7, atol=3e-6)
    for mine, theirs in (
        (flow.parameters.log_delta, ours.parameters.log_delta),
        (flow.parameters.log_size, ours.parameters.log_size),
    ):
        np.testing.assert_allclose(mine, theirs, rtol=3e-7, atol=3e-6)
    assert flow.parameters.layers == ours.parameters.layers
    np.testing.assert_array_equal(flow.lost, ours.lost)
    np.testing.assert_allclose(flow.log_gain[:-1], np.diff(-np.float64(flow.log_delta)), atol=1e-4)


@pytest.mark.slow
def test_unequal_layers_take_the_memory_of_plain_gradients(rng):
    """Residuals of their reverse rules are recomputed instead of stored, as in a run."""
    widths = [32, 30, 28, 26, 24]
    shapes = [((m, 8 * m), (8 * m, n)) for m, n in pairwise(widths)]
    layers = [tuple(rng.normal(size=s).astype(np.float32) for s in pair) for pair in shapes]
    xs = rng.normal(size=(256, widths[0])).astype(np.float32)

    def layer(p, x):
        return jnp.sin(jax.nn.gelu(x @ p[0]) @ p[1])

    def mean(layers, x):
        for p in layers:
            x = layer(p, x)
        return jnp.mean(jnp.square(x))

    def flow(params, x):
        return gradient_flow(net, params, x, loss=lambda out, _: jnp.mean(jnp.square(out)))

    net, params = jaxnn.as_network([(layer, p) for p in layers])
    ours, plain = (
        jax.jit(f).lower(p, xs).compile().memory_analysis().temp_size_in_bytes
        for f, p in ((flow, params), (jax.grad(mean), layers))
    )
    assert ours <= plain or not barriers_stay()


def test_less_memory_changes_nothing(rng):
    """A pattern of two, five times: segments of three and two."""
    layers = [
        (f, p) for _ in range(5) for f, p in ((dense, drawn(rng)), (collapse, drawn(rng)["theta"]))
    ]
    net, params = jaxnn.as_network(layers)
    assert net.lengths == (5,)
    xs, ys = rng.normal(size=(2, B, N))
    flow, few = (
        gradient_flow(net, params, xs, ys, loss=square, memory=memory) for memory in ("all", "sqrt")
    )
    chex.assert_trees_all_close(flow, few, rtol=1e-12)


def test_what_differs_between_examples(rng):
    """Spread, cosine and rank of a state are those of NumPy."""
    p = drawn(rng)
    xs = rng.normal(size=(B, N))
    flow = flow_of([(dense, p)], xs, np.ones((B, N)), examples=True)
    z = np.tanh(xs) @ p["theta"] + p["b"]
    off = z - z.mean(axis=0)
    spread = np.sqrt(np.mean(off**2) / np.mean(z**2))
    cosines = np.corrcoef(np.hstack([z, -z]))  # of mean zero, so that it is the cosine
    gram = off @ off.T
    assert float(flow.log_mean_square[0]) == pytest.approx(np.log(np.mean(z**2)))
    assert float(flow.log_spread[0]) == pytest.approx(np.log(spread))
    assert float(flow.cosine[0]) == pytest.approx((cosines.sum() - B) / (B * (B - 1)))
    assert float(flow.rank[0]) == pytest.approx(np.trace(gram) ** 2 / np.sum(gram**2))
    assert np.isnan(flow.log_spread_within[0])


def test_what_differs_between_positions(rng):
    """All positions of an example are equal here, and examples differ."""
    numbers = rng.normal(size=(B, 1, N))
    xs = np.broadcast_to(numbers, (B, 3, N)).copy()
    flow = flow_of([(lambda p, z: z * p, np.float64(2.0))], xs, np.ones(xs.shape), examples=True)
    assert float(flow.log_spread_within[0]) < np.log(1e-15)
    assert float(flow.log_spread[0]) > np.log(0.1)
    assert np.isfinite(flow.rank[0])


def collapse(p, z):
    return jax.nn.sigmoid(z) @ p


# What breaks


def batch_norm(p, z):
    z = z @ p
    mean, var = (of(z, axis=0, keepdims=True) for of in (jnp.mean, jnp.var))
    return (z - mean) / jnp.sqrt(var + 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("dropped", [None, (0, 2), (1, 3, 4), (0, 3), (1, 2, 4)])
def test_batch_statistics(dropped, rng):
    """Examples meet: their exponents are one, also where a cotangent has 10^30 between them.

    In a branch that some of them drop they meet in one direction: these still get the others'
    gradients.
    """
    kept = np.ones((B, 1))
    kept[list(dropped or ())] = 0

    def branch(p, z):
        return z + kept * batch_norm(p, z)

    of_batch = batch_norm if dropped is None else branch
    layers = [(dense, drawn(rng)), (of_batch, rng.normal(size=(N, N))), (dense, drawn(rng))]
    xs, cotangent = rng.normal(size=(B, N)), rng.normal(size=(B, N))
    cotangent *= 10.0 ** np.array([0, -30, 3, 12, -2])[:, None]
    flow = flow_of(layers, xs, cotangent)
    np.testing.assert_array_equal(flow.mixes, [False, True, False])
    assert_flow_is(flow, by_jax(layers, xs, lambda out: jnp.vdot(out, cotangent)))


@pytest.mark.slow
@pytest.mark.parametrize("numbered", [False, True])
def test_a_run_whose_first_layer_has_a_gate_that_is_closed(rng, numbered):
    """Examples meet in the others; also where the gate is the number of the layer, as data."""
    theta, gates = rng.normal(size=(4, N, N)), np.array([0.0, 1, -1, 1])

    def step(p, z, number=None):
        gate = p[1] if number is None else jnp.minimum(number, 1).astype(z.dtype)
        return z + gate * batch_norm(p[0], z)

    numbers = np.arange(4) if numbered else None
    run = jaxnn.Run(step, (theta, gates), 4, xs=numbers)
    xs, cotangent = rng.normal(size=(B, N)), rng.normal(size=(B, N))
    cotangent *= 10.0 ** np.array([0, -30, 3, 12, -2])[:, None]
    flow = flow_of([run], xs, cotangent)
    assert flow.mixes.all()
    plain = [
        (functools.partial(step, number=number), (w, gate))
        for w, gate, number in zip(theta, gates, numbers if numbered else [None] * 4, strict=True)
    ]
    assert_flow_is(flow, by_jax(plain, xs, lambda out: jnp.vdot(out, cotangent)))


@pytest.mark.slow
def test_examples_far_apart(rng):
    """Each keeps its own exponent, where one exponent for all would make the smaller zero."""
    theta = np.float32(1e-6 * rng.normal(size=(2, N, N)))
    cotangent = np.float32(rng.normal(size=(2, N)) * [[1.0], [1e-36]])
    layers = [(jnp.multiply, np.float32(1)), *((lambda p, z: z @ p, v) for v in theta)]
    flow = flow_of(layers, np.ones((2, N), np.float32), cotangent)
    below = np.float64(cotangent) @ theta[1].T.astype(float) @ theta[0].T.astype(float)
    expected = np.log(np.linalg.norm(below, axis=1))
    np.testing.assert_allclose(flow.log_delta_example[0], expected, rtol=1e-6)
    of_factor = np.log(abs(np.sum(below)))  # the examples together
    np.testing.assert_allclose(flow.parameters.log_delta[0], of_factor, rtol=1e-5)


@jax.custom_vjp
def clipped(z):
    return z


clipped.defvjp(lambda z: (z, None), lambda _, delta: (jnp.clip(delta, -1e-3, 1e-3),))


@pytest.mark.slow
def test_clipped_gradients(rng):
    layers = [(dense, drawn(rng)), (lambda p, z: clipped(z @ p), np.eye(N)), (dense, drawn(rng))]
    with pytest.raises(ValueError, match=r"layer 2 \(<lambda>\): its reverse rule is not linear"):
        flow_of(layers, rng.normal(size=(B, N)), np.ones((B, N)))


@pytest.mark.slow
def test_integers_and_keys(rng, key):
    """An embedding first, and a key in the state that each layer splits; same again from √k."""

    def embedded(table, state):
        tokens, key = state
        return table[tokens], key

    def dropped(p, z, key):
        key, own = jax.random.split(key)
        return jnp.where(jax.random.bernoulli(own, 0.5, z.shape), 2 * z, 0) @ p, key

    def split_each(p, state):
        return jax.vmap(functools.partial(dropped, p))(*state)

    table, theta = rng.normal(size=(7, N)), rng.normal(size=(9, N, N)) / 2
    layers = [(embedded, table), *[(split_each, t) for t in theta]]
    tokens, keys = rng.integers(0, 7, size=B), jax.random.split(key, B)
    cotangent = (rng.normal(size=(B, N)), keys)
    flow = flow_of(layers, (tokens, keys), cotangent)
    few = flow_of(layers, (tokens, keys), cotangent, memory="sqrt")
    assert np.isnan(flow.log_delta_input)

    def plain(table, theta):
        state = embedded(table, (tokens, keys))
        for t in theta:
            state = split_each(t, state)
        return jnp.vdot(state[0], cotangent[0])

    of_table, of_theta = jax.grad(plain, argnums=(0, 1))(table, theta)
    expected = [log_norm(of_table), *map(log_norm, of_theta)]
    np.testing.assert_allclose(flow.log_theta, expected, rtol=1e-11)
    np.testing.assert_allclose(few.log_theta, flow.log_theta, rtol=1e-12)


def test_time_is_depth(rng):
    """A recurrent network: tied parameters, data of each step; Δθ of each use of them."""

    def step(p, h, x):
        return jnp.tanh(h @ p + x)

    p, xs = rng.normal(size=(N, N)), rng.normal(size=(6, B, N))
    net, params = jaxnn.as_network([jaxnn.Run(step, p, 6, xs=xs, tied=True)])
    assert net.names[2] == "step"
    h, cotangent = rng.normal(size=(B, N)), rng.normal(size=(B, N))
    flow = gradient_flow(net, params, h, cotangent=cotangent)
    layers = [(lambda p, h, x=x: step(p, h, x), p) for x in xs]
    assert_flow_is(flow, by_jax(layers, h, lambda out: jnp.vdot(out, cotangent)))
    with pytest.raises(ValueError, match=r"1 \(step\): expected arrays of 5 entries.*got shape"):
        jaxnn.as_network([jaxnn.Run(step, p, 5, xs=xs, tied=True)])
    with pytest.raises(ValueError, match=r"1 \(step\): xs need each='batch'"):
        jaxnn.as_network([jaxnn.Run(step, p, 6, xs=xs, tied=True)], each="example")


def test_states_of_several_dtypes_are_recorded_in_the_widest(rng):
    layers = [(lambda p, z: (z * p).astype(jnp.float32), np.float64(2.0))]
    layers.append((lambda p, z: z.astype(jnp.float64) * p, np.float64(3.0)))
    cotangent = rng.normal(size=(B, N))
    flow = flow_of(layers, rng.normal(size=(B, N)), cotangent, examples=False)
    expected = log_norm(cotangent)
    np.testing.assert_allclose(flow.log_delta, [expected + np.log(3), expected], rtol=1e-7)
    assert flow.log_delta[1] == pytest.approx(expected, rel=1e-14)


def test_skips_across_layers_are_a_state(rng):
    def down(p, z):
        return dense(p, z), z

    def middle(p, state):
        z, skip = state
        return dense(p, z), skip

    def joined(p, state):
        z, skip = state
        return dense(p, z) + skip

    layers = [(down, drawn(rng)), (middle, drawn(rng)), (joined, drawn(rng))]
    xs, cotangent = rng.normal(size=(B, N)), rng.normal(size=(B, N))
    flow = flow_of(layers, xs, cotangent)
    assert_flow_is(flow, by_jax(layers, xs, lambda out: jnp.vdot(out, cotangent)))
    assert flow.sizes == (2 * N, 2 * N, N)


def endless(p, z):
    return lax.while_loop(lambda z: jnp.max(z) > 1, lambda z: z / 2, z @ p)


THETA, OF_RUN = np.eye(N), np.ones((3, N, N))
Z, DENSE = np.ones((B, N)), {"theta": THETA, "b": np.zeros(N)}
ONE, RUN = [(dense, DENSE)], jaxnn.Run(dense, np.ones((2, 2)), 3)


def behind(layer):
    """Measure a chain with a layer behind another one."""
    layer = layer if isinstance(layer, jaxnn.Run) else (layer, THETA)
    return flow_of([*ONE, layer], Z, Z)


REFUSED = """
behind(lambda p, z: (z @ p)[0])
behind(lambda p, z: (z @ p).astype(jnp.float8_e4m3fn))
behind(lambda p, z: lax.complex(z @ p, z))
behind(lambda p, z: jnp.argmax(z @ p, axis=1))
behind(endless)
behind(jaxnn.Run(lambda p, z: (z @ p).astype(jnp.float32), OF_RUN, 3))
jaxnn.as_network([])
jaxnn.as_network(dense)
jaxnn.as_network([3.0])
jaxnn.as_network([jnp.tanh], each="row")
jaxnn.as_network([RUN])
flow_of(ONE, Z, None)
gradient_flow(*jaxnn.as_network(ONE), Z, Z)
flow_of(ONE, Z, Z, depth=1)
flow_of(ONE, Z, np.ones((B, 3)))
gradient_flow(*jaxnn.as_network(ONE), Z, Z, loss=lambda out, ys: jnp.sum(out - ys, axis=0))
flow_of(ONE, (Z, np.ones(3)), Z)
"""


def test_what_is_no_chain_and_what_cannot_be_measured_is_named(snapshot):
    assert refusals(REFUSED, globals()) == snapshot


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float8_e5m2, jnp.float8_e4m3fn])
def test_floats_of_8_bits_are_for_the_inside_of_layers(rng, dtype):
    """As bfloat16 they have the same numbers, and a flow."""

    def rounded(p, z):
        return jnp.tanh(z).astype(dtype).astype(z.dtype) @ p.astype(z.dtype)

    thetas = [jnp.asarray(rng.normal(size=(N, N)), dtype) for _ in range(3)]
    xs, ones = jnp.asarray(rng.normal(size=(B, N)), dtype), np.ones((B, N))
    for given, error in (
        (thetas, r"layer 1 \(rounded\): expected param"),
        ([np.eye(N)], "xs: expect"),
    ):
        with pytest.raises(ValueError, match=f"^{error}.*, got {dtype.__name__}; cast to bfloat16"):
            flow_of([(rounded, p) for p in given], xs if len(given) == 1 else np.ones((B, N)), ones)

    def looped(p, z):  # of a loop nothing is known, so that its rule is tried
        return jax.lax.scan(lambda z, _: (rounded(p, z), None), z, None, length=1)[0]

    layers = [(looped, p.astype(jnp.bfloat16)) for p in thetas]
    wide = xs.astype(jnp.float32)
    flow = flow_of(layers, wide, ones)
    plain = by_jax(layers, wide, lambda out: jnp.sum(out))
    np.testing.assert_allclose(flow.log_delta, [log_norm(v) for v in plain[1]], rtol=0.05)
    cut = jaxnn.as_network(
        (lambda p, z: functools.reduce(lambda z, q: rounded(q, z), p, z), thetas), wide
    )
    assert cut[0].names == ("[0]", "[1]", "[2]")


def test_an_error_within_a_layer_keeps_its_message_and_has_a_name(rng):
    wide, ones = rng.normal(size=(B, N)), np.ones((B, 3))
    with pytest.raises(ValueError, match=r"layer dense: expected .* \(5, 3\), got .* dot_general"):
        flow_of([(dense, drawn(rng, 3, 3))], wide, ones)
    with pytest.raises(AttributeError, match="none") as error:
        flow_of([(lambda p, z: z.none, drawn(rng, 3, 3))], wide, ones)
    assert error.value.__notes__[0] == "This is in layer 1 (<lambda>) of the chain."


@pytest.mark.slow
def test_equal_layers_that_change_the_shape_are_no_run(rng):
    """Found equal by their parameters, and taken apart again."""
    halved = [(lambda p, z: p * (z[:, ::2] + z[:, 1::2]), np.float64(v)) for v in (1.0, 2.0, 3.0)]
    f = halved[0][0]
    layers = [(f, p) for _, p in halved]  # one function
    net, params = jaxnn.as_network(layers)
    assert net.lengths == (3,)
    xs, cotangent = rng.normal(size=(B, 8)), rng.normal(size=(B, 1))
    flow = gradient_flow(net, params, xs, cotangent=cotangent)
    assert flow.sizes == (4, 2, 1)
    assert_flow_is(flow, by_jax(layers, xs, lambda out: jnp.vdot(out, cotangent)))


# Handing a network over


def test_a_program_does_not_grow_with_equal_layers(rng):
    def size(k):
        net, params = jaxnn.as_network([(dense, drawn(rng)) for _ in range(k)])
        text = str(
            jax.make_jaxpr(gradient_flow, static_argnums=0)(
                net, params, np.ones((B, N)), cotangent=np.ones((B, N))
            )
        )
        return text.count(" = ")

    assert size(8) == size(64)


def test_names_of_a_dict_and_equality(rng):
    layers = {"stem": (dense, drawn(rng)), "blocks.0": (dense, drawn(rng))}
    (net, params), (other, _) = jaxnn.as_network(layers), jaxnn.as_network(layers)
    assert net.names == ("stem", "blocks.0")
    assert net == other
    assert hash(net) == hash(other)
    assert net != jaxnn.as_network([*layers.values()])[0]
    assert repr(net) == "Chain of 2 layers, stem … blocks.0"
    assert jax.tree.leaves(net) == []
    assert len(jax.tree.leaves(params)) == 2


@pytest.mark.slow
def test_a_loss_is_of_each_example_or_one_number(rng):
    """For a chain and for a Network, whose output is ŷ; as plain gradients have it."""
    net = jaxnn.Network((N, N, N, 2), "tanh", "binary")
    pairs, xs = draw_layers(rng, net.sizes, gaussian(1.0)), rng.normal(size=(B, N))
    ys = rng.normal(size=(B, 2))
    layers = [(lambda p, z: z @ p.theta + p.b[None], pairs[0])]
    layers += [(lambda p, z: jnp.tanh(z) @ p.theta + p.b[None], p) for p in pairs[1:]]

    def each(out, ys):
        return jnp.sum(jnp.abs(jax.nn.sigmoid(out) - ys) ** 3, axis=1)

    def whole(out, ys):
        return jnp.max(each(out, ys)) ** 2

    of_y_hat = {each: lambda y, ys: jnp.sum(jnp.abs(y - ys) ** 3, axis=1)}
    of_y_hat[whole] = lambda y, ys: jnp.max(of_y_hat[each](y, ys)) ** 2
    for loss in (each, whole):
        _, deltas, delta_x = by_jax(layers, xs, lambda out, loss=loss: jnp.mean(loss(out, ys)))
        expected = [log_norm(delta) for delta in deltas]
        flow = gradient_flow(*jaxnn.as_network(layers), xs, ys, loss=loss)
        ours = gradient_flow(net, pairs, xs, ys, loss=of_y_hat[loss])
        for measured in (flow, ours):
            np.testing.assert_allclose(measured.log_delta, expected, rtol=1e-10)
            assert float(measured.log_delta_input) == pytest.approx(log_norm(delta_x), rel=1e-10)
