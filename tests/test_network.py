"""Network, forward pass and loss of one example, and what is said of bad input."""

import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from problems import draw_batch, draw_layers, gaussian

import jaxnn
from jaxnn.flow.measure.flow_of_net import flow_of_net
from jaxnn.initializers import find_weights


@pytest.fixture
def net():
    return jaxnn.Network((3, 4, 1), "sigmoid", "binary")


@pytest.fixture
def params(net, rng):
    return draw_layers(rng, net.sizes, gaussian(1.0))


def test_forward_trace_and_loss_agree_with_the_reference(rng):
    for task in jaxnn.network.TASKS:
        net = jaxnn.Network((3, 5, 4, 2), "tanh", task)
        params = draw_layers(rng, net.sizes, gaussian(1.0))
        (x,), (y,) = draw_batch(rng, net, 1)
        trace = jaxnn.trace(net, params, x)
        chex.assert_shape(trace.z, [(5,), (4,), (2,)])
        chex.assert_shape(trace.a, [(3,), (5,), (4,), (2,)])
        z = np.asarray(x)
        for i, (theta, b) in enumerate(jax.device_get(params)):
            z = (np.tanh(z) if i > 0 else z) @ theta + b
            np.testing.assert_allclose(trace.z[i], z, rtol=1e-12)
        output = {"regression": lambda z: z, "binary": jax.nn.sigmoid, "multiclass": jax.nn.softmax}
        np.testing.assert_allclose(jaxnn.forward(net, params, x), output[task](z), rtol=1e-12)
        expected = reference.loss("tanh", task, params, x, y)
        np.testing.assert_allclose(jaxnn.passes.loss(net, params, x, y), expected, rtol=1e-12)


def test_without_hidden_layers_it_is_logistic_regression(rng):
    net = jaxnn.Network((30, 1), "relu", "binary")
    ((theta, b),) = params = draw_layers(rng, net.sizes, gaussian(1.0))
    xs = rng.normal(size=(7, 30))
    expected = 1 / (1 + np.exp(-(xs @ np.asarray(theta) + np.asarray(b))))
    batched = jax.jit(jax.vmap(jaxnn.forward, in_axes=(None, None, 0)))(net, params, xs)
    np.testing.assert_allclose(batched, expected, rtol=1e-12)


