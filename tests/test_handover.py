"""Parameters in and out: the user's own pytree, the layers of a chain, and batches of any size."""

from collections import OrderedDict

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax, monitoring
from problems import chain_flow as gradient_flow
from problems import log_norm, mostly_slow, refusals

import jaxnn
from jaxnn import as_network

pytestmark = pytest.mark.usefixtures("light")

B, N = 3, 4


def drawn(rng, *shape):
    return rng.normal(size=shape) / 2


def layer(p, z):
    return jnp.tanh(z) @ p["w"] + p["b"][None]


def of_layer(rng):
    return {"w": drawn(rng, N, N), "b": drawn(rng, N)}


# A function with blocks in a list and in a stack, a table used twice, and what no layer uses


def network(p, tokens):
    z = p["table"][tokens]
    for block in p["blocks"]:
        z = layer(block, z)
    for w in p["stack"]:
        z = jnp.sin(z) @ w
    return jnp.tanh(z) @ p["table"].T


def made(rng, dtype=np.float64):
    p = {
        "table": drawn(rng, 7, N),
        "blocks": [of_layer(rng) for _ in range(3)],
        "stack": drawn(rng, 4, N, N),
        "name": "mine",
        "unused": drawn(rng, 2),
        "step": np.int32(3),
    }
    return jax.tree.map(lambda v: v.astype(dtype) if isinstance(v, np.ndarray) else v, p)


@pytest.fixture
def tokens(rng):
    return rng.integers(0, 7, size=B)


def other(rng, tree):
    """The same pytree with other numbers of a float type."""
    return jax.tree.map(
        lambda v: drawn(rng, *v.shape).astype(v.dtype) if isinstance(v, np.ndarray) else v, tree
    )


@pytest.mark.slow
def test_the_flow_of_other_parameters_is_theirs(rng, tokens):
    """Δθ of every layer, of trained parameters in the chain cut with those at the start."""
    net, params = as_network((network, made(rng)), tokens)
    assert [k for k in net.lengths if k] == [3, 4]
    trained = other(rng, made(rng))
    cotangent = rng.normal(size=(B, 7))
    flow = gradient_flow(net, net.params(trained), tokens, cotangent=cotangent)

    def top(p, tables):
        z = tables[0][tokens]
        for block in p["blocks"]:
            z = layer(block, z)
        for w in p["stack"]:
            z = jnp.sin(z) @ w
        return jnp.vdot(jnp.tanh(z) @ tables[1].T, cotangent)

    arrays = {name: trained[name] for name in ("blocks", "stack")}
    of_arrays, of_tables = jax.grad(top, argnums=(0, 1))(arrays, [trained["table"]] * 2)
    parts = [of_tables[0], *of_arrays["blocks"], *of_arrays["stack"], of_tables[1]]
    np.testing.assert_allclose(flow.log_theta, [*map(log_norm, parts)], rtol=1e-11)
    assert jax.tree.structure(net.params(trained)) == jax.tree.structure(params)


def test_paths_of_a_dict(rng, tokens):
    net, _ = as_network((network, made(rng)), tokens)
    blocks = [(f"['blocks'][{i}]['b']", f"['blocks'][{i}]['w']") for i in range(3)]
    stack = [(f"['stack'][{i}]",) for i in range(4)]
    assert net.paths == (("['table']",), *blocks, *stack, ("['table']",))
    assert len(net.paths) == len(net.names)


def test_the_user_s_pytree_comes_back(rng, tokens):
    """The table once, the stack as a stack, and what no layer has from `like`."""
    start = made(rng)
    net, params = as_network((network, start), tokens)
    trained = other(rng, start)
    assert net.user(net.params(trained), like=trained)["name"] == "mine"
    chex.assert_trees_all_equal(
        *(
            p | {"name": 0}
            for p in (
                net.user(net.params(trained), like=start | {"unused": trained["unused"]}),
                trained,
            )
        )
    )
    with pytest.raises(ValueError, match=r"^like: expected the pytree .* no layer has \['step'\]"):
        net.user(params)
    with pytest.raises(
        ValueError, match="params: expected the chain's parameters, of the structure"
    ):
        net.user(params[1:], like=start)


