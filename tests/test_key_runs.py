"""Runs stored as a random key instead of numbers, and the same results."""

import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import draw_batch, gradient_flow, optimised, refusals

import jaxnn
from experiments.learning.networks import stored_up_to
from jaxnn.network.params import LazyRun

# Both forms compute the same, in programs of their own: some roundings of 64 · eps at most.
TOLERANCE = 1e-13
LAYERS = 6  # of the run


NET = jaxnn.Network((5, *[8] * (LAYERS + 1), 3), "tanh", "binary")
WEIGHTS = jaxnn.initializers.gaussian(0.3)


@partial(jax.jit, static_argnums=1)
def draw(key, dtype):
    """The parameters stored, and with the run drawn."""
    init = partial(jaxnn.init, NET, key, WEIGHTS, 0.2, dtype)
    return init(stacked=True), init(lazy=True)


def problem(key, rng, dtype=jnp.float64):
    """A network 5 - 8 - 8 … 8 - 3, its parameters stored and drawn, and a batch."""
    return NET, *draw(key, dtype), *draw_batch(rng, NET, 4, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "dtype"), [("he_normal", jnp.bfloat16), ("orthogonal", jnp.float32)]
)
def test_a_drawn_run_has_the_numbers_of_a_stored_one(key, weights, dtype):
    """Two runs, one of them of a single layer, and a layer before, between and after them."""
    net = jaxnn.Network((5, 5, 5, 5, 3, 3, 3), "tanh", "multiclass")

    @optimised
    def forms(key):
        draw = partial(jaxnn.init, net, key, weights, 0.3, dtype)
        drawn = draw(lazy=True)
        return (
            drawn,
            jaxnn.network.stack(drawn),
            jaxnn.network.unstack(drawn),
            draw(stacked=True),
            draw(),
        )

    drawn, stack, single, stored, stored_single = forms(key)
    assert [isinstance(layer, LazyRun) for layer in drawn] == [False, True, False, True, False]
    assert [(run.first, run.k) for run in (drawn[1], drawn[3])] == [(1, 2), (4, 1)]
    assert not any(leaf.dtype == dtype for leaf in jax.tree.leaves((drawn[1], drawn[3])))
    chex.assert_trees_all_equal(stack, stored)
    chex.assert_trees_all_equal(single, stored_single)
    chex.assert_trees_all_equal_dtypes(stack, stored)


@jax.jit
def upwards(net, params, x, y, depth):
    return jaxnn.trace(net, params, x, depth=depth), jaxnn.passes.loss(
        net, params, x, y, depth=depth
    )


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["sqrt", "all"])
def test_a_drawn_run_computes_what_a_stored_one_does(key, rng, memory):
    net, stored, drawn, xs, ys = problem(key, rng, jnp.float64)
    close = {"rtol": 4 * TOLERANCE, "atol": TOLERANCE}
    for depth in (jnp.array(1), jnp.array(5), jnp.array(LAYERS + 1)):
        ours, theirs = (
            (
                *upwards(net, params, xs[0], ys[0], depth),
                gradient_flow(net, params, xs, ys, depth=depth, memory=memory),
            )
            for params, memory in ((drawn, memory), (stored, "all"))
        )
        sizes = theirs[-1].parameters.log_size  # which a run that is drawn on use does not know
        known = dataclasses.replace(ours[-1].parameters, log_size=sizes)
        ours = (*ours[:-1], dataclasses.replace(ours[-1], parameters=known))
        chex.assert_trees_all_close(ours, theirs, **close)
        chex.assert_trees_all_equal_dtypes(ours, theirs)
        trace, _, flow = ours
        assert np.isfinite(flow.log_delta).sum() == depth + 1
        assert trace.z[1][: int(depth) - 1].all()
        assert not trace.z[1][int(depth) - 1 :].any()


def test_drawing_again_compiles_nothing_again(key):
    """`gaussian(1.5)` is the same initialiser each time, as a name is; so the program is one."""
    net = jaxnn.Network((5, *[8] * 4, 3), "tanh", "binary")
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def forward(params, x):
        return jaxnn.forward(net, params, x)

    outputs = []
    for one in jax.random.split(key, 3):
        params = jaxnn.init(net, one, jaxnn.initializers.gaussian(1.5), 0.5, lazy=True)
        outputs.append(forward(params, jnp.ones(5)))
    assert forward._cache_size() == 1
    assert not np.allclose(outputs[0], outputs[1])


