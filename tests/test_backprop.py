"""The hand-written reverse pass against JAX's, finite differences, identities and formulas."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import (
    FEW_ACTIVATIONS,
    as_dtype,
    draw_batch,
    draw_layers,
    gaussian,
    mostly_slow,
    orthogonal,
)

import jaxnn

ACTIVATIONS = tuple(jaxnn.network.ACTIVATIONS)
TASKS = tuple(jaxnn.network.TASKS)
HIDDEN = (0, 3)  # layers of the networks whose layers are single
DEPTHS = (1, 2, 5, 30)  # hidden layers used, of one and a run of 29
TOLERANCE = {jnp.float64: 1e-12, jnp.float32: 1e-5}
BATCH = 7


def own_task(activation):
    """One task an activation: the one enters in the hidden layers, the other in the output."""
    return TASKS[ACTIVATIONS.index(activation) % len(TASKS)]


# Activations and their tasks: what enters the passes is σ and σ′, which test_activations.py checks.
each_own = pytest.mark.parametrize(
    ("activation", "task"),
    [
        ("tanh", own_task("tanh")),
        *(
            pytest.param(a, own_task(a), marks=pytest.mark.slow)
            for a in ("sigmoid", "relu", "gelu")
        ),
    ],
)


def problem(rng, activation, task, hidden, dtype=jnp.float64, width=32, stacked=False):
    """A network and a batch; orthogonal weights, so that the logits stay small at depth 30.

    A narrow network would be as right and worse conditioned: where few units are alive, float32
    itself is off by more than 1e-5, ours and JAX's alike. All numbers are float32s: in float64 they
    are the same, and have the same gradient.
    """
    net = jaxnn.Network((4, *[width] * hidden, 3), activation, task)
    params = draw_layers(rng, net.sizes, orthogonal(0.9), dtype=jnp.float32, stacked=stacked)
    return net, *as_dtype((params, *draw_batch(rng, net, BATCH, jnp.float32)), dtype)


def by_hand(net, params, xs, ys, depth=None):
    """The library's backprop and, of one example, every Δ."""
    d = jaxnn.deltas(net, params, xs[0], ys[0], depth=depth)
    layers = tuple(map(jaxnn.network.Layer, d.theta, d.b))
    return jaxnn.backprop(net, params, xs, ys, depth=depth), (d.z, d.a[:-1], layers)


def by_rule(net, params, xs, ys, depth=None):
    """jax.grad of mean_loss, which has a rule of its own."""
    return jax.value_and_grad(jaxnn.passes.mean_loss, argnums=1)(net, params, xs, ys, depth=depth)


def by_jax(net, params, xs, ys, depth=None):
    """Expected values of both, by the second implementation."""
    names = net.activation.name, net.task.name
    return (
        reference.gradients(*names, params, xs, ys, depth),
        reference.deltas(*names, params, xs[0], ys[0], depth),
    )


# One program for all networks of a table: it compiles faster than one each.
all_by_hand, all_by_rule, all_by_jax = (
    jax.jit(lambda problems, f=f: [f(*problem) for problem in problems])
    for f in (by_hand, by_rule, by_jax)
)


def assert_right(ours, truth, dtype):
    chex.assert_trees_all_equal_dtypes(ours, jax.tree.map(dtype, ours))
    reference.assert_close(ours, truth, TOLERANCE[dtype])


@each_own
def test_every_gradient_equals_that_of_jax_grad(rng, activation, task):
    """Networks of single layers; of the few in float32 and by the rule of mean_loss too.

    JAX's gradient is taken in float64 throughout, so that a float32 error is ours alone.
    """
    problems = [problem(rng, activation, task, hidden) for hidden in HIDDEN]
    truth = all_by_jax(problems)
    assert_right(all_by_hand(problems), truth, jnp.float64)
    if activation in FEW_ACTIVATIONS:
        narrow = as_dtype(problems, jnp.float32)
        assert_right(all_by_hand(narrow), truth, jnp.float32)
        assert_right(all_by_rule(problems), [gradients for gradients, _ in truth], jnp.float64)


def test_gradients_of_a_run_of_every_depth(rng):
    """One program an implementation and a dtype for all depths, which are data."""
    net, *arrays = problem(rng, "tanh", "multiclass", 30, stacked=True)
    for depth in map(jnp.array, DEPTHS):
        truth = all_by_jax([(net, *arrays, depth)])
        given = [(net, *arrays, depth)]
        assert_right(all_by_hand(given), truth, jnp.float64)
        assert_right(all_by_rule(given), [truth[0][0]], jnp.float64)
        narrow = [(net, *as_dtype(arrays, jnp.float32), depth)]
        assert_right(all_by_hand(narrow), truth, jnp.float32)


@mostly_slow("task", TASKS, "binary")
def test_delta_of_the_output_is_the_derivative_by_y_hat(rng, task):
    """Δa[L], from a loss written naively in ŷ."""
    net, params, xs, ys = problem(rng, "tanh", task, 2)
    naive = {
        "regression": lambda a, y: 0.5 * jnp.sum((a - y) ** 2),
        "binary": lambda a, y: -jnp.sum(y * jnp.log(a) + (1 - y) * jnp.log(1 - a)),
        "multiclass": lambda a, y: -jnp.sum(y * jnp.log(a)),
    }[task]
    y_hat = jaxnn.forward(net, params, xs[0])
    value, expected = jax.jit(jax.value_and_grad(naive))(y_hat, ys[0])
    reference.assert_close(jaxnn.deltas(net, params, xs[0], ys[0]).a[-1], expected, 1e-12)
    np.testing.assert_allclose(jaxnn.passes.loss(net, params, xs[0], ys[0]), value, 1e-12)


