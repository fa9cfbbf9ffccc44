"""Floats of xs that go straight into a residual block: the state below it, as a layer would be.

A network of x is compared with itself behind x @ I, and its Δ with plain gradients, in float64.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from problems import chain_flow as gradient_flow
from problems import log_norm

import jaxnn

B, T, N = 3, 4, 6
BLOCKS = 4


def drawn(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape) / shape[-2] ** 0.5


def normed(x):
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred / jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5)


def attended(p, x, bias=0.0):
    q, k, v = jnp.split(x @ p["qkv"], 3, axis=-1)
    logits = jnp.einsum("bin,bjn->bij", q, k) / N**0.5 + bias
    return jax.nn.softmax(logits) @ v @ p["o"]


def branch(p, x):
    return jax.nn.gelu(x @ p["a"]) @ p["b"]


def blocks(block, head=jnp.matmul):
    """A network of equal blocks and a head."""

    def network(p, x):
        for q in p["blocks"]:
            x = block(q, x)
        return head(x, p["head"])

    return network


def transformer(q, x):
    x = x + attended(q, normed(x) * q["g"])
    return x + branch(q, normed(x) * q["g"])


def highway(q, x):
    gate = jax.nn.sigmoid(x @ q["a"][:, :N])
    return gate * jnp.tanh(x @ q["b"][:N]) + (1 - gate) * x


def growing(p, x):
    """A block of a DenseNet, of which each layer has a matrix of its own shape."""
    for theta in p["dense"]:
        x = jnp.concatenate([x, jnp.tanh(x @ theta)], -1)
    return x @ p["head"]


def graph(q, x):
    """Messages along a ring; nodes are taken by their numbers."""
    sent = jnp.tanh(jnp.concatenate([x, x[:, jnp.array([1, 2, 3, 0])]], -1) @ q["m"])
    received = jnp.zeros_like(x).at[:, jnp.array([2, 3, 0, 1])].add(sent)
    return x + jnp.concatenate([x, received], -1) @ q["m"]


def fourier(q, x):
    spectral = jnp.einsum("bkn,nm->bkm", jnp.fft.rfft(x, axis=1), jnp.astype(q["o"], complex))
    return x + jax.nn.gelu(jnp.fft.irfft(spectral, n=T, axis=1) + x @ q["o"])


def scanned(p, x):
    q = jax.tree.map(lambda *v: jnp.stack(v), *p["blocks"])
    return lax.scan(lambda x, q: (x + branch(q, x), None), x, q)[0]


def restored(p, x):
    """Reversible instance normalisation."""
    mean, size = jnp.mean(x, 1, keepdims=True), jnp.std(x, 1, keepdims=True)
    head = lambda x, theta: (x * size) @ theta  # noqa: E731
    return blocks(lambda q, x: x + branch(q, x), head)(p, (x - mean) / size)


NETWORKS = {
    "residual": blocks(lambda q, x: x + branch(q, x)),
    "transformer": blocks(transformer),
    "zero branches": blocks(lambda q, x: x + branch(q | {"b": 0 * q["b"]}, x)),
    "half a skip": blocks(lambda q, x: branch(q, x) / 2 + x / 2),
    "highway": blocks(highway),
    "graph": blocks(graph),
    "fourier": blocks(fourier),
    "dense": growing,
    "scan": lambda p, x: scanned(p, x) @ p["head"],
}  # fmt: skip
# Above the first block x rides, here to the head; or what is made of x before.
RIDING = {
    "head": lambda p, x: blocks(lambda q, x: x + branch(q, x))(p, x) + jnp.sin(x) @ p["head"],
    "concatenated": lambda p, x: jnp.concatenate([NETWORKS["residual"](p, x), x], -1) @ p["both"],
    "scan": lambda p, x: jnp.concatenate([scanned(p, x), x], -1) @ p["more"],
    "norm first": lambda p, x: blocks(lambda q, x: x + branch(q, x))(p, normed(x)),
    "restored": restored,
}


def params_of(count=BLOCKS):
    def of(i):
        shapes = {"qkv": (N, 3 * N), "o": (N, N), "a": (N, 8), "b": (8, N), "m": (2 * N, N)}
        return {name: drawn(i, *shape) for name, shape in shapes.items()} | {
            "g": np.ones((1, 1, N))
        }

    p = {"blocks": [*map(of, range(count))], "head": drawn(9, N, 2)}
    return p | {"both": drawn(8, 2 + N, 2), "more": drawn(8, 2 * N, 2)}


def params_for(name):
    p = params_of()
    if name != "dense":
        return p
    widths = [N + 3 * i for i in range(BLOCKS + 1)]
    dense = [drawn(i, n, 3) for i, n in enumerate(widths[:-1])]
    return {"dense": dense, "head": drawn(9, widths[-1], 2)}


def of_input(f, p, xs, cotangent):
    """Ln of the norm of Δxs, by plain gradients."""
    top = lambda xs: jnp.vdot(f(p, xs), cotangent)  # noqa: E731
    return log_norm(jax.jit(jax.grad(top, allow_int=True))(xs))


def cotangent_of(f, p, xs):
    shape = jax.eval_shape(f, p, xs).shape
    return np.cos(np.arange(np.prod(shape))).reshape(shape)


def flow_of(f, p, xs):
    """A chain and its flow, whose Δ of the input is that of plain gradients."""
    net, own = jaxnn.as_network((f, p), xs)
    cotangent = cotangent_of(f, p, xs)
    flow = gradient_flow(net, own, xs, cotangent=cotangent)
    expected = of_input(f, p, xs, cotangent)
    assert float(flow.log_delta_input) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    return net, flow


X = drawn(7, B, T, N)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_block_is_cut_like_the_others(name):
    net, _ = jaxnn.as_network((NETWORKS[name], params_for(name)), X)
    times = 2 if name == "transformer" else 1  # the halves of a block
    assert len(net.names) == times * BLOCKS + 1
    if name != "dense":
        assert net.lengths == (BLOCKS, 0)
        assert len(net.kinds[0].links) == times


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_delta_is_that_behind_the_identity(name):
    f, p = NETWORKS[name], params_for(name)
    _, flow = flow_of(f, p, X)
    _, behind = flow_of(lambda p, x: f(p[1], x @ p[0]), (np.eye(N), p), X)
    assert flow.streams is behind.streams is None
    np.testing.assert_allclose(flow.log_delta, behind.log_delta[1:], rtol=1e-12, atol=1e-12)
    assert float(flow.log_delta_input) == pytest.approx(float(behind.log_delta[0]), rel=1e-12)
    branches = [
        np.asarray(each.log_branch) for each in (flow, behind) if each.log_branch is not None
    ]
    if branches:
        np.testing.assert_allclose(branches[0], branches[1][1:], rtol=1e-10)


@pytest.mark.parametrize("name", RIDING)
def test_above_the_first_block_it_rides(name):
    net, _ = jaxnn.as_network((RIDING[name], params_of()), X)
    assert net.lengths[:2] == (0, BLOCKS)  # what turns xs into a state, and all blocks
    assert not net.kinds[0].links[0].trained[0]


def fed(q, x, xs):
    """A block with a mask and a bias of attention from xs, and a noise level that scales x."""
    scaled = normed(x) * (1 + jnp.sin(xs["level"])[:, None])
    x = x + attended(q, scaled, xs["bias"]) * xs["mask"]
    return x + branch(q, x)


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True])
def test_part_of_a_pytree(again):
    """Δ at each state is that of a nudge there; masks, biases and what x is above it ride."""
    count = 3

    def network(p, xs, nudges=None):
        x, xs = xs["x"], xs | {"level": xs["t"] @ p["t"]}
        for i, q in enumerate(p["blocks"]):
            x = fed(q, x, xs) if nudges is None else fed(q, x, xs) + nudges[i]
        x = x * jnp.cos(xs["level"])[:, None]
        return jnp.concatenate([x, xs["x"]], -1) @ p["more"] if again else x @ p["head"]

    p = params_of(count) | {"t": drawn(5, 2, N)}
    xs = {"x": X, "mask": drawn(6, B, T, 1), "bias": drawn(5, B, T, T), "t": drawn(4, B, 2)}
    net, flow = flow_of(network, p, xs)
    assert net.lengths == (0, 0, count - 1, 0, 0, 0)  # the run begins with the first block
    cotangent = cotangent_of(network, p, xs)
    top = lambda nudges: jnp.vdot(network(p, xs, nudges), cotangent)  # noqa: E731
    expected = [*map(log_norm, jax.jit(jax.grad(top))(np.zeros((count, B, T, N))))]
    layers = np.array(flow.streams.layers)
    main = [np.flatnonzero(layers == 1 + 2 * i)[0] for i in range(1, count)]
    deltas = np.asarray(flow.streams.log_delta)[main]
    np.testing.assert_allclose(deltas, expected[:-1], rtol=1e-12)


def rides(block):
    return lambda p, xs: blocks(lambda q, x: block(q, x, xs))(p, xs["z"] @ p["blocks"][0]["o"])


# What meets another stream first, what layers take anew, or over the whole network.
NOT_ROOTS = {
    "mask": rides(lambda q, z, xs: jnp.tanh(z * xs["x"]) @ q["o"]),
    "sum": rides(lambda q, z, xs: jnp.tanh(z + xs["x"]) @ q["o"]),
    "bias": rides(lambda q, z, xs: attended(q, z, xs["bias"])),
    "injected": lambda p, xs: blocks(lambda q, z: jnp.tanh(z + xs["x"]) @ q["o"])(p, xs["x"]),
    "global": lambda p, xs: (
        xs["x"] - blocks(lambda q, z: jnp.tanh(z @ q["o"]))(p | {"head": np.eye(N)}, xs["x"])
    ),
}


@pytest.mark.parametrize("name", NOT_ROOTS)
def test_what_is_no_state_rides(name):
    xs = {"x": X, "z": X, "bias": drawn(5, B, T, T)}
    net, _ = jaxnn.as_network((NOT_ROOTS[name], params_of()), xs)
    assert not any(kind.between for kind in net.kinds)
    assert max(net.lengths) >= BLOCKS - 2
    assert len(net.names) >= BLOCKS


def test_a_network_of_one_block_is_cut_in_it():
    """Else there would be no layers."""
    net, _ = jaxnn.as_network((lambda p, x: x + branch(p, x), params_of(1)["blocks"][0]), X)
    assert net.names == ("a", "b")


def test_integers_are_no_state():
    table = drawn(3, 7, N)
    f = lambda p, x: NETWORKS["residual"](p, p["table"][x])  # noqa: E731
    net, _ = jaxnn.as_network((f, params_of() | {"table": table}), np.ones((B, T), int))
    assert net.lengths == (0, BLOCKS, 0)


@pytest.mark.slow
def test_zero_branches_stop_no_gradient():
    """As Fixup draws them."""
    p = params_of()
    p["blocks"] = [q | {"b": 0 * q["b"]} for q in p["blocks"]]
    verdict = jaxnn.verdict(flow_of(NETWORKS["residual"], p, X)[1])
    assert verdict.zero is None
    assert verdict.decades == 0


@pytest.mark.slow
def test_cures_change_every_block():
    """By one factor, as `[*]` says."""

    def f(p, x):
        for q in p:
            x = x + branch(q, x)
        return x

    p = [{"a": 3 * q["a"], "b": 3 * q["b"]} for q in params_of()["blocks"]]
    net, own = jaxnn.as_network((f, p), X)
    loss = lambda out, ys: jnp.mean((out - ys) ** 2, (1, 2))  # noqa: E731
    cures = jaxnn.cures((net, own), X, 0 * X, loss=loss, seconds=0)
    closed = next(cure for cure in cures.tried if cure.kind == "branch scale")
    assert "`[*]['b']`" in closed.advice
    ratios = [
        float(jnp.linalg.norm(q["b"]) / np.linalg.norm(old["b"]))
        for q, old in zip(closed.params, p, strict=True)
    ]
    assert ratios == [ratios[0]] * BLOCKS
