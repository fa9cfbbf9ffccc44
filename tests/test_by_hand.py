"""`examples/backprop_by_hand.py`: it stands alone, and its numbers are those of the library."""

import ast
import contextlib
import io
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import as_users_have_jax

import jaxnn

FILE = Path(__file__).parent.parent / "examples" / "backprop_by_hand.py"
TEXT = FILE.read_text(encoding="utf-8")
NET = jaxnn.Network((3, 5, 4, 2), "sigmoid", "binary")


@pytest.fixture(scope="module")
def script():
    """The names of the file after a run, and the lines that it printed."""
    printed = io.StringIO()
    with as_users_have_jax(), contextlib.redirect_stdout(printed):
        names = runpy.run_path(str(FILE))
    for name in ("forward", "loss", "deltas", "backprop"):  # as a user would, and in one program
        names[name] = jax.jit(names[name])
    return SimpleNamespace(**names, printed=printed.getvalue().splitlines())


@pytest.fixture
def problem(rng, strict_jax):
    """Parameters with biases, seven examples and their labels, in float64."""
    params = [
        (jnp.asarray(rng.normal(size=(n, m))), jnp.asarray(rng.normal(size=m)))
        for n, m in ((3, 5), (5, 4), (4, 2))
    ]
    xs, ys = rng.normal(size=(7, 3)), rng.integers(0, 2, (7, 2)).astype(float)
    with jax.numpy_rank_promotion("allow"):  # b is added to each row
        yield params, jnp.asarray(xs), jnp.asarray(ys)


def close(ours, theirs, rtol=1e-11):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol)


def test_it_is_short_and_imports_no_library():
    assert len(TEXT.splitlines()) < 150
    names = set()
    for node in ast.walk(ast.parse(TEXT)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    assert names - sys.stdlib_module_names == {"jax"}


def test_every_number_of_one_example_is_the_library_s(script, problem):
    params, xs, ys = problem
    x, y = xs[:1], ys[:1]
    z, a = script.forward(params, x)
    trace = jaxnn.trace(NET, params, x[0])
    close(z[1:], [row[None] for row in trace.z])
    close(a, [row[None] for row in trace.a])
    np.testing.assert_allclose(
        script.loss(params, x, y), jaxnn.passes.loss(NET, params, x[0], y[0])
    )

    theirs = jaxnn.deltas(NET, params, x[0], y[0])
    delta_z = script.deltas(params, z, a, y)
    close(delta_z[1:], [row[None] for row in theirs.z])
    np.testing.assert_array_equal(delta_z[3], a[3] - y)
    delta_theta, delta_b = zip(*script.backprop(params, x, y), strict=True)
    close(delta_theta, theirs.theta)
    close(delta_b, theirs.b)


def test_a_batch_and_a_step_are_the_library_s(script, problem):
    params, xs, ys = problem
    value, gradient = jaxnn.backprop(NET, params, xs, ys)
    np.testing.assert_allclose(script.loss(params, xs, ys), value, rtol=1e-12)
    close(jax.tree.leaves(script.backprop(params, xs, ys)), jax.tree.leaves(gradient))
    sgd = optax.sgd(0.5)
    state, _ = jaxnn.train.step(
        NET, jaxnn.train.start(NET, params, sgd, jax.random.key(0)), xs, ys, sgd
    )
    stepped = script.step(params, xs, ys, rate=0.5)
    close(jax.tree.leaves(stepped), jax.tree.leaves(state.params))


@pytest.mark.slow
def test_the_sizes_of_thirty_layers_are_the_library_s(script, strict_jax):
    """The norms of Δz in float64, from the parameters that the file draws."""
    deep, xs, ys = jax.tree.map(
        lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (script.deep, script.xs, script.ys)
    )
    assert len(deep) == 30
    with jax.numpy_rank_promotion("allow"):
        z, a = script.forward(deep, xs)
        norms = [np.linalg.norm(delta) for delta in script.deltas(deep, z, a, ys)[1:]]
    net = jaxnn.Network((3, *[64] * 29, 1), "sigmoid", "binary")
    flow = jaxnn.gradient_flow((net, jaxnn.network.stack(deep)), xs, ys)
    np.testing.assert_allclose(np.log(norms), flow.log_delta, atol=1e-9)
    printed = np.asarray(script.largest)  # the largest number of Δz, in float32
    assert (np.divide(norms, 64) < printed).all()
    assert (printed < norms).all()


def test_it_prints_little_that_is_right(script):
    first, agreement, *lines, last = script.printed
    assert first.startswith("forward: a[1] = ")
    assert float(agreement.split()[-1]) < 1e-6
    losses = [float(line.split()[-1]) for line in lines if line.startswith("training")]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.1 < losses[0]
    sizes = [float(line.split()[-1]) for line in lines if line.startswith("30 layers")]
    assert len(losses) + len(sizes) == len(lines) < 15
    assert sizes == sorted(sizes, reverse=True)
    factor = jaxnn.theory.meanfield.chi("sigmoid", 1.0, 0.29) ** 0.5  # q = E[σ(z)²] = 0.29
    assert abs(float(re.search(r"leaves (\S+) of it", last)[1]) - factor) < 0.02
    assert max(map(len, script.printed)) < 80
