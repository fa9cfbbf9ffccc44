"""Norms of gradients, and zero told apart from underflow."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from problems import as_dtype, draw_layers, gaussian, gradient_flow, of_theta

import jaxnn


def network(rng, activation, depth, sigma_w=1.0, dtype=jnp.float64, stacked=False):
    """A network 6 - 16 … 16 - 1, its parameters and a batch."""
    net = jaxnn.Network((6, *[16] * depth, 1), activation, "binary")
    params = draw_layers(rng, net.sizes, gaussian(sigma_w), 0.1, dtype, stacked)
    return net, params, jnp.asarray(rng.normal(size=(9, 6)), dtype), jnp.arange(9) % 2


@pytest.mark.parametrize(
    "activation",
    ["relu", *(pytest.param(a, marks=pytest.mark.slow) for a in ("sigmoid", "silu"))],
)
def test_it_measures_the_gradient_of_the_mean_loss(rng, activation):
    """Every number of the flow against JAX's derivatives."""
    net, params, xs, ys = network(rng, activation, 3)
    _, (layers, _, delta_z) = reference.gradients_of_rows(
        net, params, xs, ys[:, None].astype(float)
    )
    trace = jax.jit(jax.vmap(jaxnn.trace, in_axes=(None, None, 0)))(net, params, xs)
    flow = gradient_flow(net, params, xs, ys)
    for measured, gradients in (
        (flow.log_delta, delta_z),
        (of_theta(flow)[0], [theta for theta, _ in layers]),
        (of_theta(flow)[1], [b for _, b in layers]),
    ):
        norms = [np.linalg.norm(np.ravel(gradient)) for gradient in gradients]
        np.testing.assert_allclose(measured, np.log(norms), rtol=1e-12)
    rows = np.stack([np.linalg.norm(gradient, axis=1) for gradient in delta_z])
    np.testing.assert_allclose(flow.log_delta_example, np.log(rows), rtol=1e-12)
    np.testing.assert_allclose(
        flow.log_gain[:-1], flow.log_delta[:-1] - flow.log_delta[1:], rtol=1e-12
    )
    for measured, value in (
        (flow.units.mean_square_z, [np.mean(np.square(z)) for z in trace.z]),
        (flow.units.mean_a, [np.mean(a) for a in trace.a[1:]]),
        (flow.units.var_a, [np.var(a) for a in trace.a[1:]]),
        (flow.units.mean_square_b, [np.mean(np.square(b)) for _, b in params]),
    ):
        # Of numbers of order 1: a variance of 1e-9 has no more digits than they.
        np.testing.assert_allclose(measured, value, rtol=1e-12, atol=1e-15)
    assert not flow.lost.any()


def in_both_floats(net, params, xs, ys, depth=None):
    """The flow in float32, and that of the same numbers in float64."""
    both = ((params, xs), as_dtype((params, xs), jnp.float64))
    return [gradient_flow(net, *arrays, ys, depth=depth) for arrays in both]


def assert_same_logs(flow, exact):
    np.testing.assert_allclose(flow.log_delta, exact.log_delta, rtol=1e-5)
    np.testing.assert_allclose(of_theta(flow)[0], of_theta(exact)[0], rtol=1e-5)
    assert not exact.lost.any()


@pytest.mark.slow
def test_underflow_is_lost_to_plain_backprop_and_not_to_the_flow(rng):
    """Sigmoid, 80 layers: 1e-50 is zero in float32; the flow has it, and says where it was lost."""
    problem = network(rng, "sigmoid", 80, dtype=jnp.float32, stacked=True)
    depth = jnp.array(80)
    flow, exact = in_both_floats(*problem, depth)
    assert_same_logs(flow, exact)
    first, run, last = jaxnn.backprop(*problem, depth=depth)[1]
    plain_is_zero = np.array([not b.any() for b in (first.b, *np.asarray(run.b), last.b)])
    assert plain_is_zero[0]
    assert not plain_is_zero[-1]
    # Plain backprop flushes entry by entry, the flow looks at the largest: they differ by a layer.
    np.testing.assert_array_equal(flow.lost, np.arange(81) < flow.lost.sum())
    assert abs(int(flow.lost.sum()) - plain_is_zero.sum()) <= 2


RELU = jaxnn.network.find_activation("relu")
FALLING = jaxnn.network.Activation("falling", lambda z: -RELU.sigma(z), lambda z: -RELU.prime(z))


@pytest.mark.parametrize(
    "activation",
    ["sigmoid", "relu", *(pytest.param(a, marks=pytest.mark.slow) for a in ("hard_tanh", FALLING))],
    ids=lambda a: getattr(a, "name", a),
)
def test_saturated_and_dead_units_are_counted(rng, activation):
    net, params, xs, ys = network(rng, activation, 5, sigma_w=8.0)
    flow = gradient_flow(net, params, xs, ys)
    trace = jax.jit(jax.vmap(jaxnn.trace, in_axes=(None, None, 0)))(net, params, xs)
    largest = 0.25 if activation == "sigmoid" else 1
    for z, saturated, dead in zip(
        trace.z[:-1], flow.units.saturated, flow.units.dead, strict=False
    ):
        slope = np.abs(net.activation.prime(z))
        assert saturated == pytest.approx(np.mean(slope < 0.01 * largest))
        assert dead == pytest.approx(np.mean(np.all(slope == 0, axis=0)))
    assert flow.units.saturated[:-1].max() > 0.1
    assert flow.units.saturated[-1] == flow.units.dead[-1] == 0


