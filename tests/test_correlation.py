"""Correlation lengths of examples and of tokens, by the wide twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import jaxnn
from jaxnn.flow.theory.correlation import CorrelationLength, _length
from jaxnn.theory import correlation_length, meanfield

EPS = 1.2e-7
LAYERS, WIDTH = 24, 48


def _paths(limit, size, *rates):
    """Return pairs of paths that go to a limit, (D, 2, 10), by other factors a layer."""
    layers = np.arange(10)
    return np.array([[limit + size * rate**layers, np.full(10, limit)] for rate in rates])


def test_a_length_is_that_of_what_two_paths_differ_by():
    length, error = _length(_paths(0.4, 0.02, *[0.8] * 4), EPS)
    assert np.isclose(length, -1 / np.log(0.8))
    assert error < 1e-9
    length, error = _length(_paths(0.4, 0.02, 0.78, 0.8, 0.82, 0.8), EPS)
    assert abs(length + 1 / np.log(0.8)) < 2 * error < 0.5
    # Of draws the one with more to be forgotten counts more.
    unequal = np.concatenate([_paths(0.4, 0.2, 0.9), _paths(0.4, 0.02, 0.5)])
    expected = np.log((0.2 * 0.9**9 + 0.02 * 0.5**9) / 0.22) / 9
    assert np.isclose(_length(unequal, EPS)[0], -1 / expected)
    # What has come down to rounding is left out.
    rounded = _paths(0.4, 0.02, *[0.2] * 4) + 1e-6 * np.cos(np.arange(80)).reshape(4, 2, 10)
    assert np.isclose(_length(rounded, EPS)[0], -1 / np.log(0.2), rtol=0.02)
    # Nothing is forgotten, or nothing is known.
    assert _length(_paths(0.4, 0.02, *[1.05] * 4), EPS)[0] == np.inf
    for nothing in (_paths(0.4, 0.0, *[0.8] * 4), _paths(np.nan, 0.02, 0.8, 0.8)):
        assert np.isnan(_length(nothing, EPS)).all()


def test_a_length_in_words():
    nan = float("nan")
    found = CorrelationLength(5.28, 0.13, nan, nan, (5, 14))
    assert str(found) == "Correlation length of examples 5.28 ± 0.1 layers."
    found = CorrelationLength(np.inf, nan, 12.3, 2.0, (5, 14))
    assert "infinite, or too long to tell and of tokens 12.3 ± 2 layers" in str(found)


def test_a_network_of_few_layers_is_refused():
    net, params = jaxnn.as_network([(jnp.matmul, jnp.eye(3))] * 5)
    with pytest.raises(ValueError, match="net: expected at least 6 layers, got 5"):
        correlation_length((net, params), jnp.ones((2, 3)))
    with pytest.raises(TypeError, match=r"model: expected a module .* got function"):
        correlation_length(lambda z: z, jnp.ones((2, 3)))


def _layer(p, z):
    return jnp.tanh(z) @ p["w"] + p["b"][None, None]


@pytest.mark.slow
def test_a_length_is_that_of_mean_field_theory():
    """In order and in chaos; tokens go through dense layers as examples do."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (LAYERS, WIDTH, WIDTH)) / WIDTH**0.5
    # Of a Gaussian, exactly.
    gaussian = norm.ppf((np.arange(WIDTH) + 0.5) / WIDTH)
    biases = np.random.default_rng(1).permuted(np.tile(gaussian, (LAYERS, 1)), axis=1)
    biases /= gaussian.std()
    xs = jax.random.normal(jax.random.key(0), (4, 3, WIDTH), jnp.float32)
    for sigma_w, sigma_b in ((0.8, 0.3), (1.3, 0.5), (2.0, 0.3)):
        stacks = {"w": sigma_w * signs, "b": sigma_b * biases}
        arrays = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), stacks)
        net, params = jaxnn.as_network([jaxnn.Run(_layer, arrays, LAYERS)])
        found = correlation_length((net, params), xs)
        expected = float(meanfield.xi_c("tanh", sigma_w, sigma_b))
        for length, error in (
            (found.examples, found.examples_error),
            (found.tokens, found.tokens_error),
        ):
            assert abs(length - expected) < 4 * error + 0.05 * expected, (sigma_w, found)
            assert error < 0.15 * expected
        assert found.layers == (9, 23)
