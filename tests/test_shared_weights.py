"""Weights that layers share: their Δ and paths, and one draw of the wide twin for all of them."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from problems import mostly_slow

import jaxnn
from jaxnn.chain.apply import applied
from jaxnn.chain.parameter_places import are_shared
from jaxnn.patients import weights

pytestmark = pytest.mark.usefixtures("light")

B, N, K = 3, 4, 5


def step(w, x):
    return jnp.tanh(x @ w)


def python_loop(w, x):
    for _ in range(K):
        x = step(w, x)
    return x


def scan(w, x):
    return lax.scan(lambda x, _: (step(w, x), None), x, None, length=K)[0]


def fori(w, x):
    return lax.fori_loop(0, K, lambda _, x: step(w, x), x)


def square(output, ys):
    return jnp.sum((output - ys) ** 2, axis=-1)


@pytest.fixture
def given(rng):
    w, x, ys = rng.normal(size=(N, N)), rng.normal(size=(B, N)), rng.normal(size=(B, N))
    return 0.3 * w, x, ys


def by_step(w, x, ys):
    """Return ln of the norm of Δ of the weights of each step, by plain JAX."""

    def loss(stack):
        out = x
        for one in stack:
            out = step(one, out)
        return jnp.mean(square(out, ys))

    return np.log(np.linalg.norm(jax.grad(loss)(jnp.stack([w] * K)), axis=(1, 2)))


FORMS = {
    "loop": lambda w, x: jaxnn.as_network((python_loop, w), x),
    "scan": lambda w, x: jaxnn.as_network((scan, w), x),
    "fori_loop": lambda w, x: jaxnn.as_network((fori, w), x),
    "run": lambda w, x: jaxnn.as_network([jaxnn.Run(step, w, K, tied=True)]),
}


@mostly_slow("form", FORMS, "run")
def test_weights_tied_over_steps_without_data(form, given):
    w, x, ys = given
    net, params = FORMS[form](w, x)
    for memory in ("all", "sqrt")[: 1 + (form == "scan")]:
        options = {"loss": square, "memory": memory}
        flow = jaxnn.gradient_flow((net, params), x, ys, **options)
        np.testing.assert_allclose(flow.parameters.log_delta, by_step(w, x, ys), rtol=1e-10)


def test_a_tied_array_is_changed_once(given):
    """In a Python loop, whose first and last layer are no part of its run."""
    w, x, _ = given
    net, params = jaxnn.as_network((python_loop, w), x)
    places, draws = {(layer, 0) for layer in range(1, K - 1)}, iter([1.0])
    one = net.user(weights.redrawn(net, params, places, lambda v, at: v + next(draws)))
    np.testing.assert_allclose(one, w + 1)
    factors = np.array([1.0, *[3.0] * (K - 1)])
    every = {(layer, 0) for layer in range(K)}
    np.testing.assert_allclose(net.user(weights.multiplied(net, params, factors, every)), 3 * w)
    assert are_shared(net, params)


# Stacks of which each layer has its own entry, in a loop and in a scan


def by_loop(stack, x):
    for one in stack:
        x = step(one, x)
    return x


def by_scan(stack, x):
    return lax.scan(lambda x, one: (step(one, x), None), x, stack)[0]


def cholesky(w):
    return jnp.linalg.cholesky(w @ jnp.swapaxes(w, 1, 2) + jnp.eye(N)[None])


OWN = ("['w'][0]", "['w'][1]", "['w'][2]")
STACKS = {  # a stack of the parameters, and the paths of its layers' arrays in a scan, if not OWN
    "columns": (lambda w: w[:, :, :N], tuple(f"['w'][{i}, :, :4]" for i in range(3))),
    "columns in reverse": (lambda w: w[:, :, jnp.arange(N)[::-1]], OWN),
    "padded": (lambda w: jnp.pad(w[:, :, : N - 1], ((0, 0), (0, 0), (0, 1))), None),
    "cumsum": (lambda w: jnp.cumsum(w[:, :, :N], axis=1), None),
    "sort": (lambda w: jnp.sort(w[:, :, :N], axis=2), None),
    "svd": (lambda w: jnp.linalg.svd(w[:, :, :N], full_matrices=False)[0], None),
    "qr": (lambda w: jnp.linalg.qr(w[:, :, :N])[0], None),
    "cholesky": (cholesky, OWN),
    "tril": (lambda w: jnp.tril(w[:, :, :N]), None),
    "fft": (lambda w: jnp.fft.fft(w[:, :, :N]).real, None),
    "rolled": (
        lambda w: jnp.roll(w[:, :, :N], 1, axis=0),
        ("['w'][2, :, :4]", *(f"['w'][{i}, :, :4]" for i in (0, 1))),
    ),
    "less mean": (lambda w: w[:, :, :N] - jnp.mean(w[:, :, :N], axis=0)[None], ()),
}


QUICK = (("columns", by_scan),)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param(*pair, marks=[] if pair in QUICK else pytest.mark.slow)
        for pair in product(STACKS, (by_loop, by_scan))
    ],
)
def test_each_layer_has_its_own_entry_of_a_stack(name, form, rng):
    """Δ of each, as plain JAX has it where only this layer's entry depends on the parameters."""
    prepare, paths = STACKS[name]
    w, x, c = rng.normal(size=(3, N, N + 2)), rng.normal(size=(B, N)), rng.normal(size=(B, N))
    net, params = jaxnn.as_network((lambda p, x: form(prepare(p["w"]), x), {"w": w}), x)
    flow = jaxnn.gradient_flow((net, params), x, cotangent=c)

    def of_entry(w, j):
        whole = lax.stop_gradient(prepare(w))
        return jnp.vdot(by_loop(whole.at[j].set(prepare(w)[j]), x), c)

    expected = [np.log(np.linalg.norm(jax.grad(of_entry)(w, j))) for j in range(3)]
    np.testing.assert_allclose(flow.parameters.log_delta, expected, rtol=1e-9)
    assert not flow.parameters.tied
    of_layers = [tuple(filter(None, of_layer)) for of_layer in net.paths]
    if paths == ():
        assert of_layers == [("['w']",)] * 3
    elif form is by_scan or paths == OWN:
        where = paths or tuple(path for (path,) in of_layers)
        assert of_layers == [(path,) for path in where]
        assert len({*where}) == 3
    np.testing.assert_array_equal(net.user(params, {"w": w})["w"], w)