def test_copies_that_differ(rng, tokens):
    """They are an error, and nan where no number is known; equal ones are not."""
    start = made(rng)
    net, params = as_network((network, start), tokens)
    first, *rest = params
    apart = (jax.tree.map(lambda v: v + (np.arange(7) == 2)[:, None], first), *rest)
    with pytest.raises(ValueError, match=r"params: expected equal copies of \['table'\]"):
        net.user(apart, like=start)
    back = jax.jit(lambda params: net.user(params, like=start)["table"])
    np.testing.assert_array_equal(back(params), start["table"])
    assert np.isnan(back(apart)).any(axis=1).tolist() == [i == 2 for i in range(7)]


@pytest.mark.parametrize("make", ["stack", "rows"])
def test_copies_of_rows_that_differ(rng, make):
    """Of a stack whose entries are used twice, in the loop and in a gather of the scan."""
    order = np.array([0, 1, 1, 0])

    def f(p, z):
        if make == "rows":
            for i in order:
                z = jnp.tanh(z) @ p[i]
            return z
        return lax.scan(lambda z, w: (jnp.tanh(z) @ w, None), z, p[order])[0]

    p = drawn(rng, 2, N, N)
    net, params = as_network((f, p), drawn(rng, B, N))
    np.testing.assert_array_equal(net.user(params), p)
    numbers = jax.tree.leaves(params)
    assert sum(v.size for v in numbers) == 4 * N * N
    apart = jax.tree.map(lambda v: v + np.eye(1, v.size).reshape(v.shape), params)
    with pytest.raises(ValueError, match="params: expected equal copies of an array in the layers"):
        net.user(apart)
    assert np.isnan(jax.jit(net.user)(apart)).any()


# What a function makes of its parameters beforehand


def scanned(stacks, z):
    def step(z, stack):
        return jnp.tanh(z) @ stack, None

    return lax.scan(step, z, stacks)[0]


MOVED = {  # params -> a stack; the paths of its second layer's arrays
    "a_list": (lambda p: jnp.stack(p["list"]), "['list'][1]"),
    "a_scaled_list": (lambda p: 3 * jnp.stack(p["list"]), "['list'][1]"),
    "another_axis": (lambda p: jnp.moveaxis(p["u"], 1, 0), "['u'][:, 1]"),
    "flat": (lambda p: p["flat"].reshape(N, N, N), "['flat'][4:8]"),
    "joined": (lambda p: jnp.concatenate([p["u"], p["v"]], 0)[1::2], "['u'][3]"),
    "beside": (
        lambda p: jnp.concatenate([p["u"][:, :2], p["v"][:, 2:]], 1),
        "['u'][1, :2] + ['v'][1, 2:]",
    ),
    "upside_down": (lambda p: p["u"][::-1] * 2, "['u'][2]"),
    "again": (lambda p: p["u"][jnp.array([3, 2, 2, 0])], "['u'][2]"),
}


@mostly_slow("name", MOVED, "a_list")
def test_parameters_that_are_moved(rng, name):
    """Both ways; what no layer has is that of `like`."""
    make, path = MOVED[name]
    p = {"u": drawn(rng, N, N, N), "v": drawn(rng, N, N, N), "flat": drawn(rng, N * N, N)}
    p["list"] = [*drawn(rng, N, N, N)]
    xs, cotangent = drawn(rng, B, N), drawn(rng, B, N)

    def f(p, z):
        return scanned(make(p), z)

    net, _ = as_network((f, p), xs)
    assert net.paths[1] == (path,)
    trained, start = other(rng, p), jax.tree.map(np.zeros_like, p)
    params = net.params(trained)
    chex.assert_trees_all_equal(params, as_network((f, trained), xs)[1])
    delta = jax.jit(jax.grad(lambda p: jnp.vdot(f(p, xs), cotangent)))(trained)
    used = jax.tree.map(lambda v: v != 0, delta)
    back = net.user(params, like=start)
    chex.assert_trees_all_equal(jax.tree.map(np.where, used, trained, back), back)
    assert (sum(np.sum(v) for v in jax.tree.leaves(used))) > 0
    chex.assert_trees_all_equal(*(jax.tree.map(np.where, used, v, start) for v in (trained, back)))
    with pytest.raises(ValueError, match="like: expected the pytree"):
        net.user(params)


def test_a_stack_is_used_as_it_is(rng):
    """In a run of one's own and in a scan; a list is copied."""
    stack, z = jnp.asarray(drawn(rng, 3, N, N)), drawn(rng, B, N)
    layer = lambda w, z: jnp.tanh(z) @ w  # noqa: E731
    _, run = jaxnn.as_network([jaxnn.Run(layer, stack, 3)])
    _, scan = as_network(
        (lambda p, z: lax.scan(lambda z, w: (layer(w, z), None), z, p)[0], stack), z
    )
    assert all(v is stack for params in (run, scan) for v in jax.tree.leaves(params))


