"""On a mesh: types while tracing, without any device, and the numbers of eight devices."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from problems import mostly_slow

import jaxnn
from jaxnn.flow.measure.flow_of_net import flow_of_net

ROOT = Path(__file__).parent.parent
SINGLE = jaxnn.Network((3, 4, 2), "tanh", "multiclass")
RUN = jaxnn.Network((3, 4, 4, 4, 1), "relu", "binary")
MIXED = jaxnn.Network(
    RUN.sizes,
    ["relu", "tanh", "relu"],
    "binary",
    hidden=[jaxnn.blocks.Dense(), jaxnn.blocks.PostNorm()],
)
each_network = pytest.mark.parametrize(
    "net",
    [
        pytest.param(SINGLE, id="single", marks=pytest.mark.slow),
        pytest.param(RUN, id="run"),
        pytest.param(MIXED, id="mixed", marks=pytest.mark.slow),
    ],
)
AXES = ("examples", "networks")
CALLS = {
    "backprop": jaxnn.backprop,
    "mean_loss": jax.value_and_grad(jaxnn.passes.mean_loss, argnums=(1, 2)),
    "loss": lambda net, params, xs, ys: jax.grad(
        lambda params: jnp.mean(
            jax.vmap(jaxnn.passes.loss, (None, None, 0, 0))(net, params, xs, ys)
        )
    )(params),
    "gradient_flow": flow_of_net,
    "gradient_flow with less memory": partial(flow_of_net, memory="sqrt"),
    "evaluate": jaxnn.train.evaluate,
    "spectrum": lambda net, params, xs, ys: jaxnn.spectrum((net, params), xs),
}


def arrays(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array)]


def mapped(f, params_spread):
    """The function on each device of a mesh of 4 × 2; the result of each is checked and dropped."""

    def on_device(params, xs, ys):
        return [jnp.ravel(leaf)[:1] for leaf in arrays(f(params, xs, ys))]

    mesh = AbstractMesh((4, 2), AXES, axis_types=(AxisType.Auto,) * 2)
    specs = (P("networks") if params_spread else P(), P("examples"), P("examples"))
    return jax.shard_map(on_device, mesh=mesh, in_specs=specs, out_specs=P(AXES))


@mostly_slow("params_spread", [False, True], True)
@mostly_slow("call", CALLS, "gradient_flow")
@each_network
def test_shard_map_with_its_checks(users_jax, net, call, params_spread):
    params = jax.eval_shape(partial(jaxnn.init, net, stacked=True), jax.random.key(0))
    f = partial(CALLS[call], net)
    if params_spread:
        params = jax.tree.map(lambda v: jax.ShapeDtypeStruct((2, *v.shape), v.dtype), params)
        f = lambda params, *data: CALLS[call](net, jax.tree.map(lambda v: v[0], params), *data)  # noqa: E731
    shapes = jax.eval_shape(mapped(f, params_spread), params, jnp.zeros((8, 3)), jnp.zeros(8, int))
    assert {v.shape for v in shapes} == {(8,)}


def test_the_gradient_of_shared_parameters_is_shared(users_jax):
    """Whatever JAX says of the type of a parameter holds for its gradient."""

    def f(params, xs, ys):
        gradient = jax.grad(jaxnn.passes.mean_loss, argnums=1)(RUN, params, xs, ys)
        for leaf, like in zip(arrays(gradient), arrays(params), strict=True):
            assert jax.typeof(leaf) == jax.typeof(like)
        return gradient

    params = jax.eval_shape(partial(jaxnn.init, RUN, stacked=True), jax.random.key(0))
    jax.eval_shape(mapped(f, False), params, jnp.zeros((8, 3)), jnp.zeros(8, int))


@mostly_slow("call", ["mean_loss", "gradient_flow with less memory", "evaluate"], "evaluate")
@each_network
def test_explicit_axes(users_jax, net, call):
    mesh = AbstractMesh((4,), ("examples",), axis_types=(AxisType.Explicit,))
    params = jax.eval_shape(partial(jaxnn.init, net, stacked=True), jax.random.key(0))
    spread = NamedSharding(mesh, P("examples"))
    xs, ys = (
        jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=spread)
        for v in (jnp.zeros((8, 3)), jnp.zeros(8, int))
    )
    with jax.sharding.use_abstract_mesh(mesh):
        assert jax.eval_shape(lambda *args: arrays(CALLS[call](net, *args)), params, xs, ys)


# Chains, networks whose parameters are spread, and training


MESH = AbstractMesh((4, 2), ("data", "model"), axis_types=(AxisType.Explicit,) * 2)
COLUMNS, ROWS = P(None, "model"), P("model")


def typed(shape, *spec, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(MESH, P(*spec)))


def residual(p, x):
    inner = jnp.tanh(jnp.einsum("bi,ij->bj", x, p["in"], out_sharding=P("data", "model")))
    return x + jnp.einsum("bi,ij->bj", inner, p["out"], out_sharding=P("data"))


def in_a_loop(blocks, x):
    for p in blocks:
        x = residual(p, x)
    return x


def in_a_scan(blocks, x):
    return jax.lax.scan(lambda x, p: (residual(p, x), None), x, blocks)[0]


BLOCK = {"in": typed((4, 8), *COLUMNS), "out": typed((8, 4), *ROWS)}
LISTED = [BLOCK] * 3
STACKED = {"in": typed((3, 4, 8), None, *COLUMNS), "out": typed((3, 8, 4), None, *ROWS)}
MADE = {
    "layers": (lambda p, xs: jaxnn.as_network([(residual, q) for q in p]), LISTED),
    "function": (lambda p, xs: jaxnn.as_network((in_a_loop, p), xs), LISTED),
    "scan": (lambda p, xs: jaxnn.as_network((in_a_scan, p), xs), STACKED),
}


def flow_of_all(made, xs, ys, **options):
    loss = lambda out, ys: jnp.mean(jnp.square(out - ys))  # noqa: E731
    return jaxnn.gradient_flow(made, xs, ys, loss=loss, **options)


@pytest.mark.parametrize(
    "made", [pytest.param("layers", marks=pytest.mark.slow), "function", "scan"]
)
def test_a_chain_on_explicit_axes(users_jax, made):
    make, params = MADE[made]
    data = typed((8, 4), "data")

    def f(params, xs, ys):
        net, own = make(params, xs)
        assert len(net.names) == 3
        specs = {jax.typeof(leaf).sharding.spec for leaf in jax.tree.leaves(own)}
        assert all("model" in spec for spec in specs)  # none is gathered
        return arrays(flow_of_all((net, own), xs, ys, entries=True))

    with jax.sharding.use_abstract_mesh(MESH):
        assert jax.eval_shape(f, params, data, data)


def test_what_layers_spread_goes_on_spread(users_jax):
    """The layers of a run make states that are spread of one that is not."""
    xs = typed((8, 4))

    def f(params, xs):
        net, own = jaxnn.as_network([(residual, p) for p in params])
        return flow_of_all((net, own), xs, xs).log_delta_example

    with jax.sharding.use_abstract_mesh(MESH):
        assert jax.eval_shape(f, LISTED, xs).sharding.spec == P(None, "data")


def test_examples_along_another_axis(users_jax):
    def f(params, xs):
        network = lambda p, x: (p @ jnp.tanh(p @ x.T)).T  # noqa: E731
        net, own = jaxnn.as_network((network, params), xs)
        assert len(net.names) == 2
        return arrays(flow_of_all((net, own), xs, xs))

    with jax.sharding.use_abstract_mesh(MESH):
        assert jax.eval_shape(f, typed((4, 4)), typed((8, 4), "data"))


def test_positions_spread_over_devices(users_jax):
    """States (batch, tokens, units) of which a device has some examples and some tokens."""
    spec = P("data", "model")

    def f(params, xs):
        layer = lambda p, x: jnp.einsum("btd,de->bte", jnp.tanh(x), p, out_sharding=spec)  # noqa: E731
        made = jaxnn.as_network([(layer, p) for p in params])
        return arrays(flow_of_all(made, xs, jnp.zeros((8, 6, 4))))

    with jax.sharding.use_abstract_mesh(MESH):
        assert jax.eval_shape(f, [typed((4, 4))] * 2, typed((8, 6, 4), *spec))


def test_a_whole_network_in_shard_map(users_jax):
    def f(params, xs):
        def network(p, x):
            return jnp.tanh(jnp.tanh(x @ p) @ p)

        both = {"in_specs": (P(), P("data")), "out_specs": P("data")}
        jaxnn.as_network((jax.shard_map(network, **both), params), xs)

    with (
        jax.sharding.use_abstract_mesh(MESH),
        pytest.raises(
            ValueError, match=r"one layer, jax.shard_map at .*; put shard_map around single"
        ),
    ):
        jax.eval_shape(f, typed((4, 4)), typed((8, 4), "data"))


def test_no_state_is_on_another_mesh(users_jax):
    """A look-up with out_sharding is one on automatic axes, with a step back to explicit ones."""
    params = {"table": typed((8, 4), *ROWS), "out": typed((4, 4))}

    def f(params, tokens):
        look = lambda p, tokens: p["table"].at[tokens].get(out_sharding=P("data")) @ p["out"]  # noqa: E731
        net, own = jaxnn.as_network((look, params), tokens)
        assert net.names == ("table", "out")
        return arrays(flow_of_all((net, own), tokens, jnp.zeros((8, 4))))

    with jax.sharding.use_abstract_mesh(MESH):
        assert jax.eval_shape(f, params, typed((8,), "data", dtype=jnp.int32))


def test_parameters_spread_later_than_the_cut(users_jax):
    f = lambda p, x: jnp.tanh(x @ p) @ p.T  # noqa: E731
    net, _ = jaxnn.as_network((f, jnp.ones((4, 8))), jnp.ones((8, 4)))
    with (
        jax.sharding.use_abstract_mesh(MESH),
        pytest.raises(ValueError, match=r"spread over the mesh as when .* \(None, 'model'\); hand"),
    ):
        jax.eval_shape(
            lambda p, xs: jaxnn.gradient_flow((net, net.params(p)), xs, cotangent=xs),
            *(BLOCK["in"], typed((8, 4), "data")),
        )


def test_a_chain_in_shard_map(users_jax):
    """Its gradients are those of the device's own examples."""
    layer = lambda p, x: jnp.tanh(x @ p["in"]) @ p["out"]  # noqa: E731

    def network(p, x):
        x, _ = jax.lax.scan(lambda x, _: (layer(p[0], x), None), x, None, length=2)
        return layer(p[1], x)

    def f(params, xs, ys):
        flow = flow_of_all(jaxnn.as_network((network, params), xs), xs, ys)
        assert jax.typeof(flow.log_theta).manual_axis_type.varying == {"examples"}
        return flow

    params = [{"in": jnp.ones((3, 4)), "out": jnp.ones((4, 3))}] * 2
    shapes = jax.eval_shape(mapped(f, False), params, jnp.zeros((8, 3)), jnp.zeros((8, 3)))
    assert {v.shape for v in shapes} == {(8,)}


