"""Cutting a function into layers: what is found, and its norms against plain gradients."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from problems import chain_flow as gradient_flow
from problems import log_norm, refusals

import jaxnn
from jaxnn.arrays.rows import is_float

pytestmark = pytest.mark.usefixtures("light")

B, N = 3, 4


def together(logs):
    """Ln of the norm of several parts."""
    return 0.5 * np.logaddexp.reduce(2 * np.float64(logs))


def plain(f, params, xs):
    """A cotangent like the output, and plain gradients with it: of the float leaves, and of xs."""
    leaves, structure = jax.tree.flatten(params)
    floats = [v for v in leaves if is_float(v)]

    def out(floats, xs):
        given = iter(floats)
        whole = [next(given) if is_float(v) else v for v in leaves]
        return f(jax.tree.unflatten(structure, whole), xs)

    shape = jax.eval_shape(out, floats, xs)
    cotangent = np.cos(np.arange(np.prod(shape.shape))).reshape(shape.shape).astype(shape.dtype)
    gradients = jax.grad(lambda a, x: jnp.vdot(out(a, x), cotangent), argnums=(0, 1))
    return cotangent, jax.jit(gradients)(floats, xs)


def assert_is_plain(f, params, xs, *, each="batch", streams=16):
    """Δx is that of plain gradients, and so is Δθ, over all layers."""
    net, own = jaxnn.as_network((f, params), xs, each=each, streams=streams)
    whole = (lambda p, xs: jax.vmap(lambda x: f(p, x))(xs)) if each == "example" else f
    cotangent, (of_params, of_xs) = plain(whole, params, xs)
    flow = gradient_flow(net, own, xs, cotangent=cotangent)
    assert together(flow.log_theta) == pytest.approx(log_norm(of_params), abs=1e-5)
    assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), abs=1e-5)
    return net, flow


def drawn(rng, *shape):
    return rng.normal(size=shape) / 2


# Networks of plain JAX


def dense(p, z):
    return z @ p["theta"] + p["b"][None]


def hidden(theta, z):
    return jax.nn.relu(z) @ theta


def line(f):
    """The line that a function of one line returns in."""
    return f"test_cut.py:{f.__code__.co_firstlineno + 1}"


def test_where_a_network_is_cut(rng):
    """A product with its bias and scale; activations go up. Casts and masks go to their users."""

    @jax.jit
    def network(params, xs):
        stem, scale, blocks, head = params
        z = dense(stem, xs["a"] + xs["b"]) * scale[None]
        for p in blocks:
            mask = jnp.where(jnp.abs(p["theta"]) > 0.1, p["theta"], 0.0)
            z = jax.checkpoint(hidden)(mask, z) + p["b"][None]
        return {"logits": jnp.tanh(dense(head, jnp.tanh(z)))}

    def of(n, m):
        return {"theta": drawn(rng, n, m), "b": drawn(rng, m)}

    params = (of(3, N), drawn(rng, N), [of(N, N) for _ in range(3)], of(N, 2))
    xs = {"a": drawn(rng, B, 3), "b": drawn(rng, B, 3)}
    net, own = jaxnn.as_network((network, params), xs)
    assert net.lengths == (0, 3, 0)
    assert own[1].per_layer[0][0][1].shape == (3, N, N)
    assert net.names == ("[0].theta", *(f"[2][{i}].theta" for i in range(3)), "[3].theta")
    assert jaxnn.as_network((network, params), xs)[0] == net

    def logits(params, xs):
        return network(params, xs)["logits"]

    cotangent, gradients = plain(logits, params, xs)
    flow = gradient_flow(net, own, xs, cotangent={"logits": cotangent})
    of_layers = [gradients[0][:3], *(gradients[0][i : i + 2] for i in (3, 5, 7, 9))]
    np.testing.assert_allclose(flow.log_theta, [*map(log_norm, of_layers)], rtol=1e-11)
    assert float(flow.log_delta_input) == pytest.approx(log_norm(gradients[1]), rel=1e-11)
    z = (xs["a"] + xs["b"]) @ params[0]["theta"] + params[0]["b"]
    size = np.log(np.mean(np.square(z * params[1])))  # of the first state: behind bias and scale
    assert float(flow.log_mean_square[0]) == pytest.approx(size, rel=1e-11)
    first = net.kinds[0].links[0]
    more = {name: np.ones((B + 1, 3)) for name in xs}
    with pytest.raises(ValueError, match=r"xs: expected .* float64\[3, 3\].*; take the layers of"):
        first(jax.tree.map(jnp.asarray, own[0].arrays[0]), more)


def test_stacked_parameters(rng):
    """In a scan, downwards, with a matrix that all share; and taken apart by a Python loop."""

    def body(shared, z, p):
        return jnp.tanh(z) @ p @ shared

    def above(theta, z):
        for i in range(len(theta)):
            z = jnp.tanh(z) @ theta[i] + theta[i][:1]
        return z

    def network(params, z):
        stack, shared, theta = params
        z, _ = lax.scan(lambda z, p: (body(shared, z, p), None), z, stack * 1.0, reverse=True)
        return above(theta, jnp.sin(z))

    def apart(params, z):
        stack, uses, theta = params
        for p, shared in zip(stack[::-1], uses, strict=True):
            z = body(shared, z, p)
        return above(theta, jnp.sin(z))

    stack, shared, theta = drawn(rng, 5, N, N), drawn(rng, N, N), drawn(rng, 3, N, N)
    xs = drawn(rng, B, N)
    net, own = jaxnn.as_network((network, (stack, shared, theta)), xs)
    assert net.lengths == (5, 0, 2)
    assert net.names[4] == "[0][0]"
    cotangent, (gradients, delta_x) = plain(apart, (stack, np.stack([shared] * 5), theta), xs)
    flow = gradient_flow(net, own, xs, cotangent=cotangent)
    of_layers = [*zip(gradients[0][::-1], gradients[1], strict=True), *gradients[2]]
    np.testing.assert_allclose(flow.log_theta, [*map(log_norm, of_layers)], rtol=1e-11)
    assert float(flow.log_delta_input) == pytest.approx(log_norm(delta_x), rel=1e-11)


def two_products(z, stacks):
    """A layer with an entry of each of two stacks."""
    u, v = stacks
    return jnp.tanh(z) @ u + jnp.sin(z) @ v


def weight_norm(p):
    return p["u"] / jnp.linalg.norm(p["u"], axis=1, keepdims=True) * p["g"][:, None], p["v"]


PREPARED = {  # params -> two stacks, and whether the layers are kept apart on the way
    "as_they_are": (lambda p: (p["u"], p["v"]), True),
    "one_stack_twice": (lambda p: (p["u"], p["u"]), True),
    "scaled": (lambda p: (p["u"] * 16, p["v"] * p["s"] * jnp.tril(jnp.ones((1, N, N)))), True),
    "cast": (lambda p: (p["u"].astype(jnp.bfloat16).astype(float), p["v"]), True),
    "weight_norm": (weight_norm, True),
    "dequantised": (lambda p: (p["q"].astype(float) * p["g"][:, None], -(p["v"] ** 2)), True),
    "a_product": (lambda p: (p["u"] @ p["v"], p["v"] @ p["m"]), True),
    "turned": (lambda p: (jnp.swapaxes(p["u"], 1, 2) * 2, (p["v"] * 3)[::-1]), True),
    "sliced": (
        lambda p: ((p["u"] * 3)[1:4:2], p["v"][:2].reshape(2, N * N).reshape(2, N, N)),
        True,
    ),
    "tied": (
        lambda p: (jnp.broadcast_to(2 * p["m"], (5, N, N)), p["v"][jnp.array([0, 0, 1, 1, 2])] * 3),
        True,
    ),
    "joined": (lambda p: tuple(jnp.split(jnp.concatenate([p["u"], 2 * p["v"]], 2), 2, 2)), True),
    "a_list": (lambda p: (3 * jnp.stack([*p["list"]]), p["v"]), True),
    "less_their_mean": (lambda p: (p["u"] - jnp.mean(p["u"], 0, keepdims=True), p["v"]), False),
    "one_stack_in_two_ways": (lambda p: (p["u"][:-1], p["u"][1:] * 2), False),
    "summed_over_layers": (lambda p: (jnp.cumsum(p["u"], 0), jax.nn.relu(p["v"])), False),
}
QUICK = ("weight_norm",)
DOWNWARDS = ("scaled", *QUICK, "sliced", "less_their_mean")


@pytest.mark.parametrize(
    ("name", "downwards"),
    [
        *[pytest.param(name, False, marks=[] if name in QUICK else pytest.mark.slow)
          for name in PREPARED],
        *[pytest.param(name, True, marks=[] if name == "scaled" else pytest.mark.slow)
          for name in DOWNWARDS],
    ],
)  # fmt: skip
def test_delta_of_a_scan_belongs_to_what_was_handed_over(rng, name, downwards):
    """Each layer's own part of the gradient, pulled back through what was made of the stacks."""
    prepare, apart = PREPARED[name]
    p = {"u": drawn(rng, 5, N, N), "v": drawn(rng, 5, N, N), "m": drawn(rng, N, N)}
    p |= {"g": drawn(rng, 5, N), "s": np.float64(2.5), "list": [*drawn(rng, 5, N, N)]}
    whole = {"q": rng.integers(-9, 9, size=(5, N, N)).astype(np.int8)}
    xs, cotangent = drawn(rng, B, N), rng.normal(size=(B, N))

    def network(p, z):
        step = lambda z, stacks: (two_products(z, stacks), None)  # noqa: E731
        return lax.scan(step, z, prepare(p), reverse=downwards)[0]

    def looped(stacks):
        z = xs
        for i in range(len(stacks[0]))[:: -1 if downwards else 1]:
            z = two_products(z, [v[i] for v in stacks])
        return jnp.vdot(z, cotangent)

    net, own = jaxnn.as_network((network, p | whole), xs)
    assert apart == all(v.entry is None for layer in net.identities for v in layer)
    flow = gradient_flow(net, own, xs, cotangent=cotangent)

    @jax.jit
    def parts(p):
        stacks, pull = jax.vjp(lambda p: prepare(p | whole), p)
        gradients = jax.grad(looped)(stacks)
        alone = jnp.eye(len(stacks[0]))[:, :, None, None]
        return [pull(tuple(v * one for v in gradients))[0] for one in alone]

    logs = np.array([log_norm(part) for part in parts(p)])
    np.testing.assert_allclose(flow.log_theta, logs[:: -1 if downwards else 1], rtol=1e-10)


