"""Programs run by NumPy against the same run by JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from peers import need
from test_compilations import programs  # noqa: F401
from test_primitives import CASES

import jaxnn
from jaxnn.arrays.compiled import (
    LIGHTLY,
    MOST_LIGHT,
    compiled,
    few_runs,
    is_light,
    light_options,
    many_runs,
    split_static,
)
from jaxnn.arrays.rows import ScaledRows, log_norm, log_size_of_rows
from jaxnn.jaxpr import numpy_programs
from jaxnn.jaxpr.numpy_programs import (
    OPERATIONS,
    few_by_numpy,
    for_the_end,
    run_by_numpy,
    with_rest_by_numpy,
)

OF_OTHERS = {  # what the table of rules has no entry for
    "bitcast_convert_type": [
        (lambda v: lax.bitcast_convert_type(v, jnp.int32), [np.float32([1, -2])]),
        (lambda v: lax.bitcast_convert_type(v, jnp.int32), [np.float32(3)]),
    ],
    "div": [(lax.div, [np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)])],
    "reduce_max": [(lambda v: jnp.max(v, axis=0, initial=-1.0), [np.zeros((0, 2))])],
    "reduce_min": [(lambda v: jnp.min(v, axis=1), [np.array([[1.0, np.nan], [2.0, 3.0]])])],
    "select_n": [(lax.select_n, [np.int32([0, 2, 1]), *(np.arange(3.0) * i for i in range(3))])],
    "tile": [(lambda v: jnp.tile(v, (2, 1, 3)), [np.arange(6.0).reshape(3, 2)])],
    "dynamic_slice": [
        (lambda v, i: lax.dynamic_slice(v, (i,), (2,)), [np.arange(5.0), np.int32(4)])
    ],
}


def both(f, *given):
    given = [*map(np.asarray, given)]
    leaves = lambda *v: jax.tree.leaves(f(*v))  # noqa: E731
    return run_by_numpy(jax.make_jaxpr(leaves)(*given), given), jax.jit(leaves)(*given)


def check(f, *given):
    for ours, theirs in zip(*both(f, *given), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operation_is_what_its_primitive_does(name):
    for f, operands in [*CASES.get(name, []), *OF_OTHERS.get(name, [])]:
        check(f, *operands)


def of_all_kinds(v, which):
    """A scan both ways, a branch, a rule of JAX's own, a product, and numbers that are none."""
    total, steps = lax.scan(lambda c, row: (c + row, c * row), v[0] * 0, v, reverse=True)
    branch = lax.cond(which, lambda: jnp.sin(v), lambda: -v)
    size = log_size_of_rows(ScaledRows(v, jnp.arange(len(v), dtype=jnp.int32)))
    broken = jnp.log(v - v), jnp.max(v / (v - v), axis=1), (v * 9).astype(jnp.int32) // 2
    gram = jnp.einsum("abc,abd->bcd", jnp.stack([v, v]), jnp.stack([v, 2 * v]))
    sorted_rows = jnp.sort(v, axis=1)[:, ::-1]  # which has no entry, and is run by JAX
    return total, steps, branch, size, broken, gram, jnp.logaddexp(v, 2 * v), sorted_rows


def test_a_program_is_run_by_numpy_as_by_jax():
    v = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    for which in (True, False):
        check(of_all_kinds, v, which)


def test_few_numbers_are_left_to_numpy_and_many_are_compiled(monkeypatch, programs):  # noqa: F811
    twice = few_by_numpy(lambda v, factor: {"twice": factor * v})
    v = np.arange(3, dtype=np.float32)
    for most, count in ((3, 0), (2, 1)):
        monkeypatch.setattr(numpy_programs, "FEW", most)
        made = twice(v, 2)["twice"]
        assert isinstance(made, jax.Array)
        np.testing.assert_array_equal(made, 2 * v)
        assert len(programs) == count


@pytest.mark.slow
def test_a_module_of_torch_is_measured_without_a_compiled_program(programs):  # noqa: F811
    need("torch")
    import torch

    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 2)
    )
    jaxnn.gradient_flow(module, torch.ones(5, 1, 4, 4), cotangent=torch.ones(5, 2))
    layer = torch.nn.TransformerEncoderLayer(4, 2, 4, batch_first=True)
    jaxnn.gradient_flow(layer, torch.rand(3, 5, 4), cotangent=torch.ones(3, 5, 4))
    assert not programs


def layers_with_attention():
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(4, 4)).astype(np.float32) for _ in range(6)]

    def attention(w, z):
        weight = jax.nn.softmax(jnp.einsum("bqc,bkc->bqk", z @ w["q"], z @ w["k"]))
        return z + weight @ z

    heads = [(attention, {"q": weights[i], "k": weights[i + 1]}) for i in range(2)]
    dense = [(lambda w, z: jnp.tanh(z) @ w, w) for w in weights[2:]]
    return [*heads, *dense], rng.normal(size=(3, 5, 4)).astype(np.float32)


OF_NETWORK = jaxnn.Network((3, 4, 4, 2), "relu", "regression", hidden=jaxnn.blocks.Residual())