@pytest.mark.parametrize("spec", [COLUMNS, ROWS, P("data")], ids=["columns", "rows", "as batches"])
def test_training_on_explicit_axes(users_jax, spec):
    """Parameters and what the optimiser keeps of them stay spread as they were."""
    net, adam = jaxnn.Network((8, 8, 8), "tanh", "regression"), optax.adam(0.1)
    params = [(typed((8, 8), *spec), typed((8,)))] * 2

    def f(params, xs, ys):
        state = jaxnn.train.start(net, params, adam, jax.random.key(0))
        after, _ = jaxnn.train.epoch(net, state, xs, ys, adam, batch=6)
        specs = ([jax.typeof(v).sharding.spec for v in arrays(s)] for s in (state, after))
        assert len({*map(tuple, specs)}) == 1
        return after.params

    with jax.sharding.use_abstract_mesh(MESH):
        trained = jax.eval_shape(f, params, typed((8, 8), "data"), typed((8, 8), "data"))
    assert {v.sharding.spec for v in jax.tree.leaves(trained) if v.ndim == 2} == {
        P(*spec, *[None] * (2 - len(spec)))
    }


EIGHT = """
import numpy as np
from numpy.testing import assert_allclose

assert jax.device_count() == 8
one_device = jaxnn.backprop(net, params, xs, ys)
on_mesh = partial(
    jax.shard_map, mesh=mesh, in_specs=(shared, spread, spread), out_specs=shared
)

def by_hand(params, xs, ys):
    return jax.lax.pmean(jaxnn.backprop(net, params, xs, ys), "examples")

def by_rule(params, xs, ys):
    return jax.value_and_grad(
        lambda params: jax.lax.pmean(jaxnn.passes.mean_loss(net, params, xs, ys), "examples")
    )(params)

def summed(params, xs, ys):
    return jax.grad(jaxnn.passes.mean_loss, argnums=1)(net, params, xs, ys)

def same(ours, theirs):
    jax.tree.map(partial(assert_allclose, rtol=1e-4, atol=1e-6), ours, theirs)

same((value, gradient), one_device)
for f in (by_hand, by_rule):
    same(jax.jit(on_mesh(f))(params, *on_devices), one_device)
same(jax.jit(on_mesh(summed))(params, *on_devices), jax.tree.map(lambda v: 8 * v, one_device[1]))

plain = optax.adam(0.03)
alone = jaxnn.train.start(net, params, plain, jax.random.key(2))
together = jaxnn.train.start(net, params, optimizer, jax.random.key(2))
for _ in range(3):
    alone, _ = jaxnn.train.step(net, alone, xs, ys, plain)
    together, _ = step(together, *on_devices)
same(together.params, alone.params)
"""


@pytest.mark.slow
def test_eight_devices_train_as_one_does():
    """The example of the site, and what it computes against one device."""
    page = (ROOT / "docs" / "guides" / "devices.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (example,) = (block for block in blocks if "shard_map" in block)
    environment = {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-c", example + EIGHT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