DTYPES = (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("task", jaxnn.network.TASKS)
def test_everything_is_in_the_dtype_of_the_parameters(rng, task, dtype):
    net = jaxnn.Network((3, 4, 2), "gelu", task)
    params = draw_layers(rng, net.sizes, gaussian(1.0), dtype=dtype)
    x = np.arange(3)  # integers, as a user may have them
    y = {"regression": np.ones(2), "binary": np.ones(2), "multiclass": np.array(1)}[task]

    def everything(params):
        gradient = jaxnn.backprop(net, params, x[None], y[None])
        return gradient, jaxnn.passes.loss(net, params, x, y), jaxnn.deltas(net, params, x, y)

    results = jax.eval_shape(everything, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(results[0][1], params)
    assert {leaf.dtype for leaf in jax.tree.leaves(results)} == {jnp.dtype(dtype)}


def test_a_network_is_one_static_hashable_value(net, params):
    same = jaxnn.Network(
        [np.int64(3), 4, 1], jaxnn.network.ACTIVATIONS["sigmoid"], jaxnn.network.TASKS["binary"]
    )
    assert same == net
    assert hash(same) == hash(net)
    assert net != jaxnn.Network((3, 4, 1), "tanh", "binary")
    x = jnp.ones(3)
    as_pytree = jax.jit(jaxnn.forward)(net, params, x)
    np.testing.assert_array_equal(
        as_pytree, jax.jit(jaxnn.forward, static_argnums=0)(net, params, x)
    )
    with pytest.raises(AttributeError):
        net.sizes = (1, 2)


@pytest.mark.parametrize("task", jaxnn.network.TASKS)
def test_everything_that_describes_a_network_can_be_sent_to_a_process(key, task):
    """Equal there, so that nothing is compiled anew; parameters kept as a key draw the same."""
    net = jaxnn.Network((3, 5, 5, 2), "selu", task)
    schemes = (
        jaxnn.initializers.gaussian(1.5),
        jaxnn.initializers.orthogonal(2.0),
        *map(find_weights, jaxnn.initializers.WEIGHTS),
    )
    for value in (net, net.activation, net.task, *schemes):
        sent = pickle.loads(pickle.dumps(value))
        assert sent == value
        assert hash(sent) == hash(value)
    drawn = jaxnn.init(net, key, schemes[0], 0.3, lazy=True)
    sent = pickle.loads(pickle.dumps(drawn))
    assert sent[1].draw == drawn[1].draw
    chex.assert_trees_all_equal(jaxnn.network.stack(sent), jaxnn.network.stack(drawn))


@pytest.mark.parametrize(
    ("sizes", "error"),
    [
        ((), ValueError),
        ((3,), ValueError),
        ((3, 0, 1), ValueError),
        ((3, -4, 1), ValueError),
        ((3, True), ValueError),
        ((3, 4.0, 1), TypeError),
        (3, TypeError),
        ("34", TypeError),
    ],
)
def test_bad_sizes(sizes, error, unhooked):
    with pytest.raises(error, match=r"sizes: expected at least two positive integers .*, got"):
        jaxnn.Network(sizes, "tanh", "binary")


def test_one_class_is_no_choice(unhooked):
    with pytest.raises(ValueError, match="multiclass needs at least 2 outputs, got 1; use task="):
        jaxnn.Network((3, 1), "tanh", "multiclass")


@pytest.mark.parametrize(
    ("x", "error", "sentence"),
    [
        (np.ones(4), ValueError, r"x: expected shape \(3,\), .* layer 0 .*\(3, 4, 1\), got \(4,\)"),
        (np.ones((7, 3)), ValueError, r"got \(7, 3\); map over a batch with jax.vmap"),
        (np.array([1, np.nan, np.inf]), ValueError, r"got 2 that are nan or inf, .* column 1"),
        (np.ones(3) * 1j, TypeError, r"x: expected real numbers, got complex"),
        (["one", "two", "three"], TypeError, r"x: expected numbers, got .one."),
        (np.array(["a", "b", "c"]), TypeError, r"expected numbers, got an array of <U1"),
    ],
)
def test_bad_examples(net, params, x, error, sentence, unhooked):
    for function in (jaxnn.forward, jaxnn.trace):
        with pytest.raises(error, match=sentence):
            function(net, params, x)
    for function in (jaxnn.passes.loss, jaxnn.deltas):
        with pytest.raises(error, match=sentence):
            function(net, params, x, 1)


@pytest.mark.parametrize(
    ("xs", "sentence"),
    [
        (np.ones(3), r"x: expected shape \(B, 3\), a batch of B >= 1, .*, got \(3,\)"),
        (np.ones((0, 3)), r"a batch of B >= 1, .*, got \(0, 3\)"),
        (np.ones((2, 4)), r"x: expected shape \(B, 3\), .*, got \(2, 4\)"),
    ],
)
def test_bad_batches(net, params, xs, sentence, unhooked):
    for function in (jaxnn.backprop, jaxnn.passes.mean_loss, flow_of_net):
        for form in (function, jax.jit(function)):
            with pytest.raises(ValueError, match=sentence):
                form(net, params, xs, np.ones(len(xs)))


def test_bad_parameters(net, params, unhooked):
    x = jnp.ones(3)
    (theta, b), last = params
    for bad, error, sentence in (
        (params[:1], ValueError, r"params: expected 2 layers for sizes \(3, 4, 1\), got 1"),
        (((theta.T, b), last), ValueError, r"theta\[0\]: expected shape \(3, 4\) .*got \(4, 3\)"),
        (((theta, b[:2]), last), ValueError, r"b\[0\]: expected shape \(4,\) .*got \(2,\)"),
        (
            ((theta, b.astype(jnp.float32)), last),
            TypeError,
            r"one floating dtype .*float64, float32",
        ),
        (jax.tree.map(lambda p: p.astype(int), params), TypeError, r"one floating dtype .*got int"),
        (
            jax.tree.map(lambda p: p.astype(jnp.float8_e4m3fn), params),
            TypeError,
            "params: expected floats of 16 bits or more, got float8_e4m3fn; cast to bfloat16",
        ),
        ((theta, last), TypeError, r"params: expected pairs \(theta, b\) of arrays"),
        (None, TypeError, r"params: expected pairs .*, got NoneType"),
    ):
        with pytest.raises(error, match=sentence):
            jaxnn.forward(net, bad, x)