@pytest.fixture
def parts(monkeypatch):
    """Of each program in two parts how many equations are compiled, and how many NumPy runs."""
    counts, init = [], numpy_programs.Parted.__init__

    def noted(self, *program, **options):
        init(self, *program, **options)
        counts.append((len(self.steps), len(self.rest)))

    monkeypatch.setattr(numpy_programs.Parted, "__init__", noted)
    return counts


def dense():
    layers, xs = layers_with_attention()
    return layers[2:], xs[:, 0]


def of_network():
    params = jaxnn.init(OF_NETWORK, jax.random.key(0))
    return (OF_NETWORK, params), np.sin(np.arange(15, dtype=np.float32)).reshape(5, 3)


def test_what_is_left_for_the_end_is_run_by_numpy_after_few_runs_alone(programs, parts):  # noqa: F811
    @with_rest_by_numpy
    def sizes(v, power):
        with for_the_end():
            early = v + 1
        total = jnp.sum(early**power)
        with for_the_end():
            return {"log": jnp.log(total), "v": v}

    v = np.float32([1, 2])
    for context, expected in ((few_runs, [(3, 1)]), (many_runs, [])):
        parts.clear()
        programs.clear()
        with context():
            made = sizes(v, 2)
        assert parts == expected
        assert len(programs) == 1
        assert isinstance(made["log"], jax.Array)
        np.testing.assert_allclose(made["log"], np.log(13), rtol=1e-6)
        np.testing.assert_array_equal(made["v"], v)


def test_random_keys_are_left_to_the_compiled_part(parts):
    @with_rest_by_numpy
    def halves(v):
        with for_the_end():
            return jax.random.key_data(jax.random.split(jax.random.key(3))), v / 2

    with few_runs():
        keys, half = halves(np.float32([2]))
    assert parts[0][1] > 0
    np.testing.assert_array_equal(half, [1])
    np.testing.assert_array_equal(keys, jax.random.key_data(jax.random.split(jax.random.key(3))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "options"),
    [
        (dense, {}),
        (layers_with_attention, {"entries": True}),
        (layers_with_attention, {"memory": "sqrt"}),
        (of_network, {"entries": True}),
    ],
)
def test_a_flow_for_few_runs_is_that_for_many_with_its_records_by_numpy(given, options, parts):
    model, xs = given()
    net, params = jaxnn.as_network(model, xs)
    size = (len(xs), net.sizes[-1]) if isinstance(net, jaxnn.Network) else xs.shape
    options = {"cotangent": np.cos(np.arange(np.prod(size))).reshape(size), **options}
    many = jaxnn.gradient_flow((net, params), xs, **options)
    assert not parts
    with few_runs():
        few = jaxnn.gradient_flow((net, params), xs, **options)
    ((first, rest),) = parts
    assert rest > first / 2
    assert jax.tree.structure(few) == jax.tree.structure(many)
    for a, b in zip(jax.tree.leaves(few), jax.tree.leaves(many), strict=True):
        assert (type(a), a.dtype, a.shape) == (type(b), b.dtype, b.shape)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_programs_for_few_runs_are_compiled_with_options_of_their_own(monkeypatch):
    v = np.float32([3, 4])
    with few_runs():
        assert log_norm(v) == pytest.approx(np.log(5))
        assert not is_light([np.zeros(MOST_LIGHT + 1)])
    assert not is_light([v])
    monkeypatch.setitem(LIGHTLY, "jaxnn_no_such_option", True)
    log_norm(v[:1])
    with few_runs(), pytest.raises(Exception, match="jaxnn_no_such_option"):
        compiled(jnp.abs)(v)


def test_convolutions_and_long_loops_are_compiled_one_level_above():
    """An array of four axes, a kernel or a picture, is the sign of a convolution."""
    v = np.zeros((1, 1, 1))
    of_pictures, of_loops = light_options([v[None]], 1), light_options([v], 100)
    assert light_options([v], 99) is LIGHTLY
    assert of_loops is of_pictures
    changed = {k for k in LIGHTLY if of_pictures[k] != LIGHTLY[k]}
    assert changed == {"xla_backend_optimization_level"}


def test_turns_of_loops_within_loops_multiply():
    def turned(v, turns):
        return lax.fori_loop(0, turns, lambda _, v: 2 * v, v)

    def function(v):
        return lax.scan(lambda v, _: (turned(v, 7), None), turned(v, 50), None, length=30)[0]

    jaxpr = jax.make_jaxpr(jax.jit(function))(1.0).jaxpr
    assert numpy_programs.turns_of(jaxpr) == 210
    assert numpy_programs.turns_of(jax.make_jaxpr(jnp.sin)(1.0).jaxpr) == 1


def test_a_function_in_a_module_stays_as_it_is():
    module = {"activation": jax.nn.relu, "weights": np.array([-1.0, 2.0], np.float32)}
    static, arrays = split_static((module,))
    types = tuple(map(jax.typeof, arrays))
    parts = numpy_programs.parted(lambda v: v["activation"](v["weights"]), static, types)
    np.testing.assert_array_equal(parts(arrays), [0.0, 2.0])
