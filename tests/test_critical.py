"""The critical factor on all weights, by the wide twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.flow.theory.critical import GRID, _between, _reason, _searched
from jaxnn.theory import critical_scale, scale_weights


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
                float(jnp.max(jnp.abs(p[of] / (layers[name][1][of] + 1e-9)))) for of in "wb"
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
