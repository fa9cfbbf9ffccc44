"""Runs: layers stacked into one, looped on the device, with depth as data."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from problems import by_layer, draw_batch, draw_layers, gradient_flow, orthogonal

import jaxnn
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.passes import walk

CAPACITY = 4


def problem(rng, activation="tanh", task="binary", hidden=CAPACITY + 1):
    """A network 5 - 8 - 8 … 8 - 3, unstacked; its run has `hidden` - 1 layers."""
    net = jaxnn.Network((5, *[8] * hidden, 3), activation, task)
    return net, draw_layers(rng, net.sizes, orthogonal(0.9), 0.2), *draw_batch(rng, net, 4)


def test_stack_and_unstack_undo_each_other(key):
    net = jaxnn.Network((5, 5, 5, 7, 7, 3, 3), "tanh", "multiclass")
    params = jaxnn.init(net, key, biases=0.5, stacked=True)
    runs, layers = jaxnn.network.stack(params), jaxnn.network.unstack(params)
    assert [theta.shape for theta, _ in runs] == [
        (5, 5),
        (1, 5, 5),
        (5, 7),
        (1, 7, 7),
        (7, 3),
        (3, 3),
    ]
    assert [theta.shape for theta, _ in layers] == [(5, 5), (5, 5), (5, 7), (7, 7), (7, 3), (3, 3)]
    chex.assert_trees_all_equal(jaxnn.network.stack(layers), runs)
    chex.assert_trees_all_equal(jaxnn.network.unstack(runs), layers)


@pytest.mark.slow
def test_depth_is_data(rng):
    """Depth = d is the network of d hidden layers, also with d traced."""
    net, params, xs, ys = problem(rng, "sigmoid")
    run = jaxnn.network.stack(params)

    @jax.jit
    def of_run(depth):
        trace = jaxnn.trace(net, run, xs[0], depth=depth)
        deltas = jaxnn.deltas(net, run, xs[0], ys[0], depth=depth)
        y_hat = jaxnn.forward(net, run, xs[0], depth=depth)
        loss = jaxnn.passes.loss(net, run, xs[0], ys[0], depth=depth)
        value, gradient = jaxnn.backprop(net, run, xs, ys, depth=depth)
        by_rule = jax.value_and_grad(jaxnn.passes.mean_loss, argnums=1)(
            net, run, xs, ys, depth=depth
        )
        flow = gradient_flow(net, run, xs, ys, depth=depth)
        return trace, deltas, y_hat, loss, (value, gradient), by_rule, flow

    @jax.jit
    def of_layers(net, params):
        x, y = xs[0], ys[0]
        return (
            *(jaxnn.forward(net, params, x), jaxnn.passes.loss(net, params, x, y)),
            *(jaxnn.backprop(net, params, xs, ys), jaxnn.deltas(net, params, x, y)),
            gradient_flow(net, params, xs, ys),
        )

    for depth in (1, 3):
        shallow = jaxnn.Network((5, *[8] * depth, 3), "sigmoid", "binary")
        layers = (*params[:depth], params[-1])
        trace, deltas, y_hat, loss, by_hand, by_rule, flow = of_run(depth)
        expected = of_layers(shallow, layers)
        reference.assert_close(y_hat, expected[0], 1e-13)
        reference.assert_close(loss, expected[1], 1e-13)
        for value, gradient in (by_hand, by_rule):
            apart = jaxnn.network.unstack(gradient)
            used = (*apart[:depth], apart[-1])
            reference.assert_close((value, used), expected[2], 1e-12)
            assert not any(leaf.any() for leaf in jax.tree.leaves(apart[depth:-1]))
        used = [deltas.z[0], *deltas.z[1][: depth - 1], deltas.z[2]]
        reference.assert_close(used, list(expected[3].z), 1e-12)
        assert not deltas.z[1][depth - 1 :].any()
        assert not trace.z[1][depth - 1 :].any()
        kept = np.r_[:depth, CAPACITY + 1]
        chex.assert_trees_all_close(
            jax.tree.map(lambda v, k=kept: v[k], by_layer(flow)), by_layer(expected[4]), rtol=1e-9
        )
        assert np.isnan(flow.log_delta[depth:-1]).all()


def test_one_program_serves_every_depth(rng):
    """Also of a gradient, where JAX's own of a loop whose length is data does not exist."""
    net, params, xs, ys = problem(rng)
    run = jaxnn.network.stack(params)

    @jax.jit
    @chex.assert_max_traces(n=1)
    def counted(run, depth):
        return jax.grad(jaxnn.passes.mean_loss, argnums=1)(net, run, xs, ys, depth=depth)

    for depth in range(1, CAPACITY + 2):
        counted(run, depth)
    assert counted._cache_size() == 1
    plain = jax.jit(jax.grad(jaxnn.passes.loss, argnums=1))
    with pytest.raises(ValueError, match="Reverse-mode differentiation"):
        plain(net, run, xs[0], ys[0], depth=jnp.array(3))


