"""The live page of the article: its functions, and the page in a browser while sliders move."""

import importlib.util
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peers import need

import jaxnn

pytestmark = pytest.mark.usefixtures("users_jax")

FILE = Path(__file__).parent.parent / "docs" / "article_live.py"
X, Y = (0.5, -1.0, 2.0), 1  # with which the page starts, as with seed 0 and scale 1.5
COMPILED = "/jax/core/compile/backend_compile_duration"  # one event a program


@pytest.fixture(scope="module")
def live():
    need("marimo")
    where = importlib.util.spec_from_file_location("article_live", FILE)
    module = importlib.util.module_from_spec(where)
    sys.modules["article_live"] = module
    where.loader.exec_module(module)
    yield module
    del sys.modules["article_live"]


@pytest.mark.slow
def test_the_weights_are_those_of_the_sliders(live):
    one, twice = live.parameters(3, 1.0), live.parameters(3, 2.0)
    assert [theta.shape for theta, _ in one] == [(3, 4), (4, 1)]
    for (theta, b), (larger, same) in zip(one, twice, strict=True):
        np.testing.assert_allclose(larger, 2 * theta, rtol=1e-6)
        np.testing.assert_array_equal(same, b)
    many = np.concatenate([np.ravel(live.parameters(s, 1.0)[0][0]) for s in range(300)])
    assert abs(many.std() * 3**0.5 - 1) < 0.05
    by_hand = live.parameters(3, 1.0, "θ[1]_31", -4.0)
    assert by_hand[1][0][2, 0] == -4
    np.testing.assert_array_equal(by_hand[0][0], one[0][0])
    np.testing.assert_array_equal(by_hand[1][0][:2], one[1][0][:2])


def test_the_factors_multiply_to_the_gradient(live):
    params = live.parameters(0, 1.5)
    rows = live.factors("tanh", params, X, Y)
    deltas = jaxnn.deltas(live.network("tanh"), params, jnp.asarray(X), Y)
    np.testing.assert_allclose(rows[:, :3].prod(axis=1), deltas.z[0], rtol=1e-5)
    np.testing.assert_allclose(rows[:, 3], deltas.z[0])
    assert live.bars(rows).count('class="bar"') == 16
    assert "nan" in live.bars(rows * np.nan)


def test_the_sentence_on_the_deep_network(live):
    def said(*ends):
        return live.said(*(np.array([end, 0.0]) for end in ends))

    assert "**vanishes**: <span data-name='decades'>-50.00</span> decades" in said(-50, -49)
    assert "could not write it" in said(-50, -49)
    assert "**explodes**" in said(3, 3)
    assert "could not" not in said(3, 3)
    assert "**is steady**" in said(0.5, 0)
    assert "exactly zero" in said(-np.inf, 0)
    assert "the signal leaves float32" in said(np.nan, 0)


@pytest.mark.slow
def test_the_deep_network_is_that_of_its_sliders(live):
    """The slider's network is the first layers of the one with all of them."""
    measured, theory = live.depths("tanh", 1.5, 6)
    expected = jaxnn.theory.meanfield.log_delta("tanh", 1.5, 0.0, 1.0, 6) / live.LN10
    np.testing.assert_allclose(theory, expected - expected[-1], atol=1e-4)

    full = jaxnn.Network((live.WIDTH, *[live.WIDTH] * live.ROOM, 1), "tanh", "regression")
    unit = jaxnn.init(
        full, jax.random.key(0), weights=jaxnn.initializers.gaussian(1.0), stacked=True
    )
    first, run, last = (jaxnn.network.Layer(1.5 * theta, b) for theta, b in unit)
    net = jaxnn.Network((live.WIDTH, *[live.WIDTH] * 6, 1), "tanh", "regression")
    params = (first, jaxnn.network.Layer(run.theta[:5], run.b[:5]), last)
    xs = jax.random.normal(jax.random.key(1), (live.EXAMPLES, live.WIDTH))
    cotangent = jax.random.normal(jax.random.key(2), (live.EXAMPLES, 1))
    direct = jaxnn.gradient_flow((net, params), xs, cotangent=cotangent).log_delta[:-1] / live.LN10
    np.testing.assert_allclose(measured, direct - direct[-1], atol=1e-4)
    assert "<svg" in live.charts(measured, theory)


@pytest.mark.slow
def test_a_slider_compiles_nothing(live):
    live.depths("tanh", 1.0, 2)
    compiled = []

    def note(event, duration, **_):
        compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        for sigma_w, depth in ((0.5, 3), (4.0, live.ROOM)):
            assert np.all(np.isfinite(live.depths("tanh", sigma_w, depth)[0]))
        assert COMPILED not in compiled
        jax.jit(lambda x: x + sigma_w)(1.0)
        assert COMPILED in compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