@pytest.mark.slow
def test_examples_on_another_axis(rng):
    """States have the examples first also where the program has features first, N of N examples."""

    def columns(params, xs):
        z = xs.T
        for p in params:
            z = p @ jnp.tanh(z)
        return z.T

    _, flow = assert_is_plain(columns, [*drawn(rng, 3, N, N)], drawn(rng, N, N))
    assert not flow.mixes.any()


@pytest.mark.parametrize("factor", [2.0, None])
def test_equal_are_layers_of_one_program_and_one_rule(rng, factor):
    """Constants and rules of the user's own count, which JAX does not print."""

    def scaled(by):
        @jax.custom_vjp
        def f(z):
            return z

        f.defvjp(lambda z: (z, None), lambda _, delta: (by * delta,))
        return f

    constants = [np.full((1, N), c) for c in (1.0, 1.0, factor or 1.0, 1.0)]
    rules = [scaled(by) for by in (1.0, 1.0, 1.0 if factor else 3.0, 1.0)]

    def network(params, z):
        for p, c, rule in zip(params, constants, rules, strict=True):
            z = rule(jnp.tanh(z) + c) @ p
        return z

    net, own = jaxnn.as_network((network, [drawn(rng, N, N) for _ in range(4)]), drawn(rng, B, N))
    assert net.lengths == (2, 0, 0)
    assert len(own) == 3