def test_depth_counts_all_hidden_layers(rng, unhooked):
    """One that takes x, one above of another width, and a run of 4; beyond, a traced one stops."""
    net = jaxnn.Network((5, *[8] * (CAPACITY + 1), 6, 3), "tanh", "binary")
    params = draw_layers(rng, net.sizes, orthogonal(0.9), 0.2)
    run, (xs, ys) = jaxnn.network.stack(params), draw_batch(rng, net, 4)
    narrow = np.array(4, np.uint8)
    for depth in (2, narrow, 6):
        shallow = jaxnn.Network((5, *[8] * (int(depth) - 1), 6, 3), "tanh", "binary")
        layers = (*params[: int(depth) - 1], *params[-2:])
        value = jaxnn.passes.mean_loss(net, run, xs, ys, depth=depth)
        reference.assert_close(value, jaxnn.passes.mean_loss(shallow, layers, xs, ys), 1e-13)
    with pytest.raises(ValueError, match=r"^depth: expected 2 … 6, the hidden layers, got 1$"):
        jaxnn.passes.mean_loss(net, run, xs, ys, depth=1)
    loss = jax.jit(lambda depth: jaxnn.passes.mean_loss(net, run, xs, ys, depth=depth))
    for traced, known in ((np.array(0, np.uint8), 2), (narrow, 4), (99, 6)):
        value = jaxnn.passes.mean_loss(net, run, xs, ys, depth=known)
        reference.assert_close(loss(traced), value, 1e-13)


@pytest.mark.slow
def test_the_program_does_not_grow_with_the_run():
    def size(layers):
        net = jaxnn.Network((5, *[8] * layers, 1), "tanh", "binary")
        params = jax.eval_shape(lambda k: jaxnn.init(net, k, stacked=True), jax.random.key(0))
        xs, ys = jnp.ones((2, 5), jnp.float64), jnp.ones(2)
        return len(jax.jit(jaxnn.gradient_flow).lower((net, params), xs, ys).as_text().splitlines())

    assert size(20_000) == size(10_000)
    assert size(10_000) <= 1.05 * size(10)  # large arrays have a branch of their own


@pytest.mark.parametrize(
    ("depth", "error", "sentence"),
    [
        (6, ValueError, r"depth: expected 1 … 5, the hidden layers, got 6$"),
        (0, ValueError, r"depth: expected 1 … 5, the hidden layers, got 0$"),
        (2.0, TypeError, r"depth: expected one integer.*, got float64"),
        (np.ones((1, 2), int), TypeError, r"depth: expected one .*, got int64 of shape \(1, 2\)"),
    ],
)
def test_bad_depths(rng, depth, error, sentence, unhooked):
    net, params, xs, ys = problem(rng)
    for function in (jaxnn.backprop, jaxnn.passes.mean_loss, flow_of_net):
        with pytest.raises(error, match=sentence):
            function(net, jaxnn.network.stack(params), xs, ys, depth=depth)
        with pytest.raises(ValueError, match="exactly one run, got 0; make it with"):
            function(net, params, xs, ys, depth=2)


