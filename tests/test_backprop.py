"""The hand-written reverse pass against JAX's, finite differences, identities and formulas."""

import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxnn
from jaxnn.backprop import backward_rows
from jaxnn.network import forward_rows

ACTIVATIONS = tuple(jaxnn.ACTIVATIONS)
TASKS = tuple(jaxnn.TASKS)
DEPTHS = (0, 1, 2, 5, 30)  # hidden layers
BATCHES = (1, 7)
TOLERANCE = {jnp.float64: 1e-12, jnp.float32: 1e-5}
N_OUT = 3


def problem(key, activation, task, depth, batch, dtype=jnp.float64, width=32):
    """A network and a batch; orthogonal weights, so that the logits stay small at depth 30.

    A narrow network would be as right and worse conditioned: where few units are alive, float32
    itself is off by more than 1e-5, ours and JAX's alike. All is drawn in float32: in float64 it is
    the same numbers, and has the same gradient.
    """
    net = jaxnn.Network((4, *[width] * depth, N_OUT), activation, task)
    keys = jax.random.split(key, 3)
    params = jaxnn.init(net, keys[0], jaxnn.orthogonal(0.9), 0.1, jnp.float32)
    xs = jax.random.normal(keys[1], (batch, 4), jnp.float32)
    ys = reference.example_labels(task, keys[2], batch, N_OUT, jnp.float32)
    return net, *jax.tree.map(lambda leaf: leaf.astype(dtype), (params, xs, ys))


def by_hand(net, params, xs, ys):
    """What the library says: backprop, jax.grad of mean_loss and, of one example, every Δ."""
    by_rule = jax.value_and_grad(jaxnn.mean_loss, argnums=1)(net, params, xs, ys)
    results = [jaxnn.backprop(net, params, xs, ys), by_rule]
    if len(xs) == 1:
        d = jaxnn.deltas(net, params, xs[0], ys[0])
        layers = tuple(jaxnn.Layer(*pair) for pair in zip(d.theta, d.b, strict=True))
        results.append((list(d.z), list(d.a[:-1]), layers))
    return results


def by_jax(activation, task, params, xs, ys):
    """The same, by jax.grad of the second implementation."""
    results = 2 * [reference.gradients(activation, task, params, xs, ys)]
    if len(xs) == 1:
        results.append(reference.deltas(activation, task, params, xs[0], ys[0]))
    return results


@pytest.mark.usefixtures("unhooked")  # checking the shapes of so many calls takes a sixth of it
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_gradient_equals_that_of_jax_grad(key, activation, task):
    """Each activation with each task, in both dtypes; the deep ones are in the next table.

    JAX's gradient is taken in float64 throughout, so that a float32 error is ours alone.
    """
    for depth, batch in itertools.product(DEPTHS[:-1], BATCHES):
        net, *arrays = problem(key, activation, task, depth, batch)
        truth = by_jax(activation, task, *arrays)
        for dtype, tolerance in TOLERANCE.items():
            got = by_hand(net, *jax.tree.map(dtype, arrays))
            assert_right(got, truth, dtype, tolerance)


@pytest.mark.usefixtures("unhooked")
@pytest.mark.parametrize(
    ("activation", "task"), list(zip(ACTIVATIONS, itertools.cycle(TASKS), strict=False))
)
def test_gradients_of_every_depth_plain_jitted_and_stacked(key, activation, task):
    """Plain on one network, jitted on another, and both as a stack under vmap, in both dtypes.

    The task enters in the last layer alone and the activation in the others, so that each
    activation is seen with one of the tasks here.
    """
    problems = []
    for depth, batch in itertools.product(DEPTHS, BATCHES):
        net, one, xs, ys = problem(key, activation, task, depth, batch)
        _, two, _, _ = problem(jax.random.fold_in(key, 1), activation, task, depth, batch)
        truth = [by_jax(activation, task, params, xs, ys) for params in (one, two)]
        problems.append((net, (one, two), xs, ys, truth))
    for dtype, tolerance in TOLERANCE.items():
        cases = [(net, *jax.tree.map(dtype, arrays), truth) for net, *arrays, truth in problems]
        # One program for the whole table: it compiles faster than ten.
        jitted = jax.jit(lambda batches: [by_hand(net, *batch) for net, *batch in batches])
        from_jit = jitted([(net, two, xs, ys) for net, (_, two), xs, ys, _ in cases])
        for (net, members, xs, ys, truth), of_jit in zip(cases, from_jit, strict=True):
            stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
            of_vmap = jax.vmap(by_hand, in_axes=(None, 0, None, None))(net, stack, xs, ys)
            assert_right(by_hand(net, members[0], xs, ys), truth[0], dtype, tolerance)
            assert_right(of_jit, truth[1], dtype, tolerance)
            for i, expected in enumerate(truth):
                of_one = jax.tree.map(lambda leaf, i=i: leaf[i], of_vmap)
                assert_right(of_one, expected, dtype, tolerance)