# What cannot be cut


def two_carries(p, z):
    def step(carry, p):
        z, total = carry
        z = jnp.tanh(z) @ p
        return (z, total + z), None

    return lax.scan(step, (z, jnp.zeros_like(z)), p)[0][1]


def per_step(p, z):
    return lax.scan(lambda z, p: (jnp.tanh(z) @ p, z), z, p)[1][-1]


def of_scalars(p, z):
    def step(carry, p):
        z, total = carry
        z = jnp.tanh(z) @ p
        return (z, total + jnp.sum(z)), None

    z, total = lax.scan(step, (z, 0.0), p)[0]
    return z * total


def u_net(p, z):
    def twice(i, z):
        return jnp.tanh(jnp.tanh(z) @ p[i]) @ p[i + 1]

    a = twice(0, z)
    b = twice(2, a)
    c = twice(4, b)
    return twice(8, twice(6, c + b) + a) @ p[10]


def shallow_u_net(p, z):
    a = z @ p[0]
    b = jnp.tanh(a) @ p[1]
    c = jnp.tanh(b) @ p[2]
    return jnp.tanh((c + b) @ p[3] + a) @ p[4]


def flattened(p, z):
    z = jnp.concatenate([z, z[:1]])
    return (jnp.tanh(z @ p[0]) @ p[1])[:B]