def test_a_scan_downwards(rng):
    """Its first layer has the last entry, also of a stack that is moved."""
    p, xs = drawn(rng, 3, N, N), drawn(rng, B, N)
    for turned in (lambda p: p, lambda p: p.reshape(3, N, N).transpose(0, 2, 1)):
        f = lambda p, z, turned=turned: lax.scan(  # noqa: E731
            lambda z, w: (jnp.tanh(z) @ w, None), z, turned(p), reverse=True
        )[0]
        net, params = as_network((f, p), xs)
        assert net.paths == (("[2]",), ("[1]",), ("[0]",))
        chex.assert_trees_all_equal(net.user(params), p)


def test_rows_that_data_tell(rng):
    """Which rows a layer has is in the user's integers: they are taken anew, and not given back."""
    p = {"order": np.array([2, 0]), "w": drawn(rng, 3, N, N)}
    net, params = as_network((lambda p, z: scanned(p["w"][p["order"]], z), p), drawn(rng, B, N))
    turned = net.params(p | {"order": np.array([0, 1])})
    assert jax.tree.leaves(turned)[0].tolist() == p["w"][:2].tolist()
    assert net.paths == (("",), ("",))
    with pytest.raises(ValueError, match=r"like: .* no layer has \['order'\]"):
        net.user(params)


# Within transformations, and without compiling


