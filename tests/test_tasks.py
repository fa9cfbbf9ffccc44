"""Losses from the logits, and the forms that labels may take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from problems import mostly_slow, refusals

import jaxnn
from jaxnn.network.tasks import label_rows

REGRESSION, BINARY, MULTICLASS = jaxnn.network.TASKS.values()
INF = np.inf


@pytest.mark.parametrize("task", jaxnn.network.TASKS)
def test_loss_and_its_derivatives_equal_optax(key, task):
    z = 3 * jax.random.normal(key, (50, 4))
    y = reference.example_labels(task, key, 50, 4, jnp.float64)
    ours, of_optax = jaxnn.network.TASKS[task], jax.vmap(reference.LOSS[task])

    @jax.jit
    def both(z, y):
        plain = jax.grad(lambda z: jnp.sum(ours.loss(z, y)))(z)
        expected = jax.grad(lambda z, y: jnp.sum(of_optax(z, y)), argnums=(0, 1))(z, y)
        delta_z, delta_y = ours.delta_z(z, y), ours.delta_y(z, y)
        return (
            (ours.loss(z, y), delta_z, delta_y, delta_z, plain),
            (of_optax(z, y), *expected, ours.output(z) - y, delta_z),
        )

    for value, other in zip(*both(z, y), strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-12, atol=1e-14)


def test_soft_labels_of_a_binary_task_under_jit(key):
    """Values are not checked under jit; the loss of y = 0.3 is still the cross-entropy."""
    z, y = jax.random.normal(key, (5, 1)), jnp.full((5, 1), 0.3)
    expected = jax.vmap(reference.LOSS["binary"])(z, y)
    np.testing.assert_allclose(BINARY.loss(z, y), expected, rtol=1e-12)


each_dtype = mostly_slow(
    "dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64], jnp.float16, jnp.float32
)


@each_dtype
def test_binary_edges(dtype):
    z = jnp.array([[INF], [INF], [-INF], [-INF], [1e4], [1e4], [-1e4], [-1e4], [0], [0]], dtype)
    y = jnp.array([[1], [0]] * 5, dtype)
    losses, delta_z = jax.jit(BINARY.loss), jax.jit(BINARY.delta_z)
    loss = np.asarray(losses(z, y), np.float64)
    far = float(jnp.asarray(1e4, dtype))
    expected = [0, INF, INF, 0, 0, far, far, 0, np.log(2), np.log(2)]
    np.testing.assert_allclose(loss, expected, rtol=float(jnp.finfo(dtype).eps))
    delta = np.asarray(delta_z(z, y), np.float64)[:, 0]
    np.testing.assert_array_equal(delta, [0, 1, -1, 0, 0, 1, -1, 0, -0.5, 0.5])
    assert losses(z, y).dtype == delta_z(z, y).dtype == dtype
    assert np.isnan(losses(np.full_like(z, np.nan), y)).all()


def test_a_saturated_binary_output_keeps_its_gradient():
    """Where ŷ rounds to 1, ŷ - y is still -e^-z."""
    delta = BINARY.delta_z(jnp.array([[40.0]]), jnp.array([[1.0]]))
    np.testing.assert_allclose(delta, -np.exp(-40.0), rtol=1e-12)


@each_dtype
def test_multiclass_edges(dtype):
    z = jnp.array([[1e4, -1e4, 0], [0, -INF, 0], [0, 0, 0]], dtype)
    y = jnp.array([[1, 0, 0], [1, 0, 0], [0, 0, 1]], dtype)
    losses, delta_z = jax.jit(MULTICLASS.loss), jax.jit(MULTICLASS.delta_z)
    loss = np.asarray(losses(z, y), np.float64)
    rounding = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(loss, [0, np.log(2), np.log(3)], rtol=2 * rounding)
    assert losses(z, y).dtype == delta_z(z, y).dtype == dtype
    np.testing.assert_allclose(
        np.asarray(jax.jit(MULTICLASS.output)(z), np.float64).sum(axis=-1), 1, rtol=4 * rounding
    )
    np.testing.assert_array_equal(
        np.asarray(delta_z(z, y), np.float64)[:2], [[0, 0, 0], [-0.5, 0, 0.5]]
    )
    assert np.isnan(losses(np.full_like(z, np.nan), y)).all()


def test_large_logits_of_equal_size_are_told_apart():
    """1e4 + {0, 1}: e^1e4 is beyond every float, the softmax is not."""
    z, y = jnp.array([[1e4, 1e4 + 1]]), jnp.array([[1.0, 0.0]])
    np.testing.assert_allclose(MULTICLASS.loss(z, y), np.log1p(np.e), rtol=1e-12)


@pytest.mark.parametrize(
    ("task", "y", "rows"),
    [
        (REGRESSION, np.array([1.5, 2.0]), [[1.5], [2.0]]),
        (REGRESSION, np.array([[1.5], [2.0]]), [[1.5], [2.0]]),
        (BINARY, np.array([True, False]), [[1], [0]]),
        (BINARY, np.array([1, 0]), [[1], [0]]),
    ],
)
def test_labels_of_one_output(task, y, rows):
    np.testing.assert_array_equal(label_rows(task, y, (2,), 1, jnp.float32), rows)


@pytest.mark.parametrize(
    ("task", "y", "rows"),
    [
        (REGRESSION, np.ones((2, 3)), np.ones((2, 3))),
        (BINARY, np.eye(3)[:2], np.eye(3)[:2]),
        (MULTICLASS, np.array([2, 0]), [[0, 0, 1], [1, 0, 0]]),
        (MULTICLASS, np.array([[0.2, 0.3, 0.5], [1, 0, 0]]), [[0.2, 0.3, 0.5], [1, 0, 0]]),
    ],
)
def test_labels_of_three_outputs(task, y, rows):
    labels = label_rows(task, y, (2,), 3, jnp.float32)
    assert labels.dtype == jnp.float32
    np.testing.assert_allclose(labels, rows, rtol=1e-6)


REFUSED = """
label_rows(REGRESSION, np.ones((2, 2)), (2,), 3, jnp.float64)
label_rows(REGRESSION, np.ones(3), (2,), 1, jnp.float64)
label_rows(REGRESSION, np.array([1, INF]), (2,), 1, jnp.float64)
label_rows(BINARY, np.array([0, 0.5]), (2,), 1, jnp.float64)
label_rows(BINARY, np.array([2, -1]), (2,), 1, jnp.float64)
label_rows(BINARY, np.array([0, np.nan]), (2,), 1, jnp.float64)
label_rows(MULTICLASS, np.array([0, 3]), (2,), 3, jnp.float64)
label_rows(MULTICLASS, np.array([-1, 0]), (2,), 3, jnp.float64)
label_rows(MULTICLASS, np.array([0.0, 1.0]), (2,), 3, jnp.float64)
label_rows(MULTICLASS, ["cat", "dog"], (2,), 3, jnp.float64)
label_rows(MULTICLASS, np.ones((2, 3)), (2,), 3, jnp.float64)
label_rows(MULTICLASS, np.ones((2, 4)), (2,), 3, jnp.float64)
jaxnn.network.find_task("ranking")
"""


def test_wrong_labels_and_an_unknown_task_are_named(unhooked, snapshot):
    assert refusals(REFUSED, globals()) == snapshot


def test_label_values_are_not_looked_at_under_jit():
    """They cost nothing in a compiled program, which sees shapes and dtypes only."""
    net = jaxnn.Network((2, 1), "tanh", "binary")
    params = jaxnn.init(net, jax.random.key(0))
    xs, ys = jnp.ones((3, 2)), jnp.full(3, 0.5)
    assert jnp.isfinite(jax.jit(jaxnn.passes.mean_loss)(net, params, xs, ys))
    with pytest.raises(ValueError, match="labels 0 or 1"):
        jaxnn.passes.mean_loss(net, params, xs, ys)
    with pytest.raises(ValueError, match="expected shape"):
        jax.jit(jaxnn.passes.mean_loss)(net, params, xs, ys[:2])


@pytest.mark.parametrize(
    ("task", "wrong", "right"),
    [
        ("multiclass", [5, -1, 3], [0, 1, 2]),
        pytest.param(
            "multiclass",
            np.array([250, 3, 9], np.uint8),
            np.array([2, 0, 2], np.uint8),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "multiclass",
            [[0.9, 0.9, 0.0], [-1, 1, 1], [0, 0, 0]],
            [[0.1, 0.4, 0.5], *np.eye(3)[:2]],
            marks=pytest.mark.slow,
        ),
        ("binary", [[0, 1, 2], [-0.1, 0, 1], [np.nan, 1, 1]], [[0, 1, 1], [0.5, 0, 1], [1, 1, 1]]),
    ],
)
def test_wrong_labels_are_nan_under_jit(task, wrong, right):
    """As the loss of optax is for a class that does not exist: no cost of -0.0."""
    net = jaxnn.Network((2, 3), "tanh", task)
    params, xs = jaxnn.init(net, jax.random.key(0)), jnp.ones((3, 2))
    values = jax.jit(
        lambda ys: (jaxnn.passes.mean_loss(net, params, xs, ys), _of_each(net, params, ys))
    )
    loss, losses = values(jnp.asarray(right))
    assert jnp.isfinite(loss)
    assert jnp.isfinite(losses).all()
    scores = jax.jit(jaxnn.train.evaluate)(net, params, xs, jnp.asarray(wrong))
    assert jnp.isnan(jnp.stack([*scores, values(jnp.asarray(wrong))[0]])).all()
    some = jnp.asarray(right).at[1].set(jnp.asarray(wrong)[1])
    assert jnp.isnan(values(some)[1]).tolist() == [False, True, False]
    grads = jax.jit(jaxnn.backprop)(net, params, xs, jnp.asarray(wrong))[1]
    assert all(jnp.isnan(theta).any() and jnp.isnan(b).any() for theta, b in grads)


def _of_each(net, params, ys):
    return jax.vmap(lambda y: jaxnn.passes.loss(net, params, jnp.ones(2), y))(ys)
