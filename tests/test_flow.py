"""Norms of gradients, and zero told apart from underflow."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

import jaxnn


def network(
    key, activation, depth, width=16, weights="glorot_uniform", dtype=jnp.float32, stacked=False
):
    net = jaxnn.Network((6, *[width] * depth, 1), activation, "binary")
    keys = jax.random.split(key, 3)
    params = jaxnn.init(net, keys[0], weights, 0.1, dtype, stacked=stacked)
    return net, params, jax.random.normal(keys[1], (9, 6), dtype), jnp.arange(9) % 2


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "silu"])
def test_it_measures_the_gradient_of_the_mean_loss(key, activation):
    """Δz by jax.grad, as the derivative by a shift of z, against every number of the flow."""
    net, params, xs, ys = network(key, activation, 5, dtype=jnp.float64)
    rows = ys[:, None].astype(jnp.float64)
    shifts = [jnp.zeros((9, len(b))) for _, b in params]

    def mean_loss(params, shifts):
        one = jax.vmap(
            lambda x, y, s: reference.loss(activation, "binary", params, x, y, shift_z=s)
        )
        return jnp.mean(one(xs, rows, shifts))

    layers, delta_z = jax.grad(mean_loss, argnums=(0, 1))(params, shifts)
    flow = jaxnn.gradient_flow(net, params, xs, ys)
    for measured, gradients in (
        (flow.log_delta, delta_z),
        (flow.log_theta, [theta for theta, _ in layers]),
        (flow.log_b, [b for _, b in layers]),
    ):
        norms = [np.linalg.norm(np.ravel(gradient)) for gradient in gradients]
        np.testing.assert_allclose(measured, np.log(norms), rtol=1e-12)
    rows = np.stack([np.linalg.norm(gradient, axis=1) for gradient in delta_z])
    np.testing.assert_allclose(flow.log_delta_example, np.log(rows), rtol=1e-12)
    np.testing.assert_allclose(flow.gain[:-1], flow.log_delta[:-1] - flow.log_delta[1:], rtol=1e-12)
    trace = jax.vmap(jaxnn.trace, in_axes=(None, None, 0))(net, params, xs)
    for measured, value in (
        (flow.mean_square_z, [np.mean(np.square(z)) for z in trace.z]),
        (flow.mean_a, [np.mean(a) for a in trace.a[1:]]),
        (flow.var_a, [np.var(a) for a in trace.a[1:]]),
    ):
        # Of numbers of order 1: a variance of 1e-9 has no more digits than they.
        np.testing.assert_allclose(measured, value, rtol=1e-12, atol=1e-15)
    assert not flow.lost.any()


def test_small_gradients_have_norms_in_float32(key):
    """30 sigmoid layers: the plain norm is 0, its square being out of range."""
    net, params, xs, ys = network(key, "sigmoid", 36, stacked=True)
    flow = jax.jit(jaxnn.gradient_flow)(net, params, xs, ys)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    exact = jaxnn.gradient_flow(net, wide, xs.astype(jnp.float64), ys)
    delta = jaxnn.backprop(net, params, xs, ys)[1][0].b
    assert jnp.linalg.norm(delta) == 0
    assert jnp.any(delta != 0)
    assert float(flow.log_delta[0]) < np.log(1e-21)
    np.testing.assert_allclose(flow.log_delta, exact.log_delta, rtol=1e-5)
    np.testing.assert_allclose(flow.log_theta, exact.log_theta, rtol=1e-5)


def test_underflow_is_lost_to_plain_backprop_and_not_to_the_flow(key):
    """Sigmoid, 80 layers: 1e-50 is zero in float32; the flow has it, and says where it was lost."""
    net, params, xs, ys = network(key, "sigmoid", 80, stacked=True)
    flow = jaxnn.gradient_flow(net, params, xs, ys)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    exact = jaxnn.gradient_flow(net, wide, xs.astype(jnp.float64), ys)
    np.testing.assert_allclose(flow.log_delta, exact.log_delta, rtol=1e-5)
    np.testing.assert_allclose(flow.log_theta, exact.log_theta, rtol=1e-5)
    assert not exact.lost.any()
    _, gradient = jaxnn.backprop(net, params, xs, ys)
    plain_is_zero = np.array([not layer.b.any() for layer in jaxnn.unstack(gradient)])
    assert plain_is_zero[0]
    assert not plain_is_zero[-1]
    # Plain backprop flushes entry by entry, the flow looks at the largest: they differ by a layer.
    np.testing.assert_array_equal(flow.lost, np.arange(81) < flow.lost.sum())
    assert abs(int(flow.lost.sum()) - plain_is_zero.sum()) <= 2


RELU = jaxnn.find_activation("relu")
FALLING = jaxnn.Activation("falling", lambda z: -RELU.sigma(z), lambda z: -RELU.prime(z))


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "hard_tanh", FALLING])
def test_saturated_and_dead_units_are_counted(key, activation):
    net, params, xs, ys = network(key, activation, 3, weights=jaxnn.gaussian(8.0))
    flow = jaxnn.gradient_flow(net, params, xs, ys)
    trace = jax.vmap(jaxnn.trace, in_axes=(None, None, 0))(net, params, xs)
    largest = 0.25 if activation == "sigmoid" else 1
    for z, saturated, dead in zip(trace.z[:-1], flow.saturated, flow.dead, strict=False):
        slope = np.abs(jaxnn.find_activation(activation).prime(z))
        assert saturated == pytest.approx(np.mean(slope < 0.01 * largest))
        assert dead == pytest.approx(np.mean(np.all(slope == 0, axis=0)))
    assert flow.saturated[:-1].max() > 0.1
    assert flow.saturated[-1] == flow.dead[-1] == 0


def test_a_cotangent_takes_the_place_of_the_loss(key):
    net, params, xs, ys = network(key, "tanh", 4, dtype=jnp.float64)
    y_hat = jax.vmap(jaxnn.forward, in_axes=(None, None, 0))(net, params, xs)
    cotangent = (y_hat - ys[:, None].astype(jnp.float64)) / 9
    flow = jaxnn.gradient_flow(net, params, xs, cotangent=cotangent)
    expected = jaxnn.gradient_flow(net, params, xs, ys)
    chex.assert_trees_all_close(flow, expected, rtol=1e-9)
    zero = jaxnn.gradient_flow(net, params, xs, cotangent=jnp.zeros_like(cotangent))
    assert np.isneginf(zero.log_delta).all()
    assert np.isneginf(zero.log_theta).all()
    assert not zero.lost.any()


def test_one_of_labels_and_cotangent(key, unhooked):
    net, params, xs, ys = network(key, "tanh", 1)
    for arguments in ({}, {"ys": ys, "cotangent": jnp.ones((9, 1))}):
        with pytest.raises(ValueError, match="ys, cotangent: expected one of them"):
            jaxnn.gradient_flow(net, params, xs, **arguments)
    with pytest.raises(ValueError, match=r"cotangent: expected the shape of z\[L\], \(9, 1\), got"):
        jaxnn.gradient_flow(net, params, xs, cotangent=jnp.ones((9, 2)))


def test_dead_units_give_a_true_zero(key):
    """ReLU with layer 3 dead: zero from there down, and nothing is lost."""
    net, params, xs, ys = network(key, "relu", 5)
    dead = params[2]._replace(b=jnp.full_like(params[2].b, -100))
    flow = jaxnn.gradient_flow(net, (*params[:2], dead, *params[3:]), xs, ys)
    np.testing.assert_array_equal(np.isneginf(flow.log_delta), [1, 1, 1, 0, 0, 0])
    assert not flow.lost.any()
    assert np.isneginf(flow.log_theta[:3]).all()


def test_a_zero_matrix_cuts_the_path(key):
    net, params, xs, ys = network(key, "sigmoid", 3)
    cut = params[2]._replace(theta=jnp.zeros_like(params[2].theta))
    flow = jaxnn.gradient_flow(net, (*params[:2], cut, *params[3:]), xs, ys)
    np.testing.assert_array_equal(np.isneginf(flow.log_delta), [1, 1, 0, 0])
    assert not flow.lost.any()


def test_overflow_is_lost(key):
    """A factor of 100 a layer backwards, while the signal itself stays small: it starts at zero."""
    net, params, xs, ys = network(key, "identity", 40, weights=jaxnn.gaussian(100.0))
    unbiased = [layer._replace(b=jnp.zeros_like(layer.b)) for layer in params]
    flow = jaxnn.gradient_flow(net, unbiased, jnp.zeros_like(xs), ys)
    assert flow.lost[0]
    assert not flow.lost[-1]
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), unbiased)
    exact = jaxnn.gradient_flow(net, wide, jnp.zeros(xs.shape), ys)
    np.testing.assert_allclose(flow.log_delta, exact.log_delta, rtol=1e-5)
    assert flow.log_delta[0] > 100


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-20, 1.0, 1e20, 1e38])
def test_log_norm_over_the_whole_range_of_float32(key, scale):
    v = jax.random.normal(key, (30, 4)) * scale
    expected = np.log(np.linalg.norm(np.ravel(v)))
    if scale < np.finfo(np.float32).tiny:  # digits are gone below the normal numbers, or all of it
        assert float(jaxnn.log_norm(v.astype(jnp.float32))) <= expected + 1e-3
    else:
        np.testing.assert_allclose(
            jaxnn.log_norm(v.astype(jnp.float32)), expected, rtol=1e-6, atol=1e-6
        )


def test_log_norm_at_the_edges():
    assert jaxnn.log_norm(jnp.zeros(3)) == -np.inf
    assert jaxnn.log_norm(jnp.array([1.0, -np.inf])) == np.inf
    assert np.isnan(jaxnn.log_norm(jnp.array([1.0, np.nan, np.inf])))
    assert jaxnn.log_norm(jnp.full(60_000, 2.0, jnp.float16)) == pytest.approx(
        np.log(2 * 60_000**0.5)
    )
