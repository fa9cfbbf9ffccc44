"""By hand: the example file and the article in NumPy have the numbers of the library."""

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
from problems import as_users_have_jax, mostly_slow

import jaxnn

FILE = Path(__file__).parent.parent / "examples" / "backprop_by_hand.py"
TEXT = FILE.read_text(encoding="utf-8")
NET = jaxnn.Network((3, 5, 4, 2), "sigmoid", "binary")


@pytest.fixture(scope="module")
def script():
    """The functions of the file, in one program each, as a user would have them."""
    tree = ast.parse(TEXT)
    tree.body = [
        v for v in tree.body if isinstance(v, ast.Import | ast.ImportFrom | ast.FunctionDef)
    ]
    names = {}
    exec(compile(tree, FILE, "exec"), names)
    for name in ("forward", "loss", "deltas", "backprop"):
        names[name] = jax.jit(names[name])
    return SimpleNamespace(**names)


@pytest.fixture(scope="module")
def ran():
    """The names of the file after a run, and the lines that it printed."""
    printed = io.StringIO()
    with as_users_have_jax(), contextlib.redirect_stdout(printed):
        names = runpy.run_path(str(FILE))
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
def test_the_sizes_of_thirty_layers_are_the_library_s(ran, strict_jax):
    """The norms of Δz in float64, from the parameters that the file draws."""
    deep, xs, ys = jax.tree.map(
        lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), (ran.deep, ran.xs, ran.ys)
    )
    assert len(deep) == 30
    with jax.numpy_rank_promotion("allow"):
        z, a = ran.forward(deep, xs)
        norms = [np.linalg.norm(delta) for delta in ran.deltas(deep, z, a, ys)[1:]]
    net = jaxnn.Network((3, *[64] * 29, 1), "sigmoid", "binary")
    flow = jaxnn.gradient_flow((net, jaxnn.network.stack(deep)), xs, ys)
    np.testing.assert_allclose(np.log(norms), flow.log_delta, atol=1e-9)
    printed = np.asarray(ran.largest)  # the largest number of Δz, in float32
    assert (np.divide(norms, 64) < printed).all()
    assert (printed < norms).all()


@pytest.mark.slow
def test_it_prints_little_that_is_right(ran):
    first, agreement, *lines, last = ran.printed
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
    assert max(map(len, ran.printed)) < 80


# The article's network, formula by formula, corrections included; its names are the article's


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def work_through(x, y, theta, b):
    """Every quantity of the article for one example x of shape (1, 3); Δv is named d_v."""
    v = {}
    # Forward. The article's θ^[i] has shape (n^[i], n^[i+1]), its rows are units of layer i.
    v["a0"] = x
    v["z1"] = v["a0"] @ theta[0] + b[0]
    v["a1"] = sigmoid(v["z1"])
    v["z2"] = v["a1"] @ theta[1] + b[1]
    v["a2"] = sigmoid(v["z2"])
    v["L"] = -y * np.log(v["a2"]) - (1 - y) * np.log(1 - v["a2"])
    # Backward, from the loss to the last layer.
    v["d_a2"] = -y / v["a2"] + (1 - y) / (1 - v["a2"])
    v["d_z2"] = v["d_a2"] * v["a2"] * (1 - v["a2"])
    np.testing.assert_allclose(v["d_z2"], v["a2"] - y)  # as the article simplifies it
    v["d_theta1"] = v["a1"].T @ v["d_z2"]  # corrected: the transpose that the shapes ask for
    v["d_b1"] = v["d_z2"]
    # And to the layer before it.
    v["d_a1"] = v["d_z2"] @ theta[1].T  # corrected likewise
    v["d_z1"] = v["d_a1"] * v["a1"] * (1 - v["a1"])
    v["d_theta0"] = v["a0"].T @ v["d_z1"]
    v["d_b0"] = v["d_z1"]
    return v


@mostly_slow("y", [0, 1], 1)
def test_the_article_s_network(key, y):
    net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
    params = jaxnn.init(net, key, biases=0.5)
    x = np.asarray(jax.random.normal(key, (3,)))
    theta, b = zip(*(map(np.asarray, layer) for layer in params), strict=True)
    v = work_through(x[None], y, theta, b)

    trace, deltas = jaxnn.trace(net, params, x), jaxnn.deltas(net, params, x, y)
    ours = {
        "a0": trace.a[0], "a1": trace.a[1], "a2": trace.a[2], "z1": trace.z[0], "z2": trace.z[1],
        "L": jaxnn.passes.loss(net, params, x, y),
        "d_a1": deltas.a[1], "d_a2": deltas.a[2], "d_z1": deltas.z[0], "d_z2": deltas.z[1],
        "d_theta0": deltas.theta[0], "d_theta1": deltas.theta[1],
        "d_b0": deltas.b[0], "d_b1": deltas.b[1],
    }  # fmt: skip
    for name, value in v.items():
        shape = () if name == "L" else value.shape if "theta" in name else value.shape[1:]
        assert ours[name].shape == shape, name
        np.testing.assert_allclose(ours[name], value.reshape(shape), rtol=1e-12, err_msg=name)


def test_gradient_of_an_early_layer_is_a_product_with_one_factor_a_layer(key):
    """Δz[1] = Δz[L] θ[L-1]ᵀ diag(σ′(z[L-1])) … θ[1]ᵀ diag(σ′(z[1])), for 8 hidden layers."""
    net = jaxnn.Network((3, *[5] * 8, 1), "sigmoid", "binary")
    params = jaxnn.init(net, key, biases=0.5)
    x = np.asarray(jax.random.normal(key, (3,)))
    trace = jaxnn.trace(net, params, x)
    product = np.asarray(trace.a[-1]) - 1
    for i in range(8, 0, -1):
        a = np.asarray(trace.a[i])
        product = product @ np.asarray(params[i].theta).T @ np.diag(a * (1 - a))
    np.testing.assert_allclose(jaxnn.deltas(net, params, x, 1).z[0], product, rtol=1e-12)
