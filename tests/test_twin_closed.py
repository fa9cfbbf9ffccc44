"""The wide twin against the closed forms of mean-field theory: every activation, every block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import hadamard

import jaxnn
from jaxnn.network.activations import ACTIVATIONS
from jaxnn.theory import meanfield

pytestmark = pytest.mark.slow

SEEDS = 4
ROWS = 8
NAMES = tuple(ACTIVATIONS)
BLOCKS = {
    "residual": jaxnn.blocks.Residual(scale=0.5),
    "rms": jaxnn.blocks.RMSNorm(),
    "layer": jaxnn.blocks.LayerNorm(),
    "post": jaxnn.blocks.PostNorm(),
    "batch": jaxnn.blocks.BatchNorm(),
    "pre": jaxnn.blocks.Residual(jaxnn.blocks.LayerNorm()),
}


def rows_of(n):
    """Return rows of entries ±1 that are orthogonal: of mean square 1 and correlation 0."""
    return jnp.asarray(hadamard(n)[:ROWS], jnp.float32)


def signs(key, n, size):
    """Return a matrix whose entries have one size, so that its mean square is no estimate."""
    return size * n**-0.5 * jax.random.rademacher(key, (n, n), jnp.float32)


def follows(flows, lengths, log_delta, bias=0.0, top=0):
    """Assert that flows of SEEDS twins have the states and Δ of theory, to their errors.

    Of four seeds some agree by chance: the error of a layer is at least that of a layer nearer to
    where states, or Δ, come in.

    Args:
        flows: of twins, with more layers than theory or as many.
        lengths: mean squares of z[l], by layer.
        log_delta: ln ‖Δz[l]‖ over that of the last.
        bias: of order 1/n, in ln.
        top: layers at the top whose Δ is not that of theory.
    """
    depth = len(lengths)
    states = np.array([flow.log_mean_square[:depth] for flow in flows], np.float64)
    deltas = 2 * np.array([flow.log_delta[:depth] for flow in flows], np.float64)[:, ::-1]
    deltas, log_delta = deltas[:, top:], 2 * np.asarray(log_delta)[::-1][top:]
    for logs, expected in (
        (states, np.log(lengths)),
        (deltas - deltas[:, :1], log_delta - log_delta[0]),
    ):
        error = np.maximum.accumulate(np.std(logs, axis=0, ddof=1)) / SEEDS**0.5
        assert error.max() < 0.08
        apart = np.abs(logs.mean(axis=0) - expected)
        assert (apart < 3 * error + bias + 0.005).all(), (apart, error)


@pytest.fixture(scope="module")
def switched():
    """Twins of a chain whose activation is an argument: one program for all."""
    n, layers = 32, 6
    functions = [ACTIVATIONS[name].sigma for name in NAMES]

    def layer(p, z):
        return jax.lax.switch(p["which"], functions, z) @ p["w"]

    keys = jax.random.split(jax.random.key(0), layers)
    xs, cotangent = rows_of(n), jax.random.normal(keys[0], (ROWS, n), jnp.float32)

    def of(name, size):
        which = [NAMES.index("identity"), *[NAMES.index(name)] * (layers - 1)]
        each = [
            (layer, {"w": signs(k, n, size if i else 1.0), "which": jnp.int32(w)})
            for i, (k, w) in enumerate(zip(keys, which, strict=True))
        ]
        net, params = jaxnn.as_network(each)
        twin, _ = jaxnn.theory.wide((net, params), replicas=32)
        twins = [twin.with_key(params, k) for k in jax.random.split(jax.random.key(7), SEEDS)]
        return [jaxnn.gradient_flow((twin, own), xs, cotangent=cotangent) for own in twins], layers

    return of


@pytest.mark.parametrize("name", NAMES)
def test_every_activation_has_its_closed_form(switched, name):
    size = 1.2
    flows, layers = switched(name, size)
    sizes = [1.0, *[size] * (layers - 1)]
    given = name, sizes, 0.0, 1.0, layers
    follows(flows, meanfield.lengths(*given), meanfield.log_delta(*given))


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_has_its_closed_form(name):
    n, depth, size = 128, 5, 1.2
    net = jaxnn.Network((n,) * (depth + 2), "tanh", "regression", hidden=BLOCKS[name])
    keys = jax.random.split(jax.random.key(1), depth + 2)
    b = jnp.zeros(n, jnp.float32)
    params = tuple(jaxnn.network.Layer(signs(key, n, size), b) for key in keys[1:])
    xs, cotangent = rows_of(n), jax.random.normal(keys[0], (ROWS, n), jnp.float32)
    flows = []
    for key in jax.random.split(jax.random.key(7), SEEDS):
        twin, own = jaxnn.theory.wide((net, params), replicas=8, key=key)
        flows.append(jaxnn.gradient_flow((twin, own), xs, cotangent=cotangent))
    of = {"hidden": net.hidden, "batch": ROWS if name == "batch" else None}
    given = "tanh", size, 0.0, 1.0, depth
    expected = meanfield.lengths(*given, **of), meanfield.log_delta(*given, **of)
    # Rows of a cotangent sum to 0 behind two batch norms, as theory has them.
    follows(flows, *expected, bias=depth / n, top=2 if name == "batch" else 0)


def conv(w, z):
    wrapped = jnp.concatenate([z[:, -1:], z, z[:, :1]], axis=1)
    numbers = ("NWC", "WIO", "NWC")
    return jax.lax.conv_general_dilated(wrapped, w, (1,), "VALID", dimension_numbers=numbers)


def conv_of_tanh(w, z):
    return conv(w, jnp.tanh(z))


def test_convolutions_have_the_closed_form_of_dense_layers():
    """At every position that of a dense layer: Xiao et al. 2018, arXiv:1806.05393."""
    n, layers, size = 32, 5, 1.2
    keys = jax.random.split(jax.random.key(2), layers)
    each = [size * (3 * n) ** -0.5 * jax.random.rademacher(k, (3, n, n), jnp.float32) for k in keys]
    net, params = jaxnn.as_network([(conv, each[0]), *((conv_of_tanh, w) for w in each[1:])])
    xs = jax.random.rademacher(keys[0], (2, 4, n), jnp.float32)
    cotangent = jax.random.normal(keys[1], (2, 4, n), jnp.float32)
    twin, _ = jaxnn.theory.wide((net, params), replicas=32)
    twins = [twin.with_key(params, key) for key in jax.random.split(jax.random.key(7), SEEDS)]
    flows = [jaxnn.gradient_flow((twin, own), xs, cotangent=cotangent) for own in twins]
    given = "tanh", size, 0.0, 1.0, layers
    follows(flows, meanfield.lengths(*given), meanfield.log_delta(*given))