# The wide twin: one draw for all, or a refusal that names them


REPLICAS, EXAMPLES = 6, 2
RANDOM = np.random.default_rng(0)
W, V = RANDOM.normal(size=(2, N, N)).astype(np.float32)
STACK = RANDOM.normal(size=(3, N, N)).astype(np.float32)


def _with(f):
    """Return a layer that puts what f makes of the last one in front of all states before."""
    return lambda w, states: (f(w, states[0]), *states)


def _minus(f):
    """Return a layer that takes what f makes of the input from the last state."""
    return lambda w, states: states[0] - f(w, states[-1])


def _times(w, z):
    return z @ w


def _several(stack, z):
    for w in stack:
        z = z @ w
    return z


def _pairs(w, z):
    """Return relu(z) W - relu(-z) W, which is z W."""
    both = jnp.concatenate([jax.nn.relu(z), jax.nn.relu(-z)], axis=-1)
    return both @ jnp.concatenate([w, -w])


def _once(z):
    return (z,)


def _twice(z):
    return (z, z)


def _step(w, states):
    return (states[0] @ w, states[1])


def _turned_step(w, states):
    return (states[0] @ w.T, states[1])


RUN = jaxnn.Run(_step, STACK, 3)
TIED = jaxnn.Run(_step, W, 3, tied=True)
# Lists of layers whose output is 0 if a weight that several have is one matrix.
TIES = {
    "two layers": [_once, (_with(_times), W), (_minus(_times), W)],
    "a part of it": [_once, (_with(_times), W), (_minus(lambda w, z: z @ w[0]), np.stack([W, V]))],
    "positive and negative parts": [_once, (_with(_times), W), (_minus(_pairs), W)],
    "steps that share it": [_twice, TIED, (lambda w, s: s[0] - s[1] @ w @ w @ w, W)],
    "steps that have a part each": [
        _twice,
        RUN,
        (lambda stack, s: s[0] - _several(stack, s[1]), STACK),
    ],
    "steps that go through a stack twice": [
        _twice,
        *((_step, w) for w in [*STACK, *STACK]),
        (lambda stack, s: s[0] - _several([*stack, *stack], s[1]), [*STACK]),
    ],
}
TIES["transposes that come back in reverse order"] = [
    _twice,
    *((_step, w) for w in STACK),
    *((_turned_step, w) for w in STACK[::-1]),
    (lambda w, s: s[0] - _several([*w, *(v.T for v in w[::-1])], s[1]), [*STACK]),
]
TIES["a part of it"][1] = (_with(lambda w, z: z @ w[0]), TIES["a part of it"][2][1])