def assert_right(got, truth, dtype, tolerance):
    chex.assert_trees_all_equal_dtypes(got, jax.tree.map(dtype, got))
    reference.assert_close(got, truth, tolerance)


@pytest.mark.parametrize("task", TASKS)
def test_delta_of_the_output_is_the_derivative_by_y_hat(key, task):
    """Δa[L], from a loss written naively in ŷ."""
    net, params, xs, ys = problem(key, "tanh", task, 2, 1)
    naive = {
        "regression": lambda a, y: 0.5 * jnp.sum((a - y) ** 2),
        "binary": lambda a, y: -jnp.sum(y * jnp.log(a) + (1 - y) * jnp.log(1 - a)),
        "multiclass": lambda a, y: -jnp.sum(y * jnp.log(a)),
    }[task]
    y_hat = jaxnn.forward(net, params, xs[0])
    expected = jax.grad(naive)(y_hat, ys[0])
    reference.assert_close(jaxnn.deltas(net, params, xs[0], ys[0]).a[-1], expected, 1e-12)
    np.testing.assert_allclose(jaxnn.loss(net, params, xs[0], ys[0]), naive(y_hat, ys[0]), 1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_inputs_and_labels_have_gradients_too(key, task):
    net, params, xs, ys = problem(key, "tanh", task, 2, 7)
    by_rule = jax.grad(jaxnn.mean_loss, argnums=(2, 3))(net, params, xs, ys)
    expected = jax.grad(partial(reference.mean_loss, "tanh", task), argnums=(1, 2))(params, xs, ys)
    reference.assert_close(by_rule, expected, 1e-12)


def test_the_cotangent_of_the_loss_scales_the_gradient(key):
    net, params, xs, ys = problem(key, "tanh", "regression", 2, 7)
    scaled = jax.grad(lambda p: -3 * jaxnn.mean_loss(net, p, xs, ys) + 1)(params)
    gradient = jaxnn.backprop(net, params, xs, ys)[1]
    reference.assert_close(scaled, jax.tree.map(lambda leaf: -3 * leaf, gradient), 1e-12)


def test_second_derivatives_run_through_the_rule(key):
    net, params, xs, ys = problem(key, "silu", "binary", 1, 7, width=3)
    ours = jax.jacfwd(jax.grad(jaxnn.mean_loss, argnums=1), argnums=1)(net, params, xs, ys)
    theirs = jax.hessian(partial(reference.mean_loss, "silu", "binary"))(params, xs, ys)
    reference.assert_close(ours, theirs, 1e-10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_central_differences_agree(key, activation):
    """In float64 along random directions; step and tolerance are of order ε^⅓ and ε^⅔."""
    net, params, xs, ys = problem(key, activation, "multiclass", 3, 7, width=6)
    gradient = jaxnn.backprop(net, params, xs, ys)[1]
    step = 1e-6  # small enough that no unit of these draws crosses a kink
    for direction_key in jax.random.split(key, 5):
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(direction_key, len(leaves))
        direction = jax.tree.unflatten(
            structure,
            [jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)],
        )

        def along(t, direction=direction):
            moved = jax.tree.map(lambda p, d: p + t * d, params, direction)
            return jaxnn.mean_loss(net, moved, xs, ys)

        slope = (along(step) - along(-step)) / (2 * step)
        products = jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)
        np.testing.assert_allclose(slope, sum(jax.tree.leaves(products)), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_reverse_pass_is_the_adjoint_of_jvp(key, activation):
    """⟨J u, v⟩ = ⟨u, Jᵀ v⟩ for J = ∂z[L]/∂(params, x), u and v random."""
    net, params, xs, _ = problem(key, activation, "regression", 4, 7, width=6)

    def logits(params, xs):
        return forward_rows(net, params, xs).z[-1]

    leaves, structure = jax.tree.flatten((params, xs))
    keys = jax.random.split(key, len(leaves) + 1)
    u = jax.tree.unflatten(
        structure, [jax.random.normal(k, x.shape) for k, x in zip(keys[1:], leaves, strict=True)]
    )
    z, along = jax.jvp(logits, (params, xs), u)
    v = jax.random.normal(keys[0], z.shape)
    back = backward_rows(net, params, forward_rows(net, params, xs), v)
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), u, (back.layers, back.delta_x))
    np.testing.assert_allclose(jnp.sum(along * v), sum(jax.tree.leaves(products)), rtol=1e-12)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.sampled_from([1, 2, 3, 5, 8]), min_size=2, max_size=6),
    activation=st.sampled_from(ACTIVATIONS),
    task=st.sampled_from(TASKS),
    batch=st.sampled_from([1, 4]),
    seed=st.integers(0, 2**31 - 1),
)
def test_random_architectures(sizes, activation, task, batch, seed):
    if task == "multiclass":
        sizes = [*sizes[:-1], max(sizes[-1], 2)]
    keys = jax.random.split(jax.random.key(seed), 3)
    net = jaxnn.Network(sizes, activation, task)
    params = jaxnn.init(net, keys[0], "lecun_normal", 0.3)
    xs = jax.random.normal(keys[1], (batch, sizes[0]))
    ys = reference.example_labels(task, keys[2], batch, sizes[-1])
    expected = reference.gradients(activation, task, params, xs, ys)
    for result in by_hand(net, params, xs, ys)[:2]:
        reference.assert_close(result, expected, 1e-12)


