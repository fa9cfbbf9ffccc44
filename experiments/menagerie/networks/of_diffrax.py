"""Networks of Diffrax: differential equations with a network of Equinox as vector field."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.menagerie import inputs

FIELD = eqx.nn.MLP(8, 8, 16, 2, jnp.tanh, key=jax.random.key(0))


def _solved(solver: Any, **more: Any) -> dict[str, Any]:
    def f(field: Any, x: Any) -> Any:
        term = diffrax.ODETerm(lambda t, y, field: field(y))
        return diffrax.diffeqsolve(term, solver, 0.0, 1.0, 0.1, x, args=field, **more).ys[-1]

    return {"model": (f, FIELD), "xs": inputs.vectors(), "each": "example"}


def euler() -> dict[str, Any]:
    """Diffeqsolve with Euler, steps of one size."""
    return _solved(diffrax.Euler())


def tsit5() -> dict[str, Any]:
    """Diffeqsolve with Tsit5, steps of one size."""
    return _solved(diffrax.Tsit5())


def adaptive() -> dict[str, Any]:
    """Diffeqsolve with Tsit5, adaptive steps."""
    return _solved(diffrax.Tsit5(), stepsize_controller=diffrax.PIDController(1e-3, 1e-6))


def direct() -> dict[str, Any]:
    """Diffeqsolve with Heun and DirectAdjoint."""
    return _solved(diffrax.Heun(), adjoint=diffrax.DirectAdjoint(), max_steps=16)


def backsolve() -> dict[str, Any]:
    """Diffeqsolve with Tsit5 and BacksolveAdjoint."""
    return _solved(diffrax.Tsit5(), adjoint=diffrax.BacksolveAdjoint())


def implicit() -> dict[str, Any]:
    """Diffeqsolve with Kvaerno3."""
    return _solved(diffrax.Kvaerno3(), stepsize_controller=diffrax.PIDController(1e-3, 1e-6))


def controlled() -> dict[str, Any]:
    """ControlTerm: a neural controlled differential equation."""
    model = (
        eqx.nn.MLP(8, 72, 16, 1, jnp.tanh, key=jax.random.key(0)),
        eqx.nn.Linear(8, 2, key=jax.random.key(1)),
    )

    def f(model: Any, x: Any) -> Any:
        times = jnp.linspace(0, 1, 6)
        path = diffrax.LinearInterpolation(times, jnp.concatenate([times[:, None], x], 1))
        term = diffrax.ControlTerm(lambda t, y, args: model[0](y).reshape(8, 9), path).to_ode()
        return model[1](diffrax.diffeqsolve(term, diffrax.Heun(), 0, 1, 0.2, x[0]).ys[-1])

    return {"model": (f, model), "xs": inputs.sequences(), "each": "example"}