@mostly_slow("task", TASKS, "multiclass")
def test_inputs_and_labels_have_gradients_too(rng, task):
    net, params, xs, ys = problem(rng, "tanh", task, 2)
    by_rule = jax.jit(jax.grad(jaxnn.passes.mean_loss, argnums=(2, 3)))(net, params, xs, ys)
    expected = jax.grad(reference.mean_loss, argnums=(3, 4))("tanh", task, params, xs, ys)
    reference.assert_close(by_rule, expected, 1e-12)


def test_the_cotangent_of_the_loss_scales_the_gradient(rng):
    net, params, xs, ys = problem(rng, "tanh", "regression", 2)
    scaled = jax.jit(jax.grad(lambda p: -3 * jaxnn.passes.mean_loss(net, p, xs, ys) + 1))(params)
    gradient = jaxnn.backprop(net, params, xs, ys)[1]
    reference.assert_close(scaled, jax.tree.map(lambda leaf: -3 * leaf, gradient), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [None, 3])
def test_forward_mode_goes_through_the_rule_too(rng, depth):
    """Single layers and a run; in a run, derivatives of the hand-written gradient too."""
    net = jaxnn.Network((3, *[4] * 4, 2), "tanh", "binary")
    params = draw_layers(rng, net.sizes, gaussian(1.0), stacked=depth is not None)
    xs, ys = draw_batch(rng, net, 5)
    tangents = jax.tree.map(jnp.cos, (params, xs))

    def loss(params, xs):
        return jaxnn.passes.mean_loss(net, params, xs, ys, depth=depth)

    slopes, by_column, mixed = jax.jit(
        lambda *at: (
            (
                jax.jvp(loss, at, tangents)[1],
                jax.jvp(jax.jit(loss), at, tangents)[1],
                jax.linearize(loss, *at)[1](*tangents),
                jax.vmap(lambda s: jax.jvp(loss, at, jax.tree.map(lambda v: s * v, tangents))[1])(
                    jnp.ones(2)
                ),
            ),
            jax.jacfwd(loss, argnums=1)(*at),
            jax.jvp(lambda xs: jax.grad(loss)(at[0], xs), at[1:], tangents[1:])[1],
        )
    )(params, xs)
    gradient_at = jax.jit(jax.grad(loss, argnums=(0, 1)))
    gradient = jax.device_get(gradient_at(params, xs))
    np.testing.assert_allclose(by_column, gradient[1], rtol=1e-11, atol=1e-15)
    h = 1e-6
    loss_at = jax.jit(lambda t: loss(*jax.tree.map(lambda v, u: v + t * u, (params, xs), tangents)))
    central = (loss_at(h) - loss_at(-h)) / (2 * h)
    for slope in slopes:
        np.testing.assert_allclose(slope, central, rtol=1e-7)
    steps = [
        jax.device_get(gradient_at(params, xs + s * h * np.asarray(tangents[1]))[0])
        for s in (1, -1)
    ]
    central = jax.tree.map(lambda above, below: (above - below) / (2 * h), *steps)
    chex.assert_trees_all_close(mixed, central, rtol=1e-6, atol=1e-9)


def inner(us, vs):
    """⟨u, v⟩ over all leaves."""
    pairs = zip(jax.tree.leaves(us), jax.tree.leaves(vs), strict=True)
    return sum(np.vdot(u, v) for u, v in pairs)


def random_like(rng, tree):
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), tree)


def test_the_reverse_pass_is_the_adjoint_of_jvp(rng):
    """⟨J u, v⟩ = ⟨u, Jᵀ v⟩ for J = ∂z[L]/∂(params, x), u and v random.

    Of a regression z[L] = ŷ; with labels ŷ - B v the mean loss has Δz[L] = v.
    """
    net, params, xs, _ = problem(rng, "tanh", "regression", 4, width=6)
    u, v = random_like(rng, (params, xs)), rng.normal(size=(BATCH, 3))

    @jax.jit
    def both(params, xs, u, v):
        logits = jax.vmap(partial(jaxnn.forward, net), in_axes=(None, 0))
        z, along = jax.jvp(logits, (params, xs), u)
        labels = z - BATCH * v
        return along, jax.grad(jaxnn.passes.mean_loss, argnums=(1, 2))(net, params, xs, labels)

    along, back = both(params, xs, u, v)
    np.testing.assert_allclose(inner(along, v), inner(u, back), rtol=1e-12)


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True)
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
    net, rng = jaxnn.Network(sizes, activation, task), np.random.default_rng(seed)
    params = draw_layers(rng, sizes, gaussian(1.0), 0.3)
    xs, ys = draw_batch(rng, net, batch)
    expected = reference.gradients(activation, task, params, xs, ys)
    reference.assert_close(jaxnn.backprop(net, params, xs, ys), expected, 1e-12)


@pytest.mark.parametrize("container", [list, tuple])
def test_plain_pairs_go_in_and_come_out(rng, container):
    net, params, xs, ys = problem(rng, "tanh", "binary", 2)
    plain = container((np.asarray(theta), np.asarray(b)) for theta, b in params)
    value, gradient = jaxnn.backprop(net, plain, xs, ys)
    assert jax.tree.structure(gradient) == jax.tree.structure(plain)
    expected, layers = jaxnn.backprop(net, params, xs, ys)
    assert value == expected
    chex.assert_trees_all_equal(jax.tree.leaves(gradient), jax.tree.leaves(layers))
    by_rule = jax.grad(jaxnn.passes.mean_loss, argnums=1)(net, plain, xs, ys)
    assert jax.tree.structure(by_rule) == jax.tree.structure(plain)