@pytest.mark.parametrize("container", [list, tuple])
def test_plain_pairs_go_in_and_come_out(key, container):
    net, params, xs, ys = problem(key, "tanh", "binary", 2, 7)
    plain = container((np.asarray(theta), np.asarray(b)) for theta, b in params)
    value, gradient = jaxnn.backprop(net, plain, xs, ys)
    assert jax.tree.structure(gradient) == jax.tree.structure(plain)
    expected, layers = jaxnn.backprop(net, params, xs, ys)
    assert value == expected
    chex.assert_trees_all_equal(jax.tree.leaves(gradient), jax.tree.leaves(layers))
    by_rule = jax.grad(jaxnn.mean_loss, argnums=1)(net, plain, xs, ys)
    assert jax.tree.structure(by_rule) == jax.tree.structure(plain)


@pytest.mark.parametrize(
    "function", [jaxnn.backprop, jaxnn.mean_loss, jaxnn.gradient_flow], ids=lambda f: f.__name__
)
def test_repeated_calls_compile_once(key, function):
    net, params, xs, ys = problem(key, "tanh", "binary", 3, 7)
    counted = jax.jit(chex.assert_max_traces(function, n=1), static_argnums=0)
    for step in range(3):
        same = jaxnn.Network(net.sizes, "tanh", "binary")  # equal, though not the same object
        counted(same, jax.tree.map(lambda leaf, s=step: leaf + s, params), xs + step, ys)
    assert counted._cache_size() == 1


def test_optax_trains_with_the_hand_written_gradient(key):
    """Exclusive or by Adam: the loss falls to where four points are told apart."""
    net = jaxnn.Network((2, 8, 1), "tanh", "binary")
    params = jaxnn.init(net, key)
    xs = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    ys = jnp.array([0.0, 1.0, 1.0, 0.0])
    adam = optax.adam(0.1)

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(jaxnn.mean_loss, argnums=1)(net, params, xs, ys)
        updates, state = adam.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
        state = adam.init(params)
        for _ in range(200):
            params, state, value = step(params, state)
    assert value < 0.01
    np.testing.assert_array_equal(
        jax.vmap(jaxnn.forward, (None, None, 0))(net, params, xs)[:, 0] > 0.5, ys == 1
    )
