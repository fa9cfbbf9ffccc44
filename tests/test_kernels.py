"""NNGP and NTK at infinite width: closed forms, and real networks of many units."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import refusals
from scipy import stats

import jaxnn
from jaxnn.theory import kernels

pytestmark = pytest.mark.usefixtures("users_jax")


def signs(rng, *shape):
    """Weights of mean square one, along each axis too."""
    return jnp.asarray(rng.choice([-1.0, 1.0], shape), jnp.float32)


def normal(rng, n):
    """Biases, which the twin keeps: quantiles of a normal distribution, in any order."""
    quantiles = stats.norm.ppf((np.arange(n) + 0.5) / n)
    return jnp.asarray(rng.permutation(quantiles / quantiles.std()), jnp.float32)


def dense(params, z, w=1.4, b=0.3):
    theta, bias = params
    return w * len(theta) ** -0.5 * z @ theta + b * bias


def drawn(rng, *sizes):
    return [(signs(rng, m, n), normal(rng, n)) for m, n in pairwise(sizes)]


def mlp(sigma, params, xs):
    z = dense(params[0], xs)
    for layer in params[1:]:
        z = dense(layer, sigma(z))
    return z


def of_relu(xs, count, w=1.4, b=0.3):
    """NNGP and NTK of layers of relu, by the kernels of arc-cosine (Cho & Saul 2009)."""
    k = w**2 * xs @ xs.T / xs.shape[1] + b**2
    theta = k
    for _ in range(count):
        size = np.sqrt(np.outer(np.diag(k), np.diag(k)))
        cos = np.clip(k / size, -1, 1)
        angle = np.arccos(cos)
        slopes = w**2 * (np.pi - angle) / (2 * np.pi)
        k = w**2 * size * (np.sqrt(1 - cos**2) + cos * (np.pi - angle)) / (2 * np.pi) + b**2
        theta = k + theta * slopes
    return k, theta


def within(found, nngp, ntk, errors=3.5):
    """Assert that both kernels are those of theory; more than 3 errors, for they are many."""
    for kernel, error, theory in (
        (found.nngp, found.nngp_error, nngp),
        (found.ntk, found.ntk_error, ntk),
    ):
        assert np.all(error < 0.1 * np.abs(theory).max())
        np.testing.assert_array_less(np.abs(kernel - theory) / error, errors)


@pytest.mark.slow
def test_kernels_of_relu_are_those_of_arc_cosine():
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(2, 4)).astype(np.float32)
    found = kernels((partial(mlp, jax.nn.relu), drawn(rng, 4, 32, 16)), xs, draws=24)
    within(found, *of_relu(xs, 1))
    assert str(found).startswith("Kernels of 2 examples at infinite width, mean of the diagonal:")


ROWS = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)


def over_the_batch():
    """Kernels of a norm over the batch, where Δ cannot tell it, for no draw lies below it."""

    def network(params, xs):
        z = dense(params[0], xs)
        z = (z - z.mean(axis=0, keepdims=True)) / z.std(axis=0, keepdims=True)
        return dense(params[1], jnp.tanh(z))

    return kernels((network, drawn(np.random.default_rng(0), 4, 16, 4)), ROWS, draws=2)


REFUSED = """
kernels([(jnp.matmul, jnp.eye(4))], ROWS, draws=1)
kernels([(lambda w, x: x @ w, jnp.eye(4))], jnp.ones((2, 3, 4)), draws=2, replicas=2)
kernels([(lambda w, x: x @ w, jnp.eye(4))], ROWS, each="whole")
over_the_batch()
"""


def test_what_has_no_kernel_is_refused(snapshot):
    assert refusals(REFUSED, globals()) == snapshot


@pytest.mark.slow
def test_a_network_of_ours_and_a_list_of_layers_have_the_kernels_of_the_function():
    """In the usual parametrisation, where θ has variance 1/fan_in."""
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(2, 4)).astype(np.float32)
    sizes = 4, 32, 32, 16
    params = [(t * len(t) ** -0.5, 0 * b) for t, b in drawn(rng, *sizes)]
    net = jaxnn.Network(sizes, "relu", "regression")
    layers = [lambda p, z: z @ p[0] + p[1], *[lambda p, z: jax.nn.relu(z) @ p[0] + p[1]] * 2]
    several = [kernels((net, params), xs), kernels(list(zip(layers, params, strict=True)), xs)]
    for one, other in zip(*([v.nngp, v.ntk] for v in several), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)
    k, _ = of_relu(xs, 2, 1.0, 0.0)
    np.testing.assert_array_less(np.abs(several[0].nngp - k), 3.5 * several[0].nngp_error)


@pytest.mark.slow
def test_rows_of_a_table_are_alike_only_with_themselves():
    """Also where a place beyond the table is filled with nan, as an embedding of Flax asks for."""

    def embedding(table, tokens):
        return jnp.take(table, tokens[:, 0], axis=0, fill_value=np.nan)

    rng = np.random.default_rng(0)
    layers = [(embedding, signs(rng, 5, 32)), (dense, (signs(rng, 32, 16), jnp.zeros(16)))]
    found = kernels(layers, np.array([[0], [1], [1]]))
    same = 1.4**2 * np.array([[1, 0, 0], [0, 1, 1], [0, 1, 1]])
    within(found, same, 2 * same + 0.3**2)


# Real networks of many units

N, TOKENS, HEADS, GROUPS = 64, 4, 4, 2


def rotated(x):
    """Rotary positions of (B, T, H, C)."""
    half = x.shape[-1] // 2
    angle = np.arange(x.shape[1])[:, None] * 10.0 ** (-2 * np.arange(half) / half)
    cos, sin = (jnp.asarray(f(angle), jnp.float32)[:, None] for f in (np.cos, np.sin))
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def project(theta, x):
    return len(theta) ** -0.5 * x @ theta


def grouped_attention(params, xs):
    x = project(params["in"], xs)
    b, t, n = x.shape
    q = rotated(project(params["q"], x).reshape(b, t, HEADS, n // HEADS))
    k = rotated(project(params["k"], x).reshape(b, t, GROUPS, n // HEADS))
    v = project(params["v"], x).reshape(b, t, GROUPS, n // HEADS)
    q = q.reshape(b, t, GROUPS, HEADS // GROUPS, n // HEADS)
    logits = jnp.einsum("btghc,bsgc->bghts", q, k) * (n // HEADS) ** -0.5
    mixed = jnp.einsum("bghts,bsgc->btghc", jax.nn.softmax(logits), v).reshape(b, t, n)
    return project(params["out"], (x + project(params["o"], mixed)).mean(axis=1))


def experts(params, xs):
    """Two of four experts for each example, by the largest logits."""
    x = project(params["in"], xs)
    logits = project(params["router"], x)
    least = jnp.sort(logits, axis=-1)[:, -2:-1]
    weights = jax.nn.softmax(jnp.where(logits >= least, logits, -jnp.inf))
    hidden = jax.nn.relu(jnp.einsum("bi,eio->beo", x, params["up"]) * x.shape[1] ** -0.5)
    made = jnp.einsum("bei,eio->beo", hidden, params["down"]) * x.shape[1] ** -0.5
    return project(params["out"], x + jnp.einsum("be,beo->bo", weights, made))


def shapes_of(name, n):
    """Shapes of the weights of a network of n units."""
    square, ends = (n, n), {"in": (5, n), "out": (n, 8)}
    return {
        "grouped_attention": {
            **dict.fromkeys("qo", square),
            **dict.fromkeys("kv", (n, n * GROUPS // HEADS)),
            **ends,
        },
        "experts": {"router": (n, 4), **dict.fromkeys(("up", "down"), (4, n, n)), **ends},
    }[name]


def weights_of(name, n, draw):
    return {key: draw(*shape) for key, shape in shapes_of(name, n).items()}


KINDS = {f.__name__: f for f in (grouped_attention, experts)}


def of_real(name, rng, xs, n, count):
    """Mean NNGP and NTK of real networks, whose weights are normal, with their errors."""
    f = KINDS[name]

    @jax.jit
    def both(params):
        output = f(params, xs)
        slopes = jax.jacrev(lambda p: f(p, xs)[:, 0])(params)
        rows = [v.reshape(len(xs), -1) for v in jax.tree.leaves(slopes)]
        return output @ output.T / output.shape[1], sum(v @ v.T for v in rows)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    several = [np.array(both(weights_of(name, n, draw)), np.float64) for _ in range(count)]
    return np.mean(several, 0), np.std(several, 0, ddof=1) / count**0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_kernels_beside_those_of_real_networks(name):
    """Other kinds of layers have a law of their twins."""
    rng = np.random.default_rng(0)
    shape = (2, 5) if name == "experts" else (2, TOKENS, 5)
    xs = jnp.asarray(rng.normal(size=shape), jnp.float32)
    given = weights_of(name, N, partial(signs, rng))  # of which the sizes count
    found = kernels((KINDS[name], given), xs, draws=96)
    (nngp, ntk), (nngp_error, ntk_error) = of_real(name, rng, xs, 2 * N, 200)
    for kernel, error, real, real_error in (
        (found.nngp, found.nngp_error, nngp, nngp_error),
        (found.ntk, found.ntk_error, ntk, ntk_error),
    ):
        joint = np.hypot(error, real_error)
        assert np.all(joint < 0.1 * np.abs(real).max())
        np.testing.assert_array_less(np.abs(kernel - real) / joint, 3.5)