def complex_between(p, z):
    for theta in p:
        z = jnp.tanh(z.astype(complex) @ theta.astype(complex))
    return jnp.abs(z)


def complex_carry(p, z):
    def step(z, theta):
        return jnp.tanh(z @ theta.astype(complex)), None

    return jnp.abs(lax.scan(step, z.astype(complex), p)[0])


def complex_in_two_arrays(p, z):
    pair = z, z
    for theta in (*p, *p):
        out = jnp.tanh(jax.lax.complex(*pair) @ theta.astype(complex))
        pair = out.real, out.imag
    return pair[0]


def narrow_carry(p, z):
    def step(z, theta):
        return jnp.tanh(z.astype(float) @ theta).astype(jnp.float8_e4m3fn), None

    return lax.scan(step, z.astype(jnp.float8_e4m3fn), p)[0].astype(float)


def closed_over(p, z):
    return jnp.tanh(z @ np.ones((N, N))) + p[0, :1]


PARAMS, XS = np.ones((4, N, N)), np.ones((B, N))


def cut(f, p=PARAMS, xs=XS, **options):
    """Cut a function; a place in a file is said without its line."""
    try:
        return jaxnn.as_network((f, p), xs, **options)
    except ValueError as error:
        raise ValueError(re.sub(r"\.py:\d+", ".py:…", str(error))) from None


REFUSED = """
cut(flattened)
cut(complex_between)
cut(complex_carry)
cut(narrow_carry)
cut(of_scalars)
cut(closed_over)
cut(lambda p, z: p)
cut(lambda p, z: jnp.argmax(z @ p[0], 1))
cut(lambda p, z: ())
jaxnn.as_network(([(dense, PARAMS)], PARAMS), XS)
cut(dense, each="row")
cut(dense, xs=(XS, XS[1:]))
cut(u_net, np.ones((11, N, N)), streams=1)
cut(shallow_u_net, np.ones((11, N, N)), streams=1)
cut(two_carries, np.ones((11, N, N)), streams=1)
cut(per_step, np.ones((11, N, N)), streams=1)
"""


