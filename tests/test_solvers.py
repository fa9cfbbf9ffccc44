"""Solvers of Diffrax: one layer by its own adjoints, and a layer for each step by the way out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peers import need

import jaxnn

pytestmark = pytest.mark.slow

TIMES = np.array([0.0, 0.1, 0.4, 0.6, 1.0])
N = 3


def field(theta, x):
    """The vector field of an example."""
    return jnp.tanh(x @ theta)


def solved(solver=None, **more):
    """The solution of an example by Euler's method, as a function of the field's matrix."""
    need("diffrax")
    import diffrax

    more = {"stepsize_controller": diffrax.StepTo(TIMES)} | more
    method = solver or diffrax.Euler()

    def f(theta, x):
        term = diffrax.ODETerm(lambda t, y, theta: field(theta, y))
        return diffrax.diffeqsolve(term, method, 0.0, 1.0, None, x, theta, **more).ys[-1]

    return f


def test_the_verdict_on_a_solver_names_the_way_out(rng):
    theta, xs = rng.normal(size=(N, N)), rng.normal(size=(2, N))
    net, own = jaxnn.as_network((solved(), theta), xs, each="example")
    flow = jaxnn.gradient_flow((net, own), xs, cotangent=xs)
    assert len(net.names) == 1
    assert "not taken apart: with adjoint=diffrax.DirectAdjoint(), max_steps=" in str(
        jaxnn.verdict(flow)
    )


def test_the_way_out_makes_each_step_a_layer(rng):
    """Next to plain gradients of Euler's method by hand, each step with a matrix of its own."""
    theta, xs = rng.normal(size=(N, N)), rng.normal(size=(2, N))
    need("diffrax")
    import diffrax

    f = solved(adjoint=diffrax.DirectAdjoint(), max_steps=len(TIMES) - 1)
    net, own = jaxnn.as_network((f, theta), xs, each="example")
    flow = jaxnn.gradient_flow((net, own), xs, cotangent=xs)
    assert net.closed is None

    def by_hand(matrices, x):
        for matrix, step in zip(matrices, np.diff(TIMES), strict=True):
            x = x + step * field(matrix, x)
        return jnp.vdot(x, xs)

    of_steps, of_xs = jax.grad(by_hand, (0, 1))([theta] * (len(TIMES) - 1), xs)
    logs = [log for log in flow.log_theta if np.isfinite(log)]
    np.testing.assert_allclose(np.exp(logs), [*map(np.linalg.norm, of_steps)], rtol=1e-10)
    assert np.exp(flow.log_delta_input) == pytest.approx(np.linalg.norm(of_xs), rel=1e-10)


def test_the_steps_of_an_adaptive_solver_are_layers(rng):
    """Its step sizes are streams beside the solution, and what it would save is none."""
    theta, xs, cotangent = rng.normal(size=(N, N)), *rng.normal(size=(2, 2, N))
    need("diffrax")
    import diffrax

    steps = {"adjoint": diffrax.DirectAdjoint(), "max_steps": 16}
    sizes = diffrax.PIDController(1e-2, 1e-3)
    f = solved(diffrax.Tsit5(), stepsize_controller=sizes, **steps)
    net, own = jaxnn.as_network((f, theta), xs, each="example")
    assert net.lengths == (0, steps["max_steps"], 0)
    flow = jaxnn.gradient_flow((net, own), xs, cotangent=cotangent)
    top = lambda x: jnp.vdot(jax.vmap(partial(f, theta))(x), cotangent)  # noqa: E731
    of_xs = np.linalg.norm(jax.grad(top)(xs))
    assert np.exp(flow.log_delta_input) == pytest.approx(of_xs, rel=1e-10)
    # Steps after the end hand the solution on, and it is the main array of each state.
    np.testing.assert_allclose(np.exp(flow.log_delta[-4:]), np.linalg.norm(cotangent), rtol=1e-10)
    first = dict(zip(flow.streams.layers[::-1], flow.streams.types[::-1], strict=True))
    assert {*first.values()} == {f"float64[{N}]"}
