"""What is left of the examples on the way up, measured and followed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import draw_batch, draw_layers, gaussian, gradient_flow, said

import jaxnn
from jaxnn.flow.record import example_spread

B, N, LAYERS = 5, 6, 8
SIZES = (3, *[N] * LAYERS, 2)


def problem(rng, activation, dtype=np.float64, gain=1.2):
    net = jaxnn.Network(SIZES, activation, "binary")
    params = draw_layers(rng, SIZES, gaussian(gain), stacked=True)
    xs, ys = draw_batch(rng, net, B)
    return net, jax.tree.map(lambda v: jnp.asarray(v, dtype), params), xs.astype(dtype), ys


def states_of(net, params, xs):
    """The z of every layer, (B, n) each, by the plain formulas."""
    z, states = xs, []
    for i, (theta, b) in enumerate(jaxnn.network.unstack(params)):
        a = z if i == 0 else net.activation.sigma(z)
        z = a @ theta + b[None]
        states.append(z)
    return states


def towards(x):
    """The way from each example to the next, as large as a deviation."""
    return (np.roll(x, -1, axis=0) - x) / np.sqrt(2)


def by_hand(z):
    """The spread, the mean cosine and the effective rank of a state."""
    deviation = z - z.mean(axis=0)
    units = z / np.linalg.norm(z, axis=1, keepdims=True)
    cosines = (units @ units.T)[np.triu_indices(len(z), 1)]
    eigenvalues = np.linalg.eigvalsh(np.cov(deviation.T, bias=True))
    rank = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    return np.sqrt((deviation**2).mean() / (z**2).mean()), cosines.mean(), rank


def test_the_rank_of_long_rows_is_taken_in_strips(rng, monkeypatch):
    monkeypatch.setattr(example_spread, "STRIP", 3)
    for n in (6, 8):  # of two strips, without a rest and with one
        z = rng.normal(size=(B, n))
        spread = example_spread.spread_of(jnp.asarray(z), 1e-9, None, jnp.mean(z**2))
        measured = np.exp(spread.log_spread), spread.cosine, spread.rank
        np.testing.assert_allclose(measured, by_hand(z), rtol=1e-9)


@pytest.mark.parametrize(
    ("activation", "memory"),
    [pytest.param("tanh", "all", marks=pytest.mark.slow), ("relu", "sqrt")],
)
def test_it_measures_spread_cosine_rank_and_tangent(rng, activation, memory):
    net, params, xs, ys = problem(rng, activation)
    flow = gradient_flow(net, params, xs, ys, examples=True, tangent=True, memory=memory)
    states = jax.jit(lambda *of: jax.jvp(lambda xs: states_of(net, params, xs), *of))
    z, tangents = states((xs,), (towards(xs),))
    for i, (state, tangent) in enumerate(zip(z, tangents, strict=True)):
        measured = np.exp(flow.log_spread[i]), flow.cosine[i], flow.rank[i]
        np.testing.assert_allclose(measured, by_hand(np.asarray(state)), rtol=1e-9)
        relative = np.sqrt((tangent**2).mean() / (state**2).mean())
        assert np.exp(flow.log_tangent[i]) == pytest.approx(relative, rel=1e-9)


@pytest.mark.slow
def test_layers_that_depth_leaves_out_do_not_count(rng):
    net, params, xs, ys = problem(rng, "tanh")
    flow = gradient_flow(net, params, xs, ys, depth=5, examples=True, tangent=True)
    first, run, last = params
    short = (first, jax.tree.map(lambda v: v[:4], run), last)
    net = jaxnn.Network((3, *[N] * 5, 2), "tanh", "binary")
    alone = gradient_flow(net, short, xs, ys, examples=True, tangent=True)
    for name in ("log_spread", "cosine", "rank", "log_tangent"):
        values = np.asarray(getattr(flow, name))
        assert np.isnan(values[5:-1]).all()
        np.testing.assert_allclose([*values[:5], values[-1]], getattr(alone, name), rtol=1e-9)


@pytest.mark.slow
def test_what_is_left_of_the_examples_is_measured_apart_from_the_gradient(rng):
    net, params, xs, ys = problem(rng, "relu")
    flow = gradient_flow(net, params, xs, ys, examples=True)
    plain = gradient_flow(net, params, xs, ys)
    np.testing.assert_allclose(flow.log_delta, plain.log_delta, rtol=1e-12)
    assert plain.log_spread is None


@pytest.mark.slow
def test_a_tangent_goes_on_beyond_rounding_and_range(rng):
    """Differences pass a linear network as they are; here z is 10^-60 and below in float32."""
    net, params, xs, ys = problem(rng, "identity", np.float32)
    params = tuple(
        layer._replace(theta=layer.theta * np.float32(1e-8), b=0 * layer.b) for layer in params
    )
    flow = gradient_flow(net, params, xs, ys, examples=True, tangent=True)
    assert float(flow.log_mean_square[-1]) < -120 * np.log(10)
    exact = [np.float64(layer.theta) * 1e8 for layer in jaxnn.network.unstack(params)]
    z = np.float64(xs)
    for theta, log in zip(exact, flow.log_tangent, strict=True):
        z = z @ theta
        size = np.log((towards(z) ** 2).mean() / (z**2).mean()) / 2
        assert float(log) == pytest.approx(size, abs=1e-5)


@pytest.mark.slow
def test_where_examples_become_rounding_the_tangent_keeps_its_rate(rng):
    sizes = (8, *[32] * 60, 1)
    net = jaxnn.Network(sizes, "sigmoid", "binary")
    params = jax.tree.map(jnp.float32, draw_layers(rng, sizes, gaussian(1.0), stacked=True))
    xs, ys = rng.standard_normal((B, 8)).astype(np.float32), np.arange(B) % 2
    flow = gradient_flow(net, params, xs, ys, examples=True, tangent=True)
    verdict = jaxnn.verdict(flow)
    first = verdict.indistinguishable["float32"]
    eps = np.finfo(np.float32).eps
    assert 5 < first < 20
    assert np.exp(flow.log_spread[first - 2]) > 4 * eps > np.exp(flow.log_spread[first - 1])
    assert (np.exp(flow.log_spread[first:]) < 4 * eps).all()
    assert verdict.indistinguishable["bfloat16"] < verdict.indistinguishable["float16"] < first
    assert "float64" not in verdict.indistinguishable
    assert np.isfinite(flow.rank[: first - 1]).all()
    assert np.isnan(flow.rank[first:-1]).all()
    apart = np.asarray(flow.log_spread)[: first - 1]
    assert flow.log_tangent[: first - 1] == pytest.approx(apart, abs=1.0)
    rate = np.diff(np.asarray(flow.log_tangent)[:-1]).mean()
    assert rate == pytest.approx(np.asarray(flow.log_gain[:-1]).mean(), rel=0.1)
    assert ("examples", first) in said(verdict)


def test_one_example_has_nothing_to_be_told_from(rng):
    net, params, xs, ys = problem(rng, "tanh")
    flow = gradient_flow(net, params, xs[:1], ys[:1], examples=True)
    assert np.isnan([flow.log_spread, flow.cosine, flow.rank]).all()
    verdict = jaxnn.verdict(flow)
    assert verdict.indistinguishable == {}


@pytest.mark.slow
def test_a_chain_is_followed_like_the_network_of_its_layers(rng):
    net, params, xs, _ = problem(rng, "tanh")
    first, *hidden = jaxnn.network.unstack(params)
    layers = [
        lambda x, p=first: x @ p.theta + p.b[None],
        *((lambda p, z: jnp.tanh(z) @ p.theta + p.b[None], p) for p in hidden),
    ]
    chain, own = jaxnn.as_network(layers)
    above = np.ones((B, 2))
    flow = gradient_flow(chain, own, xs, cotangent=above, tangent=True)
    expected = gradient_flow(net, params, xs, cotangent=above, tangent=True)
    joined = len(expected.log_tangent) - len(flow.log_tangent)
    np.testing.assert_allclose(flow.log_tangent, expected.log_tangent[joined:], rtol=1e-9)


@pytest.mark.slow
def test_a_tangent_goes_through_layers_where_examples_meet(rng):
    """With integers for x it starts at the first state that has floats."""
    table, theta = rng.standard_normal((7, N)), rng.standard_normal((N, N))

    def normed(p, z):
        deviation = z - z.mean(axis=0, keepdims=True)
        return deviation / jnp.sqrt((deviation**2).mean(axis=0, keepdims=True)) @ p

    chain, own = jaxnn.as_network([(lambda p, x: p[x], table), (normed, theta), (normed, theta.T)])
    x = np.arange(B)
    flow = gradient_flow(chain, own, x, cotangent=np.ones((B, N)), tangent=True)
    z = table[x]
    step = 1e-6 * towards(z)
    for i, p in enumerate((theta, theta.T), 1):
        up, down = normed(p, z + step), normed(p, z - step)
        z, step = normed(p, z), (up - down) / 2
        size = np.sqrt((step**2).mean() / (z**2).mean()) / 1e-6
        assert np.exp(flow.log_tangent[i]) == pytest.approx(float(size), rel=1e-6)
    start = np.log((towards(table[x]) ** 2).mean() / (table[x] ** 2).mean()) / 2
    assert float(flow.log_tangent[0]) == pytest.approx(start)


@pytest.mark.slow
def test_a_layer_with_a_reverse_rule_alone_has_no_tangent(rng):
    @jax.custom_vjp
    def own(z):
        return jnp.tanh(z)

    own.defvjp(lambda z: (own(z), z), lambda z, delta: (delta * (1 - own(z) ** 2),))
    theta = rng.standard_normal((N, N))
    chain, params = jaxnn.as_network({"mine": (lambda p, z: own(z) @ p, theta)})
    xs, above = rng.standard_normal((2, B, N))
    with pytest.raises(ValueError, match="tangent: expected layers that JAX can differentiate"):
        jaxnn.gradient_flow((chain, params), xs, cotangent=above, tangent=True)
    flow = jaxnn.gradient_flow((chain, params), xs, cotangent=above)
    assert np.isfinite(flow.log_spread).all()
    assert flow.log_tangent is None