def test_a_cotangent_takes_the_place_of_the_loss(rng):
    net, params, xs, ys = network(rng, "sigmoid", 5)
    y_hat = jax.jit(jax.vmap(jaxnn.forward, in_axes=(None, None, 0)))(net, params, xs)
    cotangent = (np.asarray(y_hat) - np.asarray(ys)[:, None]) / 9
    flow = gradient_flow(net, params, xs, cotangent=cotangent)
    of_loss = gradient_flow(net, params, xs, ys)
    assert (flow.given.names, of_loss.given.names) == (("xs", "cotangent"), ("xs",))
    flow, of_loss = (dataclasses.replace(each, given=None) for each in (flow, of_loss))
    chex.assert_trees_all_close(flow, of_loss, rtol=1e-9)
    zero = gradient_flow(net, params, xs, cotangent=np.zeros_like(cotangent))
    assert np.isneginf(zero.log_delta).all()
    assert np.isneginf(zero.log_theta).all()
    assert not zero.lost.any()


def test_one_of_labels_and_cotangent(rng, unhooked):
    net, params, xs, ys = network(rng, "tanh", 1)
    for arguments in ({}, {"ys": ys, "cotangent": jnp.ones((9, 1))}):
        with pytest.raises(ValueError, match="ys, cotangent: expected one of them"):
            jaxnn.gradient_flow((net, params), xs, **arguments)
    with pytest.raises(ValueError, match=r"cotangent: expected the shape of z\[L\], \(9, 1\), got"):
        jaxnn.gradient_flow((net, params), xs, cotangent=jnp.ones((9, 2)))


@pytest.mark.slow
def test_overflow_is_lost(rng):
    """A factor of 100 a layer backwards, while the signal itself stays small: it starts at zero."""
    net, params, xs, ys = network(rng, "identity", 40, 100.0, jnp.float32, stacked=True)
    unbiased = tuple(layer._replace(b=jnp.zeros_like(layer.b)) for layer in params)
    flow, exact = in_both_floats(net, unbiased, jnp.zeros_like(xs), ys)
    np.testing.assert_allclose(flow.log_delta, exact.log_delta, rtol=1e-5)
    assert flow.lost[0]
    assert not flow.lost[-1]
    assert flow.log_delta[0] > 100


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-20, 1.0, 1e20, 1e38])
def test_log_norm_over_the_whole_range_of_float32(rng, scale):
    v = rng.normal(size=(30, 4)) * scale
    expected = np.log(np.linalg.norm(np.ravel(v)))
    if scale < np.finfo(np.float32).tiny:  # digits are gone below the normal numbers, or all of it
        assert float(jaxnn.flow.log_norm(jnp.asarray(v, jnp.float32))) <= expected + 1e-3
    else:
        np.testing.assert_allclose(
            jaxnn.flow.log_norm(jnp.asarray(v, jnp.float32)), expected, rtol=1e-6, atol=1e-6
        )


def test_log_norm_at_the_edges():
    assert jaxnn.flow.log_norm(jnp.zeros(3)) == -np.inf
    assert jaxnn.flow.log_norm(jnp.array([1.0, -np.inf])) == np.inf
    assert np.isnan(jaxnn.flow.log_norm(jnp.array([1.0, np.nan, np.inf])))
    assert jaxnn.flow.log_norm(jnp.full(60_000, 2.0, jnp.float16)) == pytest.approx(
        np.log(2 * 60_000**0.5)
    )


@pytest.mark.slow
def test_lost_on_the_way_is_lost_in_every_layer_below(rng):
    """Five decades a layer down to 10^-50, and up again: in range at the bottom, but gone."""
    net, params, xs, ys = network(rng, "identity", 40, dtype=jnp.float32, stacked=True)
    first, run, last = (layer._replace(b=jnp.zeros_like(layer.b)) for layer in params)
    scales = np.float32([1] * 20 + [1e5] * 10 + [1e-5] * 9)[:, None, None]
    params = (first, run._replace(theta=scales * run.theta), last._replace(theta=1e-5 * last.theta))
    flow = gradient_flow(net, params, jnp.zeros_like(xs), ys)
    assert abs(float(flow.log_largest[0])) < np.log(1e10)
    np.testing.assert_array_equal(flow.lost, np.arange(41) < flow.lost.sum())
    assert 30 < flow.lost.sum() < 35
    assert not jaxnn.backprop(net, params, jnp.zeros_like(xs), ys)[1][0].b.any()