def test_another_draw_is_another_program(key):
    """The initialisers are static: σ_w of 1.5 and of 2 must not share one."""
    net = jaxnn.Network((8, 8, 8, 3), "tanh", "binary")
    sigmas = (1.5, 1.5, 2.0)
    draws = [jaxnn.init(net, key, jaxnn.initializers.gaussian(s), lazy=True) for s in sigmas]
    forms = [jax.tree.structure(params) for params in draws]
    assert forms[0] == forms[1] != forms[2]


@pytest.mark.slow
def test_an_ensemble_of_drawn_networks(key, rng, unhooked):
    """Keys are leaves: `init` and what follows map over them."""
    net, _, _, xs, _ = problem(key, rng)
    keys = jax.random.split(key, 3)
    init = partial(jaxnn.init, net, weights="he_normal")
    params = jax.vmap(partial(init, lazy=True))(keys)
    y_hats = jax.vmap(jaxnn.forward, in_axes=(None, 0, None))(net, params, xs[0])
    alone = [jaxnn.forward(net, init(one), xs[0]) for one in keys]
    np.testing.assert_allclose(y_hats, np.stack(alone), rtol=1e-12)


# What they are not for


def of(function, *arguments, **options):
    """Call a function with parameters whose run is drawn."""
    _, drawn = draw(jax.random.key(0), jnp.float64)
    return function(NET, drawn, *arguments, **options)


def fitting(sizes, layers, depth=None):
    """Take the loss with some of the three layers, the second of which is a run that is drawn."""
    drawn = draw(jax.random.key(0), jnp.float64)[1]
    params = [drawn[i] for i in layers]
    net = jaxnn.Network(sizes, "tanh", "binary")
    return jaxnn.passes.loss(net, params, np.ones(sizes[0]), np.ones(sizes[-1]), depth=depth)


def of_several_dtypes():
    first, run, last = draw(jax.random.key(0), jnp.float64)[1]
    first = first._replace(theta=first.theta.astype(jnp.float32))
    return jaxnn.forward(NET, (first, run, last), np.ones(5))


XS, YS = np.ones((4, 5)), np.ones((4, 3))
REFUSED = """
of(jaxnn.backprop, XS, YS)
of(jaxnn.passes.mean_loss, XS, YS)
of(jaxnn.deltas, XS[0], YS[0])
of(lambda net, params, xs: jaxnn.spectrum((net, params), xs), XS)
of(jaxnn.forward, XS[0], depth=8)
fitting((5, *[9] * 7, 3), (0, 1, 2))
fitting((8, *[9] * 6, 3), (1, 2))
fitting((5, *[8] * 4, 3), (0, 1, 2))
fitting((5, *[8] * 7), (0, 1))
fitting((5, *[8] * 13, 3), (0, 1, 1, 2), depth=3)
of_several_dtypes()
"""


def test_what_a_drawn_run_does_not_go_with(unhooked, snapshot):
    assert refusals(REFUSED, globals()) == snapshot
    stored, _ = draw(jax.random.key(0), jnp.float64)  # the way out
    assert np.isfinite(jaxnn.backprop(NET, stored, XS, YS)[0])


# 16 bits, and depth


@pytest.mark.slow
def test_a_run_that_is_drawn_up_to_a_depth_has_the_same_numbers(key):
    net = jaxnn.Network((3, *[4] * 6, 1), "tanh", "binary")
    _, run, _ = jaxnn.init(net, key, "he_normal", 0.5, lazy=True)
    _, whole, _ = jaxnn.init(net, key, "he_normal", 0.5, stacked=True)
    for used in (0, 3):
        for part, values in zip(
            *map(jax.device_get, (jax.jit(stored_up_to)(run, used), whole)), strict=True
        ):
            assert np.array_equal(part[:used], values[:used])
            assert not np.any(part[used:])
