"""`examples/own_block.py`: a block of a user's own, from what is public, and that it is right."""

import ast
import contextlib
import io
import re
import runpy
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from problems import as_users_have_jax

import jaxnn
from jaxnn.theory import meanfield

FILE = Path(__file__).parent.parent / "examples" / "own_block.py"
G = 0.7
SIZES = (4, 6, 6, 6, 2)


@pytest.fixture(scope="module")
def script():
    with as_users_have_jax():
        return SimpleNamespace(**runpy.run_path(str(FILE)))


def test_only_public_names_are_used():
    public = {"jaxnn": jaxnn.__all__, "jaxnn.blocks": jaxnn.blocks.__all__}
    tree = ast.parse(FILE.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("jaxnn"):
            assert {alias.name for alias in node.names} <= {*public[node.module]}
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "jaxnn":
            assert node.attr in jaxnn.__all__


@pytest.mark.parametrize("activation", ["tanh", pytest.param("relu", marks=pytest.mark.slow)])
def test_the_gradient_and_the_flow_are_those_of_jax(script, rng, activation):
    """In float64; the plain network has no line of the block, and JAX differentiates it."""
    net = jaxnn.Network(SIZES, activation, "regression", hidden=script.ConstantGate(G))
    shapes = list(pairwise(SIZES))
    params = [(rng.normal(size=shape), rng.normal(size=shape[1])) for shape in shapes]
    xs, ys = rng.normal(size=(5, 4)), rng.normal(size=(5, 2))
    with jax.numpy_rank_promotion("allow"):
        by_jax = jax.jit(jax.value_and_grad(script.plain_loss), static_argnums=3)
        value, gradient = by_jax(params, xs, ys, getattr(jax.nn, activation), G)
    ours = jaxnn.backprop(net, params, xs, ys)
    np.testing.assert_allclose(ours[0], value, rtol=1e-13)
    for one, other in zip(*map(jax.tree.leaves, (ours[1], gradient)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)
    flow = jaxnn.gradient_flow((net, params), xs, ys)
    sizes = [np.log(np.linalg.norm(v)) for v in jax.tree.leaves(gradient)]
    np.testing.assert_allclose(flow.parameters.log_delta, sizes, rtol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_its_theory_is_that_of_a_residual_block_of_another_scale(script, activation):
    """z′ = g z + (1 - g) f(z) is g (z + c f(z)) with c = (1 - g) / g."""
    gate, residual = script.ConstantGate(G), jaxnn.blocks.Residual(scale=(1 - G) / G)
    of = jaxnn.theory.Ensemble(jaxnn.network.find_activation(activation), 1.3, 0.4)
    q, c = 0.8, 0.3
    for name in ("length", "covariance", "factor", "tangent"):
        arguments = (of, q) if name == "length" else (of, q, c)
        value, other = (getattr(block, name)(*arguments) for block in (gate, residual))
        np.testing.assert_allclose(value, G**2 * other, rtol=1e-12)
    assert gate.skip_gain(of, q) == pytest.approx(G * residual.skip_gain(of, q))


@pytest.mark.slow
def test_a_wide_network_does_what_theory_says(script):
    """Of relu, without biases, it is the residual network, whose band of finite width is known."""
    g, width, depth, draws = 0.8, 64, 21, 8
    with as_users_have_jax():
        measured, predicted = script.decades(g, depth, width, draws)
        residual = jaxnn.blocks.Residual(scale=(1 - g) / g)
        band = meanfield.log_delta_band("relu", 2**0.5, 0.0, 1.0, width, depth, hidden=residual)
    bias, sd = (float(v[0]) / np.log(10) for v in band)
    assert float(predicted) == pytest.approx(
        (depth - 1) / 2 * np.log10(g**2 + (1 - g) ** 2), rel=1e-5
    )
    assert abs(np.asarray(measured).mean() - float(predicted) - bias) < 3 * sd / draws**0.5
    assert 3 * sd / draws**0.5 < 0.1 * abs(float(predicted))


@pytest.mark.slow
def test_what_it_prints(script):
    printed = io.StringIO()
    with as_users_have_jax(), contextlib.redirect_stdout(printed):
        runpy.run_path(str(FILE), run_name="__main__")
    first, *lines = printed.getvalue().splitlines()
    assert float(re.search(r"jax.grad: (\S+)", first)[1]) < 1e-6
    for line in lines:
        measured, predicted = map(float, re.findall(r"-\d+\.\d+", line))
        assert measured == pytest.approx(predicted, rel=0.02)