def test_what_cannot_be_cut_says_what_to_hand_over(snapshot):
    assert refusals(REFUSED, globals()) == snapshot


def test_one_product_is_one_layer(rng):
    p, xs = drawn(rng, 4, N, N), drawn(rng, B, N)
    flow = jaxnn.gradient_flow((lambda p, z: z @ p[0], p), xs, cotangent=jnp.ones((B, N)))
    assert len(flow.names) == 1
    expected = np.log(np.linalg.norm(xs.sum(0)) * N**0.5)
    np.testing.assert_allclose(flow.log_theta, [expected], rtol=1e-5)


def test_a_complex_state_goes_as_two_arrays(rng):
    """The way out that its refusal names."""
    net, _ = jaxnn.as_network((complex_in_two_arrays, drawn(rng, 4, N, N)), drawn(rng, B, N))
    assert len(net.names) == 8


@pytest.mark.slow
def test_what_is_carried_for_all_examples_is_measured_as_a_whole(rng):
    """The way out that its refusal names, next to plain gradients of each step."""
    p, xs, cotangent = drawn(rng, 4, N, N), drawn(rng, B, N), drawn(rng, B, N)
    net, own = jaxnn.as_network((of_scalars, p), xs, each="whole")
    flow = jaxnn.gradient_flow((net, own), xs, cotangent=cotangent)
    assert net.lengths == (0, 4, 0)
    of_p = jax.grad(lambda p: jnp.vdot(of_scalars(p, xs), cotangent))(p)
    expected = [np.linalg.norm(v) for v in of_p]
    np.testing.assert_allclose(np.exp(flow.log_theta[:4]), expected, rtol=1e-10)


WITH_STREAMS = {u_net: 10, shallow_u_net: 5, two_carries: 11, per_step: 12}  # and their layers


@pytest.mark.parametrize(
    "f",
    [f if f is shallow_u_net else pytest.param(f, marks=pytest.mark.slow) for f in WITH_STREAMS],
)
def test_what_takes_two_streams_is_cut_with_them_and_right(rng, f):
    net, flow = assert_is_plain(f, drawn(rng, 11, N, N), drawn(rng, B, N), streams=2)
    assert len(net.names) == WITH_STREAMS[f]
    assert flow.streams is not None


def test_a_branch_of_three_products_is_a_layer(rng):
    """A residual block, also where it is more than half of its network."""

    def network(p, z):
        z = z @ p[0]
        return jnp.tanh(z + jnp.tanh(jnp.tanh(z @ p[1]) @ p[2]) @ p[3]) @ p[0]

    net, _ = jaxnn.as_network((network, drawn(rng, 4, N, N)), drawn(rng, B, N))
    assert net.lengths == (0, 0, 0)


def test_what_takes_one_example_is_told_to_say_so(rng):
    """A module of one example ends in the shapes of its own product otherwise."""
    theta, xs = drawn(rng, 2, N, N), drawn(rng, B, N)
    one = lambda p, x: jnp.tanh(p[0] @ x) @ p[1].T  # noqa: E731
    hint = (
        r"expected a function of a batch, float64\[3, 4\], got .*say each='example' .*dot_general"
    )
    with pytest.raises(ValueError, match=f"model: {hint}"):
        jaxnn.as_network((one, theta), xs)
    net, params = jaxnn.as_network([(lambda p, x: p @ x, theta[0])])
    with pytest.raises(ValueError, match=rf"layer 1 \(<lambda>\): {hint}"):
        gradient_flow(net, params, xs, cotangent=xs)
    with pytest.raises(TypeError, match="dot_general requires"):  # neither a batch nor an example
        jaxnn.as_network((one, drawn(rng, 2, N + 1, N + 1)), xs)


# A language model


