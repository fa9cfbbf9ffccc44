"""Network, forward pass and loss of one example, and what is said of bad input."""

import pickle
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from problems import draw_batch, draw_layers, gaussian, refusals

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


def test_everything_that_describes_a_network_can_be_sent_to_a_process(key):
    """Equal there, so that nothing is compiled anew; parameters kept as a key draw the same."""
    net = jaxnn.Network((3, 5, 5, 2), "selu", "multiclass")
    schemes = (
        jaxnn.initializers.gaussian(1.5),
        jaxnn.initializers.orthogonal(2.0),
        *map(find_weights, jaxnn.initializers.WEIGHTS),
    )
    for value in (net, net.activation, *jaxnn.network.TASKS.values(), *schemes):
        sent = pickle.loads(pickle.dumps(value))
        assert sent == value
        assert hash(sent) == hash(value)
    drawn = jaxnn.init(net, key, schemes[0], 0.3, lazy=True)
    sent = pickle.loads(pickle.dumps(drawn))
    assert sent[1].draw == drawn[1].draw
    chex.assert_trees_all_equal(jaxnn.network.stack(sent), jaxnn.network.stack(drawn))


X, NET = np.ones(3), jaxnn.Network((3, 4, 1), "sigmoid", "binary")
PARAMS = [(np.ones((3, 4), np.float32), np.zeros(4, np.float32))]
PARAMS += [(np.ones((4, 1), np.float32), np.zeros(1, np.float32))]
((THETA, BIAS), LAST), FEW = PARAMS, np.ones((0, 3))
FLOAT8 = [tuple(v.astype(jnp.float8_e4m3fn) for v in layer) for layer in PARAMS]
OF_ONE = {"forward": jaxnn.forward, "trace": jaxnn.trace}
OF_ONE |= {f.__name__: partial(f, y=1) for f in (jaxnn.passes.loss, jaxnn.deltas)}
OF_BATCH = {f.__name__: f for f in (jaxnn.backprop, jaxnn.passes.mean_loss, flow_of_net)}
OF_BATCH |= {f"compiled {name}": jax.jit(f) for name, f in OF_BATCH.items()}


def said_alike(functions, x):
    """Call all functions, and raise what they say if it is the same."""
    errors = {}
    for name, f in functions.items():
        labels = [np.ones(len(x))] if functions is OF_BATCH else []
        try:
            f(NET, PARAMS, x, *labels)
        except (TypeError, ValueError) as error:
            errors[name] = error
    assert {str(error) for error in errors.values()} == {str(errors[next(iter(functions))])}
    assert errors.keys() == functions.keys()
    raise next(iter(errors.values()))


REFUSED = """
jaxnn.Network((), "tanh", "binary")
jaxnn.Network((3,), "tanh", "binary")
jaxnn.Network((3, 0, 1), "tanh", "binary")
jaxnn.Network((3, -4, 1), "tanh", "binary")
jaxnn.Network((3, True), "tanh", "binary")
jaxnn.Network((3, 4.0, 1), "tanh", "binary")
jaxnn.Network(3, "tanh", "binary")
jaxnn.Network("34", "tanh", "binary")
jaxnn.Network((3, 1), "tanh", "multiclass")
said_alike(OF_ONE, np.ones(4))
said_alike(OF_ONE, np.ones((7, 3)))
said_alike(OF_ONE, np.array([1, np.nan, np.inf]))
said_alike(OF_ONE, X * 1j)
said_alike(OF_ONE, ["one", "two", "three"])
said_alike(OF_ONE, np.array(["a", "b", "c"]))
said_alike(OF_BATCH, X)
said_alike(OF_BATCH, FEW)
said_alike(OF_BATCH, np.ones((2, 4)))
jaxnn.forward(NET, PARAMS[:1], X)
jaxnn.forward(NET, ((THETA.T, BIAS), LAST), X)
jaxnn.forward(NET, ((THETA, BIAS[:2]), LAST), X)
jaxnn.forward(NET, ((THETA, BIAS.astype(jnp.float16)), LAST), X)
jaxnn.forward(NET, jax.tree.map(lambda p: p.astype(int), PARAMS), X)
jaxnn.forward(NET, FLOAT8, X)
jaxnn.forward(NET, (THETA, LAST), X)
jaxnn.forward(NET, None, X)
"""


def test_what_is_wrong_is_said_in_a_sentence(unhooked, snapshot):
    assert refusals(REFUSED, globals()) == snapshot
