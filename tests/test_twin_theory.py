"""The wide twin's theory: closed forms of mean field, the critical factor."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import filled_flow
from scipy import stats
from scipy.linalg import hadamard

import jaxnn
from jaxnn.flow.expected.critical import DRAWS, GRID, _averaged, _between, _rate, _reason, _searched
from jaxnn.flow.measure.theory_flow import _mean, errors_of
from jaxnn.network.activations import ACTIVATIONS
from jaxnn.theory import critical_scale, meanfield, scale_weights

SEEDS = 4
ROWS = 8
NAMES = tuple(ACTIVATIONS)
BLOCKS = {
    "residual": jaxnn.blocks.Residual(scale=0.5),
    "rms": jaxnn.blocks.RMSNorm(),
    "layer": jaxnn.blocks.LayerNorm(),
    "post": jaxnn.blocks.PostNorm(),
    "batch": jaxnn.blocks.BatchNorm(),
    "pre": jaxnn.blocks.Residual(jaxnn.blocks.LayerNorm()),
}


def rows_of(n):
    """Return rows of entries ±1 that are orthogonal: of mean square 1 and correlation 0."""
    return jnp.asarray(hadamard(n)[:ROWS], jnp.float32)


def signs(key, n, size):
    """Return a matrix whose entries have one size, so that its mean square is no estimate."""
    return size * n**-0.5 * jax.random.rademacher(key, (n, n), jnp.float32)


def follows(flows, lengths, log_delta, bias=0.0, top=0):
    """Assert that flows of SEEDS twins have the states and Δ of theory, to their errors.

    Of four seeds some agree by chance: the error of a layer is at least that of a layer nearer to
    where states, or Δ, come in.

    Args:
        flows: of twins, with more layers than theory or as many.
        lengths: mean squares of z[l], by layer.
        log_delta: ln ‖Δz[l]‖ over that of the last.
        bias: of order 1/n, in ln.
        top: layers at the top whose Δ is not that of theory.
    """
    depth = len(lengths)
    states = np.array([flow.log_mean_square[:depth] for flow in flows], np.float64)
    deltas = 2 * np.array([flow.log_delta[:depth] for flow in flows], np.float64)[:, ::-1]
    deltas, log_delta = deltas[:, top:], 2 * np.asarray(log_delta)[::-1][top:]
    for logs, expected in (
        (states, np.log(lengths)),
        (deltas - deltas[:, :1], log_delta - log_delta[0]),
    ):
        error = np.maximum.accumulate(np.std(logs, axis=0, ddof=1)) / SEEDS**0.5
        assert error.max() < 0.08
        apart = np.abs(logs.mean(axis=0) - expected)
        assert (apart < 3 * error + bias + 0.005).all(), (apart, error)


@pytest.fixture(scope="module")
def switched():
    """Twins of a chain whose activation is an argument: one program for all."""
    n, layers = 32, 6
    functions = [ACTIVATIONS[name].sigma for name in NAMES]

    def layer(p, z):
        return jax.lax.switch(p["which"], functions, z) @ p["w"]

    keys = jax.random.split(jax.random.key(0), layers)
    xs, cotangent = rows_of(n), jax.random.normal(keys[0], (ROWS, n), jnp.float32)

    def of(name, size):
        which = [NAMES.index("identity"), *[NAMES.index(name)] * (layers - 1)]
        each = [
            (layer, {"w": signs(k, n, size if i else 1.0), "which": jnp.int32(w)})
            for i, (k, w) in enumerate(zip(keys, which, strict=True))
        ]
        net, params = jaxnn.as_network(each)
        twin, _ = jaxnn.theory.wide((net, params), replicas=32)
        twins = [twin.with_key(params, k) for k in jax.random.split(jax.random.key(7), SEEDS)]
        return [jaxnn.gradient_flow((twin, own), xs, cotangent=cotangent) for own in twins], layers

    return of


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_activation_has_its_closed_form(switched, name):
    size = 1.2
    flows, layers = switched(name, size)
    sizes = [1.0, *[size] * (layers - 1)]
    given = name, sizes, 0.0, 1.0, layers
    follows(flows, meanfield.lengths(*given), meanfield.log_delta(*given))


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_has_its_closed_form(name):
    n, depth, size = 128, 5, 1.2
    net = jaxnn.Network((n,) * (depth + 2), "tanh", "regression", hidden=BLOCKS[name])
    keys = jax.random.split(jax.random.key(1), depth + 2)
    b = jnp.zeros(n, jnp.float32)
    params = tuple(jaxnn.network.Layer(signs(key, n, size), b) for key in keys[1:])
    xs, cotangent = rows_of(n), jax.random.normal(keys[0], (ROWS, n), jnp.float32)
    flows = []
    for key in jax.random.split(jax.random.key(7), SEEDS):
        twin, own = jaxnn.theory.wide((net, params), replicas=8, key=key)
        flows.append(jaxnn.gradient_flow((twin, own), xs, cotangent=cotangent))
    of = {"hidden": net.hidden, "batch": ROWS if name == "batch" else None}
    given = "tanh", size, 0.0, 1.0, depth
    expected = meanfield.lengths(*given, **of), meanfield.log_delta(*given, **of)
    # Rows of a cotangent sum to 0 behind two batch norms, as theory has them.
    follows(flows, *expected, bias=depth / n, top=2 if name == "batch" else 0)


def conv(w, z):
    wrapped = jnp.concatenate([z[:, -1:], z, z[:, :1]], axis=1)
    numbers = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(wrapped, w, (1,), "VALID", dimension_numbers=numbers)


def conv_of_tanh(w, z):
    return conv(w, jnp.tanh(z))


@pytest.mark.slow
def test_convolutions_have_the_closed_form_of_dense_layers():
    """At every position that of a dense layer: Xiao et al. 2018, arXiv:1806.05393."""
    n, layers, size = 32, 5, 1.2
    keys = jax.random.split(jax.random.key(2), layers)
    each = [size * (3 * n) ** -0.5 * jax.random.rademacher(k, (3, n, n), jnp.float32) for k in keys]
    net, params = jaxnn.as_network([(conv, each[0]), *((conv_of_tanh, w) for w in each[1:])])
    xs = jax.random.rademacher(keys[0], (2, 4, n), jnp.float32)
    cotangent = jax.random.normal(keys[1], (2, 4, n), jnp.float32)
    twin, _ = jaxnn.theory.wide((net, params), replicas=32)
    twins = [twin.with_key(params, key) for key in jax.random.split(jax.random.key(7), SEEDS)]
    flows = [jaxnn.gradient_flow((twin, own), xs, cotangent=cotangent) for own in twins]
    given = "tanh", size, 0.0, 1.0, layers
    follows(flows, meanfield.lengths(*given), meanfield.log_delta(*given))


# The critical factor on all weights


def _relu(p, z):
    return jax.nn.relu(z @ p["w"] + p["b"][None])


def _layers(count, n):
    keys = jax.random.split(jax.random.key(0), count)
    return [
        (_relu, {"w": jax.random.normal(k, (n, n)) / n**0.5, "b": jnp.zeros(n) + i})
        for i, k in enumerate(keys)
    ]


def test_weights_are_multiplied_by_their_paths_and_nothing_else():
    layers = {"in": (_relu, {"w": jnp.ones((2, 4)), "b": jnp.ones(4)})}
    layers |= {str(i): layer for i, layer in enumerate(_layers(3, 4))}
    net, params = jaxnn.as_network(layers)

    def after(weights):
        scaled = net.user(scale_weights((net, params), 3.0, weights=weights))
        return {
            name: tuple(
                np.abs(np.asarray(p[of]) / (np.asarray(layers[name][1][of]) + 1e-9)).max()
                for of in "wb"
            )
            for name, (_, p) in scaled.items()
        }

    def factors(*pairs):
        return {name: pytest.approx(v) for name, v in zip(layers, pairs, strict=True)}

    assert after(None) == factors((3, 1), (3, 0), (3, 1), (3, 1))
    assert after("1.*") == factors((1, 1), (1, 0), (3, 3), (1, 1))
    assert after(["in.*w", "none"]) == factors((3, 1), (1, 0), (1, 1), (1, 1))
    with pytest.raises(ValueError, match="weights: expected a pattern of paths such as in"):
        scale_weights((net, params), 3.0, weights="nothing")
    network = jaxnn.Network((2, 4, 4, 4, 1), "tanh", "binary")
    own = jaxnn.init(network, jax.random.key(0), stacked=True)
    for (theta, b), (scaled, same) in zip(own, scale_weights((network, own), 2.0), strict=True):
        assert np.array_equal(2 * theta, scaled)
        assert np.array_equal(b, same)
    with pytest.raises(ValueError, match="weights: expected none for a Network"):
        scale_weights((network, own), 2.0, weights="*")


def test_a_rate_that_crosses_zero_is_told_from_one_that_does_not():
    errors = np.full(len(GRID), 0.01)
    log = np.log(GRID)
    assert _between(log - np.log(2), errors) == np.flatnonzero(np.log(2) > log)[-1]
    assert _between(np.exp(log), errors) is None
    assert _between(np.where(log > 2, np.nan, log), errors) is not None
    assert _between(0.001 * log, errors) is None  # within the errors
    assert "undoes a factor" in _reason(0.3 + 0.001 * np.sin(log), errors)
    assert _reason(np.exp(log), errors).startswith("it stays above zero at factors from 0.032")
    assert "nearest to it at 0.032, with -0.032" in _reason(-np.exp(log), errors)
    assert "no factor" in _reason(log * np.nan, errors)
    found = _searched(lambda factor: (2 * float(np.log(factor / 3)), 0.01), ())
    assert found.factor == pytest.approx(3, rel=1e-3)
    assert found.error == pytest.approx(3 * 0.01 / 2, rel=1e-3)


def test_the_rate_of_a_layer_is_that_of_the_upper_two_thirds():
    """By how much ln ‖Δz‖ falls a layer: here half a nat, and more below and at the top."""
    log_delta = np.array([-99.0, -99.0, 1.0, 1.5, 2.0, 2.5, 3.0, 99.0])
    assert _rate(log_delta) == pytest.approx(-0.5)
    assert _rate(np.array([1.0, 2.0, 4.0])) == pytest.approx(-1.5)


def test_logarithms_of_draws_are_averaged_as_what_they_are_of():
    """log_mean_square as a mean square, log_gain as it is, others as a norm, by its square."""
    of = {"log_mean_square": np.log(8 / 3), "log_gain": np.log(10) / 3, "log_delta": np.log(10) / 2}
    net = jaxnn.Network((2, 2), "tanh", "regression")
    draws = (filled_flow(net, np.zeros(1), **dict.fromkeys(of, np.log([v]))) for v in (1.0, 2, 5))
    mean = _mean(jax.tree.map(lambda *v: np.stack(v), *draws), 2, np)
    for name, expected in of.items():
        assert getattr(mean, name) == pytest.approx(expected), name
    assert mean.errors.log_gain == pytest.approx(stats.sem(np.log([1.0, 2, 5])))


def test_each_layer_of_a_twin_has_a_number_of_its_own():
    net = jaxnn.Network((3, *[8] * 4, *[5] * 3, 1), "tanh", "binary")
    _, params = jaxnn.theory.wide((net, jaxnn.init(net, jax.random.key(0), stacked=True)))
    parts = [getattr(v, "per_layer", None) or v.arrays for v in params]
    numbers = [np.atleast_1d(link[-1][1]) for links in parts for link in links]
    assert sorted(np.concatenate(numbers)) == [*range(8)]


def test_errors_of_few_draws_are_student_s_and_rates_are_in_decades(rng):
    assert errors_of(5, 3.0) == pytest.approx(stats.t.isf(stats.norm.sf(3.0), 4))
    nats = rng.normal(size=DRAWS)
    rate, error = _averaged(nats)
    assert 10**rate == pytest.approx(math.exp(np.mean(nats)))
    assert error == pytest.approx(stats.sem(nats) / math.log(10))


@pytest.mark.slow
def test_the_critical_factor_of_relu_is_that_of_he():
    net, params = jaxnn.as_network([(_relu, {**p, "b": 0 * p["b"]}) for _, p in _layers(12, 48)])
    xs = jax.random.normal(jax.random.key(1), (8, 48))
    found = critical_scale((net, params), xs)
    size = np.mean([float(jnp.mean(p["w"] ** 2)) * 48 for _, p in net.user(params)]) ** 0.5
    assert abs(found.factor * size / 2**0.5 - 1) < 3 * found.error / 2**0.5 + 0.01
    assert found.error < 0.1
    assert np.isclose(found.rate, np.log10(size / 2**0.5), atol=0.03)
    assert str(found).startswith("Critical at 1.4")
    # With a factor on the biases too there is nothing else to it: they are zero.
    assert found.paths == tuple(f"[{i}][1]['w']" for i in range(12))


@pytest.mark.slow
def test_a_network_of_norms_has_no_critical_factor():
    net = jaxnn.Network((6, *[32] * 8, 1), "tanh", "binary", hidden=jaxnn.blocks.PostNorm())
    params = jaxnn.init(net, jax.random.key(0), stacked=True)
    xs = jax.random.normal(jax.random.key(1), (6, 6))
    found = critical_scale((net, params), xs)
    assert found.factor is None
    assert "No critical factor" in str(found)
    small = jaxnn.Network((6, 5, 1), "tanh", "binary")
    params = jaxnn.init(small, jax.random.key(0))
    with pytest.raises(ValueError, match="net: expected at least three layers, got 2"):
        critical_scale((small, params), xs)
