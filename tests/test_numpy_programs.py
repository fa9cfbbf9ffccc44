"""Programs run by NumPy against the same run by JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from peers import need
from test_compilations import programs  # noqa: F401
from test_primitives import CASES

from jaxnn.arrays.rows import ScaledRows, log_size_of_rows
from jaxnn.jaxpr import numpy_programs
from jaxnn.jaxpr.numpy_programs import OPERATIONS, few_by_numpy, run_by_numpy

OF_OTHERS = {  # what the table of rules has no entry for
    "bitcast_convert_type": [
        (lambda v: lax.bitcast_convert_type(v, jnp.int32), [np.float32([1, -2])]),
        (lambda v: lax.bitcast_convert_type(v, jnp.int32), [np.float32(3)]),
    ],
    "div": [(lax.div, [np.array([7, -7, 7, -7], np.int32), np.array([2, 2, -2, -2], np.int32)])],
    "reduce_max": [(lambda v: jnp.max(v, axis=0, initial=-1.0), [np.zeros((0, 2))])],
    "reduce_min": [(lambda v: jnp.min(v, axis=1), [np.array([[1.0, np.nan], [2.0, 3.0]])])],
    "select_n": [(lax.select_n, [np.int32([0, 2, 1]), *(np.arange(3.0) * i for i in range(3))])],
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

    import jaxnn

    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8, 2)
    )
    jaxnn.gradient_flow(module, torch.ones(5, 1, 4, 4), cotangent=torch.ones(5, 2))
    layer = torch.nn.TransformerEncoderLayer(4, 2, 4, batch_first=True)
    jaxnn.gradient_flow(layer, torch.rand(3, 5, 4), cotangent=torch.ones(3, 5, 4))
    assert not programs
