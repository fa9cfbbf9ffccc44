"""One convention: what measures takes any model, and gives parameters back in the model's form."""

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from problems import refusals

import jaxnn

N, LAYERS = 4, 6
RNG = np.random.default_rng(0)
WEIGHTS = [*map(jnp.asarray, np.float32(0.2 * RNG.normal(size=(LAYERS, N, N))))]
XS, CS = map(jnp.asarray, np.float32(RNG.normal(size=(2, 5, N))))


def layer(w, z):
    return jnp.tanh(z) @ w


def f(weights, xs):
    for w in weights:
        xs = layer(w, xs)
    return xs


def square(output, ys):
    return jnp.mean(output**2, axis=-1)


class Stack(eqx.Module):
    weights: list

    def __call__(self, xs):
        return f(self.weights, xs)


class OfNNX(nnx.Module):
    def __init__(self, weights):
        self.weights = nnx.List([nnx.Param(w) for w in weights])

    def __call__(self, xs):
        return f([w[...] for w in self.weights], xs)


NET = jaxnn.Network((N,) * (LAYERS + 1), "tanh", "regression")
MODELS = {
    "function": lambda weights: (f, weights),
    "list": lambda weights: [(layer, w) for w in weights],
    "tuple": lambda weights: tuple((layer, w) for w in weights),
    "dict": lambda weights: {f"layer {i}": (layer, w) for i, w in enumerate(weights)},
    "equinox": Stack,
    "nnx": OfNNX,
    "chain": lambda weights: jaxnn.as_network((f, weights), XS),
    "network": lambda weights: (NET, tuple((w, jnp.zeros(N, w.dtype)) for w in weights)),
}


# A function stands for all of them in the default run.
KINDS = [pytest.param(v, marks=[] if v == "function" else pytest.mark.slow) for v in MODELS]


@pytest.fixture(params=KINDS)
def model(request):
    return MODELS[request.param](WEIGHTS)


@pytest.mark.slow  # of a function test_diagnosis.py asks the same
def test_a_flow_is_that_of_a_diagnosis(model):
    flow = jaxnn.gradient_flow(model, XS, loss=square)
    found = jaxnn.diagnose(model, XS, loss=square)
    np.testing.assert_allclose(flow.log_delta, found.flow.log_delta, rtol=1e-6)
    assert len(flow.names) == LAYERS
    pair = jaxnn.as_network(model, XS)
    again = jaxnn.gradient_flow(pair, XS, loss=square)
    np.testing.assert_array_equal(again.log_delta, flow.log_delta)
    assert jaxnn.as_network(pair)[1] is pair[1]


def test_theory_takes_any_model_and_gives_its_parameters_back(model):
    _, twin = jaxnn.theory.wide(model, XS, replicas=2)
    assert len(jax.tree.leaves(twin)) > 0
    doubled = jaxnn.theory.scale_weights(model, 2.0, XS)
    is_pair = isinstance(model, tuple) and len(model) == 2
    own = model[1] if is_pair else model
    for ours, theirs in zip(jax.tree.leaves(doubled), jax.tree.leaves(own), strict=True):
        if eqx.is_array(theirs):
            np.testing.assert_allclose(ours, 2 * theirs)
    other = (model[0], doubled) if is_pair else doubled
    flow, larger = (jaxnn.gradient_flow(v, XS, loss=square) for v in (model, other))
    assert (larger.log_delta_input > flow.log_delta_input).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["function", "network"])
def test_a_watch_takes_any_model(kind):
    model = MODELS[kind](WEIGHTS)
    params = model[1] if isinstance(model, tuple) else model
    watch = jaxnn.watch(model, XS, loss=square, intended=("update",))
    watch(0, params, XS, CS)
    expected = jaxnn.gradient_flow(model, XS, CS, loss=square)
    watch.flush()
    np.testing.assert_allclose(watch.flow.log_delta, expected.log_delta, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["function", "network"])
def test_inside_of_jit_and_vmap_over_parameters(kind):
    def log_delta(weights):
        return jaxnn.gradient_flow(MODELS[kind](weights), XS, loss=square).log_delta

    expected = log_delta(WEIGHTS)
    np.testing.assert_allclose(jax.jit(log_delta)(WEIGHTS), expected, rtol=1e-5)
    scales = jnp.array([0.5, 1.0], WEIGHTS[0].dtype)
    several = jax.vmap(lambda s: log_delta([s * w for w in WEIGHTS]))(scales)
    np.testing.assert_allclose(several[1], expected, rtol=1e-5)
    assert (several[0] < several[1])[:-1].all()


REFUSED = """
jaxnn.gradient_flow(f, XS)
jaxnn.gradient_flow(3, XS)
jaxnn.as_network((f, WEIGHTS))
jaxnn.gradient_flow(MODELS["chain"](WEIGHTS), XS, each="example", loss=square)
jaxnn.cures(MODELS["list"](WEIGHTS), XS, cuts="a", loss=square)
jaxnn.flow.at_depths((f, WEIGHTS), XS, depth=2, loss=square)
jaxnn.gradient_flow((f, WEIGHTS), XS, loss=square, theory=0.02)
jaxnn.gradient_flow((f, WEIGHTS), XS, loss=square, theory_error=0)
"""


def test_what_is_wrong_is_one_sentence(snapshot):
    assert refusals(REFUSED, globals()) == snapshot


def test_two_modules_are_layers_and_a_function_with_a_module_is_not():
    linears = tuple(eqx.nn.Linear(N, N, key=key) for key in jax.random.split(jax.random.key(0)))
    assert len(jaxnn.as_network(linears, each="example")[0].names) == 2
    net, params = jaxnn.as_network((lambda model, xs: model(xs), Stack(WEIGHTS)), XS)
    chex.assert_trees_all_equal(net.user(params).weights, WEIGHTS)
