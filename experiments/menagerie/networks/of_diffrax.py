"""Networks of Diffrax: differential equations with a network of Equinox as vector field."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.menagerie import inputs

FIELD = eqx.nn.MLP(8, 8, 16, 2, jnp.tanh, key=jax.random.key(0))
ADAPTIVE = {"stepsize_controller": diffrax.PIDController(1e-3, 1e-6)}


def _solved(solver: diffrax.AbstractSolver, **more: Any) -> inputs.Arguments:
    def f(field: eqx.nn.MLP, x: jax.Array) -> Any:
        term = diffrax.ODETerm(lambda t, y, field: field(y))
        return diffrax.diffeqsolve(term, solver, 0.0, 1.0, 0.1, x, args=field, **more).ys[-1]

    return {"model": (f, FIELD), "xs": inputs.vectors(), "each": "example"}


def _controlled() -> inputs.Arguments:
    model = (
        eqx.nn.MLP(8, 72, 16, 1, jnp.tanh, key=jax.random.key(0)),
        eqx.nn.Linear(8, 2, key=jax.random.key(1)),
    )

    def f(model: tuple[eqx.nn.MLP, eqx.nn.Linear], x: jax.Array) -> Any:
        times = jnp.linspace(0, 1, 6)
        path = diffrax.LinearInterpolation(times, jnp.concatenate([times[:, None], x], 1))
        term = diffrax.ControlTerm(lambda t, y, args: model[0](y).reshape(8, 9), path).to_ode()
        return model[1](diffrax.diffeqsolve(term, diffrax.Heun(), 0, 1, 0.2, x[0]).ys[-1])

    return {"model": (f, model), "xs": inputs.sequences(), "each": "example"}


NETWORKS: inputs.Networks = {
    "euler": ("Diffeqsolve with Euler, steps of one size", lambda: _solved(diffrax.Euler())),
    "tsit5": ("Diffeqsolve with Tsit5, steps of one size", lambda: _solved(diffrax.Tsit5())),
    "adaptive": (
        "Diffeqsolve with Tsit5, adaptive steps",
        lambda: _solved(diffrax.Tsit5(), **ADAPTIVE),
    ),
    "direct": (
        "Diffeqsolve with Heun and DirectAdjoint",
        lambda: _solved(diffrax.Heun(), adjoint=diffrax.DirectAdjoint(), max_steps=16),
    ),
    "backsolve": (
        "Diffeqsolve with Tsit5 and BacksolveAdjoint",
        lambda: _solved(diffrax.Tsit5(), adjoint=diffrax.BacksolveAdjoint()),
    ),
    "implicit": ("Diffeqsolve with Kvaerno3", lambda: _solved(diffrax.Kvaerno3(), **ADAPTIVE)),
    "controlled": ("ControlTerm: a neural controlled differential equation", _controlled),
}