@pytest.fixture
def programs():
    """The programs compiled while a test runs."""
    events = []

    def note(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    monitoring.register_event_duration_secs_listener(note)
    yield events
    monitoring.unregister_event_duration_listener(note)


def test_a_second_flow_compiles_nothing_and_cuts_nothing(rng, tokens, programs):
    calls = []

    def f(p, tokens):
        calls.append(1)
        p = p | {"stack": lax.optimization_barrier(p["stack"])}
        z = scanned(jnp.stack([q["w"] for q in p["blocks"]]), network(p, tokens)[:, :N])
        return z @ p["table"].T

    def handed(p):
        return jax.tree.map(lambda v: jnp.asarray(v) if isinstance(v, np.ndarray) else v, p)

    start, trained = handed(made(rng)), handed(other(rng, made(rng)))
    trained, cotangent = trained | {"step": start["step"]}, rng.normal(size=(B, 7))
    net, params = as_network((f, start), tokens)
    first = gradient_flow(net, params, tokens, cotangent=cotangent)
    assert programs
    programs.clear()
    calls.clear()
    second = gradient_flow(net, net.params(trained), tokens, cotangent=cotangent)
    assert (not programs, not calls) == (True, True)
    assert not np.allclose(first.log_theta, second.log_theta)


def test_within_grad_jit_and_vmap(rng, tokens):
    start = made(rng)
    net, _ = as_network((network, start), tokens)

    def arrays(p):
        return {name: p[name] for name in ("table", "blocks", "stack")}

    def squares(p):
        return sum(jnp.sum(v**2) for v in jax.tree.leaves(net.params(start | p)))

    p = arrays(other(rng, start))
    gradient = jax.jit(jax.grad(squares))(p)
    uses = {"table": 2, "blocks": 1, "stack": 1}
    for name, count in uses.items():
        expected = jax.tree.map(lambda v, count=count: 2 * count * v, p[name])
        chex.assert_trees_all_close(gradient[name], expected)

    seeds = [arrays(other(rng, start)) for _ in range(2)]
    stacked = jax.tree.map(lambda *v: np.stack(v), *seeds)
    both = jax.vmap(lambda p: net.params(start | p), out_axes=1)(stacked)
    of_seeds = [net.params(start | p) for p in seeds]
    for v, *apart in zip(*map(jax.tree.leaves, (both, *of_seeds)), strict=True):
        np.testing.assert_array_equal(v, np.stack(apart, axis=1))
    back = jax.vmap(lambda params: arrays(net.user(params, like=start)), in_axes=1)(both)
    chex.assert_trees_all_equal(back, stacked)


# Layers


@pytest.mark.slow
def test_layers_of_flax(rng, users_jax):
    class Block(nnx.Module):
        def __init__(self, rngs):
            self.dense, self.norm = nnx.Linear(N, N, rngs=rngs), nnx.BatchNorm(N, rngs=rngs)

        def __call__(self, z):
            return self.norm(self.dense(z))

    def blocks(seed):
        rngs = nnx.Rngs(seed)
        return nnx.List([Block(rngs) for _ in range(3)])

    net, _ = as_network(blocks(0))
    paths = [path.replace(".value", "") for path in net.paths[2]]  # as older versions print it
    dense, norm = ("bias", "kernel"), ("bias", "mean", "scale", "var")
    assert paths == [*(f"[2].dense.{v}" for v in dense), *(f"[2].norm.{v}" for v in norm)]
    trained = blocks(1)
    kernels = [jax.tree.leaves(net.params(trained))[1], [b.dense.kernel[...] for b in trained]]
    np.testing.assert_array_equal(*map(np.asarray, kernels))
    back = net.user(net.params(trained))
    xs = np.float32(drawn(rng, B, N))
    np.testing.assert_array_equal(back[1](xs), trained[1](xs))

    of_jit = nnx.jit(lambda model: net.params(model))(trained)
    chex.assert_trees_all_equal(of_jit, net.params(trained))


def test_pairs_runs_and_names(rng):
    """A function that holds arrays is a function; keys of a dict may come in another order."""

    def step(p, z, x=None):
        return jnp.tanh(z) @ p["w"] if x is None else jnp.tanh(z) @ p["w"] + x

    module = eqx.nn.Linear(N, N, key=jax.random.key(0), dtype=jnp.float64)

    def called(p, z):
        return jax.vmap(module)(z) @ p

    stack = {"w": drawn(rng, 3, N, N)}
    layers = {
        "stem": [jax.tree_util.Partial(called), drawn(rng, N, N)],
        "blocks": jaxnn.Run(step, stack, 3, xs=drawn(rng, 3, B, N)),
        "act": jnp.tanh,
        "tied": jaxnn.Run(step, of_layer(rng), 2, tied=True),
        "head": (step, of_layer(rng)),
    }
    net, params = as_network(layers)
    assert net.names[1:4] == ("blocks",) * 3
    assert net.paths == (
        ("['stem'][1]",),
        *((f"['blocks'].params['w'][{j}]", f"['blocks'].xs[{j}]") for j in range(3)),
        (),
        *[("['tied'].params['b']", "['tied'].params['w']")] * 2,
        ("['head'][1]['b']", "['head'][1]['w']"),
    )
    turned = OrderedDict(reversed(layers.items()))
    chex.assert_trees_all_equal(net.params(turned), params)
    back = net.user(params)
    assert [*back] == [*layers]
    assert isinstance(back["stem"], list)
    assert back["stem"][0] is layers["stem"][0]
    assert isinstance(back["tied"], jaxnn.Run)
    chex.assert_trees_all_equal(net.params(back), params)
    chex.assert_trees_all_equal(back["tied"].params, layers["tied"].params)


def test_keys_and_numbers_among_arrays(rng):
    """Typed keys and NumPy's numbers are arrays too, whatever becomes of their dtype."""

    def noisy(p, z):
        return (z + jax.random.normal(p["key"], z.shape)) @ p["w"] * p["scale"]

    layers = [
        (noisy, {"key": jax.random.key(i), "w": drawn(rng, N, N), "scale": np.float64(i + 1)})
        for i in range(3)
    ]
    net, params = as_network(layers)
    assert net.lengths == (3,)
    back = net.user(params)
    assert (back[2][1]["key"] == layers[2][1]["key"]).item()
    assert float(back[2][1]["scale"]) == 3
    with jax.enable_x64(False):  # NumPy's float64 is float32 to JAX
        net, params = as_network(layers)
        chex.assert_trees_all_equal_dtypes(
            net.params(jax.tree.map(jnp.asarray, [p for _, p in layers]) and net.user(params)),
            net.params(net.user(params)),
        )


W, BIAS, XS = np.ones((N, N)), np.zeros(N), np.ones((B, N))
LAYERS = [(layer, {"w": W, "b": BIAS}), (layer, {"w": 2 * W, "b": BIAS})]
FIRST, (_, SECOND) = LAYERS
NARROW = [FIRST, (layer, SECOND | {"w": W.astype(np.float32)})]
NAMED = {"a": FIRST}


def handed(changed, layers=LAYERS):
    """Hand other layers to a network, as new parameters and as the form of its own."""
    net, params = as_network(layers)
    both = refusals("net.params(changed)\nnet.user(params, like=changed)", locals())
    one, other = both.values()
    assert other == one.replace("params: ", "like: ", 1)
    raise ValueError(one.partition(": ")[2])


REFUSED = """
handed(LAYERS[:-1])
handed([*LAYERS, FIRST])
handed([FIRST, (layer, SECOND | {"c": np.ones(2)})])
handed([FIRST, (layer, SECOND | {"b": 3.0})])
handed([FIRST, (jnp.dot, SECOND)])
handed([FIRST, (layer, SECOND | {"w": np.ones((N, 2))})])
handed(NARROW)
handed([FIRST, [layer, SECOND]])
handed({"a": FIRST, "b": LAYERS[1]})
handed(3)
handed({"b": FIRST}, NAMED)
handed([FIRST], NAMED)
"""


def test_what_does_not_fit_is_named(snapshot):
    assert refusals(REFUSED, globals()) == snapshot


# Batches


@pytest.mark.slow
def test_a_function_takes_any_batch(rng, tokens):
    """Traced again for other shapes and dtypes, once each; Δ is that of plain gradients."""
    calls = []

    def f(p, batch):
        calls.append(batch)
        mask = jnp.tril(jnp.ones((batch.shape[1],) * 2))
        z = batch.astype(float) @ p["stem"]
        z = lax.scan(lambda z, w: (mask[None] @ jnp.tanh(z) @ w, None), z, p["stack"])[0]
        return jnp.mean(z, axis=1) @ p["head"]

    p = {"stem": drawn(rng, 2, N), "stack": drawn(rng, 3, N, N), "head": drawn(rng, N, 2)}
    net, params = as_network((f, p), drawn(rng, B, 5, 2))
    for shape, dtype in (((7, 5, 2), float), ((1, 4, 2), np.float32)):
        xs, cotangent = drawn(rng, *shape).astype(dtype), rng.normal(size=(shape[0], 2))
        calls.clear()
        flow = gradient_flow(net, params, xs, cotangent=cotangent)
        assert calls
        calls.clear()
        again = gradient_flow(net, params, 2 * xs / 2, cotangent=cotangent)
        assert not calls
        top = lambda p, xs, c=cotangent: jnp.vdot(f(p, xs), c)  # noqa: E731
        delta, of_xs = jax.jit(jax.grad(top, argnums=(0, 1)))(p, xs)
        parts = [delta["stem"], *delta["stack"], delta["head"]]
        np.testing.assert_allclose(flow.log_theta, [*map(log_norm, parts)], rtol=1e-10)
        chex.assert_trees_all_equal(again, flow)
        tolerance = 1e-6 if dtype == np.float32 else 1e-11
        assert float(flow.log_delta_input) == pytest.approx(log_norm(of_xs), rel=tolerance)
        assert flow.log_delta_example.shape == (5, shape[0])
        assert flow.names == net.names


def fixed(p, z):
    z = z.reshape(B, N)
    return jnp.tanh(jnp.tanh(z) @ p[0]) @ p[1]


def deeper(p, z):
    for w in p if len(z) == B else (*p, p[0]):
        z = jnp.tanh(z) @ w
    return z


def masked(p, z):
    mask = jnp.cos(jnp.arange(len(z), dtype=float))[:, None]
    return lax.scan(lambda z, w: (jnp.tanh(z) @ w * mask, None), z, p)[0]


def seven(f):
    """Measure a function cut with three examples with seven."""
    net, params = as_network((f, np.ones((2, N, N))), XS)
    gradient_flow(net, params, np.ones((7, N)), cotangent=np.ones((7, N)))


@pytest.mark.parametrize("f", [fixed, deeper])
def test_a_batch_that_a_function_does_not_take(f, snapshot):
    (said,) = refusals(f"seven({f.__name__})", globals()).values()
    assert said.partition("cannot reshape")[0] == snapshot  # which JAX goes on with


@pytest.mark.slow
def test_data_of_the_size_of_the_batch(rng):
    """A mask that depends on the number of examples alone belongs to no parameters."""
    p, xs = drawn(rng, 3, N, N), drawn(rng, 7, N)
    net, params = as_network((masked, p), drawn(rng, B, N))
    flow = gradient_flow(net, params, xs, cotangent=np.ones((7, N)))
    delta = jax.grad(lambda p: jnp.sum(masked(p, xs)))(p)
    np.testing.assert_allclose(flow.log_theta, [*map(log_norm, delta)], rtol=1e-11)