@pytest.mark.slow
def test_only_a_flow_takes_several_depths(rng, unhooked):
    net, params, xs, ys = problem(rng)
    of = (net, jaxnn.network.stack(params), xs, ys)
    for function in (jaxnn.backprop, jaxnn.passes.mean_loss):
        with pytest.raises(TypeError, match=r"depth: expected one integer, got int64 of shape"):
            function(*of, depth=np.array([1, 2]))
    with pytest.raises(ValueError, match=r"depth: expected 1 … 5, the hidden layers, got 6$"):
        jaxnn.flow.at_depths(of[:2], *of[2:], depth=[2, 6])
    with pytest.raises(TypeError, match=r"expected one integer, or a list of them, got .* \(0,\)"):
        jaxnn.flow.at_depths(of[:2], *of[2:], depth=np.zeros(0, int))
    first, run, last = jaxnn.network.stack(params)
    nan = run._replace(b=run.b.at[2].set(np.nan))  # of layer 4, which the first depth lacks
    with pytest.raises(ValueError, match=r"^z\[4\]: expected numbers whose mean square"):
        jaxnn.flow.at_depths((net, (first, nan, last)), xs, ys, depth=[2, 5])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("activation", "memory", "scale", "more"),
    [
        ("tanh", "all", 1.0, False),
        ("tanh", "all", 1.0, True),
        ("relu", "all", 1e12, False),
        ("tanh", "sqrt", 1.0, False),
    ],
    ids=["plain", "all fields", "out of the range", "sqrt"],
)
def test_several_depths_are_a_flow_of_each(rng, activation, memory, scale, more):
    """Also where the deepest needs exponents on its way up, and with a layer above the run."""
    net = jaxnn.Network((5, *[8] * (CAPACITY + 1), 6, 3), activation, "binary")
    drawn = draw_layers(rng, net.sizes, orthogonal(0.9 * scale), 0.2)
    xs, ys = draw_batch(rng, net, 4)
    params, xs = jax.tree.map(lambda v: v.astype(np.float32), (jaxnn.network.stack(drawn), xs))

    @jax.jit
    def flow(depth):
        how = {"memory": memory, "examples": more}
        return flow_of_net(net, params, xs, ys, depth=depth, **how)

    alone = {depth: flow(depth) for depth in range(2, CAPACITY + 3)}
    for depths in ((2, 5, CAPACITY + 2), (4, 2, 3), (5, 5, 5)):
        expected = jax.tree.map(lambda *v: jnp.stack(v), *(alone[depth] for depth in depths))
        chex.assert_trees_all_close(flow(np.array(depths)), expected, rtol=2e-5, atol=1e-6)
    assert flow._cache_size() == 2
    largest = np.asarray(alone[CAPACITY + 2].log_mean_square).max()
    assert (largest > 2 * np.log(1e38)) == (scale > 1)


def test_a_run_must_be_hidden_layers_of_one_width(key, unhooked):
    net = jaxnn.Network((4, 4, 4), "tanh", "binary")
    theta, b = jnp.ones((2, 4, 4)), jnp.ones((2, 4))
    with pytest.raises(
        ValueError, match=r"theta\[0\]: a run of 2 must be hidden layers of one width"
    ):
        jaxnn.forward(net, (jaxnn.network.Layer(theta, b),), jnp.ones(4))
    net = jaxnn.Network((4, 4, 5, 4), "tanh", "binary")
    with pytest.raises(ValueError, match=r"theta\[0\]: a run of 2 .* widths \(4, 4, 5\)"):
        jaxnn.forward(
            net, (jaxnn.network.Layer(theta, b), jaxnn.network.Layer(theta[0], b[0])), jnp.ones(4)
        )


@pytest.mark.parametrize("depth", [None, 0, 1, 2, 3])
def test_what_goes_into_a_layer_comes_out_of_the_one_below(depth):
    """A layer, a run of three of which `depth` are used, and a layer."""
    net = jaxnn.Network((3, 2, 2, 2, 2, 1), "tanh", "regression")
    params = jaxnn.init(net, jax.random.key(0), stacked=True)
    assert [walk.is_run(layer) for layer in params] == [False, True, False]
    inputs = [jnp.asarray(v, float) for v in ([0.0], [[1.0], [2.0], [3.0]], [4.0])]
    below, run, top = walk.at_outputs(params, inputs, jnp.asarray([5.0]), depth)
    used = 3 if depth is None else depth
    assert top.tolist() == [5.0]
    # The last of those used makes what the top takes in, here 4.
    assert run.ravel().tolist() == [[0, 0, 0], [4, 0, 0], [2, 4, 0], [2, 3, 4]][used]
    assert below.tolist() == [1.0 if used else 4.0]


def test_layers_that_are_all_alike_are_one_kind():
    """With a traced depth too: a choice between equal layers would be a branch in every step."""
    net = jaxnn.Network((2,) * 6, "tanh", "regression")
    params = jaxnn.init(net, jax.random.key(0), stacked=True)
    for depth in (None, jnp.asarray(2)):
        paired = walk._with_kinds(net, params, depth)
        assert not any(isinstance(kind, walk.Mixed) for kind, _ in paired)
        assert all(got is layer for (_, got), layer in zip(paired, params, strict=True))
