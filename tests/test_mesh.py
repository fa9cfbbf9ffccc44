"""On a mesh: types while tracing, without any device, and the numbers of eight devices."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxnn

ROOT = Path(__file__).parent.parent
SINGLE = jaxnn.Network((3, 4, 2), "tanh", "multiclass")
RUN = jaxnn.Network((3, 4, 4, 4, 1), "relu", "binary")
MIXED = jaxnn.Network(
    RUN.sizes, ["relu", "tanh", "relu"], "binary", hidden=[jaxnn.Dense(), jaxnn.PostNorm()]
)
each_network = pytest.mark.parametrize(
    "net",
    [
        pytest.param(SINGLE, id="single"),
        pytest.param(RUN, id="run"),
        pytest.param(MIXED, id="mixed", marks=pytest.mark.slow),
    ],
)
AXES = ("examples", "networks")
CALLS = {
    "backprop": jaxnn.backprop,
    "mean_loss": jax.value_and_grad(jaxnn.mean_loss, argnums=(1, 2)),
    "loss": lambda net, params, xs, ys: jax.grad(
        lambda params: jnp.mean(jax.vmap(jaxnn.loss, (None, None, 0, 0))(net, params, xs, ys))
    )(params),
    "gradient_flow": jaxnn.gradient_flow,
    "gradient_flow with less memory": partial(jaxnn.gradient_flow, memory="sqrt"),
    "evaluate": jaxnn.evaluate,
    "spectrum": lambda net, params, xs, ys: jaxnn.spectrum(net, params, xs),
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


@pytest.mark.parametrize("params_spread", [False, True])
@pytest.mark.parametrize("call", CALLS)
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
        gradient = jax.grad(jaxnn.mean_loss, argnums=1)(RUN, params, xs, ys)
        for leaf, like in zip(arrays(gradient), arrays(params), strict=True):
            assert jax.typeof(leaf) == jax.typeof(like)
        return gradient

    params = jax.eval_shape(partial(jaxnn.init, RUN, stacked=True), jax.random.key(0))
    jax.eval_shape(mapped(f, False), params, jnp.zeros((8, 3)), jnp.zeros(8, int))


@pytest.mark.parametrize("call", [name for name in CALLS if name not in ("loss", "spectrum")])
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
        lambda params: jax.lax.pmean(jaxnn.mean_loss(net, params, xs, ys), "examples")
    )(params)

def summed(params, xs, ys):
    return jax.grad(jaxnn.mean_loss, argnums=1)(net, params, xs, ys)

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