@pytest.mark.slow
def test_a_language_model_with_a_tied_embedding(rng):
    """Tokens, a causal mask, and the embedding again as the head: Δθ of each of its uses."""
    tokens = rng.integers(0, 7, size=(B, 5))

    def attended(p, z):
        mask = jnp.tril(jnp.ones((z.shape[1],) * 2, bool))[None]
        h = z - jnp.mean(z, axis=-1, keepdims=True)
        q, k, v = jnp.split(h @ p["qkv"], 3, axis=-1)
        scores = jnp.where(mask, q @ jnp.swapaxes(k, 1, 2), -1e9)
        return z + jax.nn.softmax(scores) @ v @ p["out"]

    def fed(p, z):
        return z + jax.nn.gelu(z @ p["up"]) @ p["down"]

    def model(params, tokens):
        z = params["table"][tokens] + params["place"][None]
        for p in params["blocks"]:
            z = fed(p, attended(p, z))
        return z @ params["table"].T

    shapes = {"qkv": (N, 3 * N), "out": (N, N), "up": (N, 8), "down": (8, N)}
    blocks = [{k: drawn(rng, *shape) for k, shape in shapes.items()} for _ in range(3)]
    params = {"table": drawn(rng, 7, N), "place": drawn(rng, 5, N), "blocks": blocks}
    net, own = jaxnn.as_network((model, params), tokens)
    assert net.lengths == (0, 3, 0)
    assert [len(kind.links) for kind in net.kinds] == [1, 2, 1]

    def apart(tables, params):
        z = tables[0][tokens] + params["place"][None]
        for p in params["blocks"]:
            z = fed(p, attended(p, z))
        return jnp.vdot(z @ tables[1].T, cotangent)

    cotangent = rng.normal(size=(B, 5, 7))
    of_tables, rest = jax.grad(apart, argnums=(0, 1))([params["table"]] * 2, params)
    of_layers = [
        [of_tables[0], rest["place"]],
        *([p[a], p[b]] for p in rest["blocks"] for a, b in (("qkv", "out"), ("up", "down"))),
        of_tables[1],
    ]
    flow = gradient_flow(net, own, tokens, cotangent=cotangent, memory="sqrt")
    np.testing.assert_allclose(flow.log_theta, [*map(log_norm, of_layers)], rtol=1e-11)
    assert np.isnan(flow.log_delta_input)


# A cut that is kept


def counting(calls, slope):
    """A function that is written anew for each network, and notes when it is traced."""

    def f(thetas, xs):
        calls.append(xs.shape)
        for theta in thetas:
            xs = slope * jnp.tanh(xs) @ theta
        return xs

    return f


def test_a_function_that_is_cut_again_is_traced_once_and_a_changed_global_is_seen():
    calls, thetas, xs = [], np.full((3, N, N), 0.3, np.float32), np.ones((B, N), np.float32)
    first, _ = jaxnn.as_network((counting(calls, 0.625), thetas), xs)
    calls.clear()
    again, params = jaxnn.as_network((counting(calls, 0.625), 2 * thetas), xs)
    assert len(calls) == 1
    assert again.kinds == first.kinds
    np.testing.assert_array_equal(again.user(params), 2 * thetas)
    calls.clear()
    other, _ = jaxnn.as_network((counting(calls, 0.375), thetas), xs)
    assert len(calls) > 1
    assert other.kinds != first.kinds


def test_equal_functions_on_other_lines_have_names_of_their_own():
    thetas, xs = np.stack([np.eye(N, dtype=np.float32)] * 2), np.ones((B, N), np.float32)

    def below(thetas, xs):
        return lax.scan(lambda z, theta: (jnp.tanh(z @ theta), None), xs, thetas)[0]

    def above(thetas, xs):
        return lax.scan(lambda z, theta: (jnp.tanh(z @ theta), None), xs, thetas)[0]

    def in_scope(thetas, xs):
        with jax.named_scope("one"):
            return below(thetas, xs)

    names = [jaxnn.as_network((f, thetas), xs)[0].names for f in (below, above, in_scope)]
    assert len({*names}) == 3