def _entries(layers, xs):
    """Return the draws that products of a twin's layers share, layer by layer."""
    twin, _ = jaxnn.theory.wide(layers, replicas=REPLICAS)
    links = [link for kind in twin.for_batch(xs).kinds for link in kind.links]
    return [[] if link.ties is None else [*link.ties.value.values()] for link in links]


def _xs():
    return RANDOM.normal(size=(EXAMPLES, N)).astype(np.float32)


@pytest.mark.usefixtures("users_jax")
def test_products_of_layers_that_have_one_draw():
    """Numbers of arrays, of the steps of a run by how much further on they are."""
    *_, up, last = _entries(TIES["steps that go through a stack twice"], _xs())
    ((_, shifts),) = up[0].shifts
    assert shifts.tolist() == [0, 16, 32, 0, 16]  # of the first layer, which `_twice` joins, none
    assert len(last) == 6
    assert {entry.root for entry in [*up, *last]} == {up[0].root}
    one, other = _entries(TIES["positive and negative parts"], _xs())
    assert one[0].places.tolist() * 2 == other[0].places.tolist()
    down = _entries([(_times, W), (lambda w, z: jnp.tanh(z) @ w.T, W)], _xs())
    assert [entry.turned for (entry,) in down] == [False, True]
    back = _entries(TIES["transposes that come back in reverse order"], _xs())
    turned = [entry.turned for entries in back for entry in entries]
    assert turned == [False, False, True, *[False] * 3, *[True] * 3]
    assert _entries([(_times, W), (_times, V)], _xs()) == [[]]  # of a run


@pytest.mark.usefixtures("users_jax")
def test_weights_of_layers_that_have_no_twin_together_are_refused_by_name():
    refused = {
        r"\['a'\].* and .* made of one parameter": {
            "a": (_times, W),
            "b": (lambda w, z: z @ jnp.abs(w), W),
        },
        r"the weight \['a'\]\[1\] of shape \(4, 4\) in products that sum over other axes": {
            "a": (lambda w, z: z @ jnp.concatenate([w, w.T], axis=1), W),
            "b": (lambda w, z: z[:, :N] @ w, W),
        },
    }
    for reason, layers in refused.items():
        with pytest.raises(
            jaxnn.errors.NoTwinError, match=f"layers that share parameters: .*{reason}"
        ):
            _entries(layers, _xs())


@pytest.mark.usefixtures("users_jax")
@pytest.mark.slow
def test_layers_have_one_draw_of_a_weight():
    xs = _xs()
    replicated = np.broadcast_to(xs[:, None], (EXAMPLES, REPLICAS, N))
    nets = {name: jaxnn.theory.wide(layers, replicas=REPLICAS) for name, layers in TIES.items()}

    @jax.jit
    def every(params):
        return {name: applied(nets[name][0], params[name], replicated)[0] for name in nets}

    for name, made in every({name: params for name, (_, params) in nets.items()}).items():
        assert np.abs(made).max() < 1e-4, name
