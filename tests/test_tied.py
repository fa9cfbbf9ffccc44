"""Weights that layers share, and stacks of which each layer has its own entry: Δ, paths, words."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import jaxnn
from jaxnn.chain.parameter_places import are_shared
from jaxnn.curing import weights

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


@pytest.mark.parametrize(
    "form",
    ["run", *(pytest.param(v, marks=pytest.mark.slow) for v in ("loop", "scan", "fori_loop"))],
)
def test_weights_tied_over_steps_without_data(form, given):
    """Measured with a tangent, as `diagnose` does."""
    w, x, ys = given
    net, params = FORMS[form](w, x)
    for memory in ("all", "sqrt")[: 1 + (form == "scan")]:
        options = {"loss": square, "tangent": True, "memory": memory}
        flow = jaxnn.gradient_flow((net, params), x, ys, **options)
        np.testing.assert_allclose(flow.parameters.log_delta, by_step(w, x, ys), rtol=1e-10)
        assert np.isfinite(flow.log_tangent).all()


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


QUICK = (("columns", by_scan), ("less mean", by_scan))


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
