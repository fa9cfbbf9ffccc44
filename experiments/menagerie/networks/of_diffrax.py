"""Networks of Diffrax: differential equations with a network of Equinox as vector field."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

Pair = tuple[Callable[..., Any], Any]  # a function and its parameters
ADAPTIVE = diffrax.PIDController(1e-3, 1e-6)


def solved(solver: diffrax.AbstractSolver, **more: Any) -> Pair:
    def f(field: eqx.nn.MLP, x: jax.Array) -> Any:
        term = diffrax.ODETerm(lambda t, y, field: field(y))
        return diffrax.diffeqsolve(term, solver, 0.0, 1.0, 0.1, x, args=field, **more).ys[-1]

    return f, eqx.nn.MLP(8, 8, 16, 2, jnp.tanh, key=jax.random.key(0))


def controlled() -> Pair:
    field = eqx.nn.MLP(8, 72, 16, 1, jnp.tanh, key=jax.random.key(0))

    def f(model: tuple[eqx.nn.MLP, eqx.nn.Linear], x: jax.Array) -> Any:
        times = jnp.linspace(0, 1, 6)
        path = diffrax.LinearInterpolation(times, jnp.concatenate([times[:, None], x], 1))
        term = diffrax.ControlTerm(lambda t, y, args: model[0](y).reshape(8, 9), path).to_ode()
        return model[1](diffrax.diffeqsolve(term, diffrax.Heun(), 0, 1, 0.2, x[0]).ys[-1])

    return f, (field, eqx.nn.Linear(8, 2, key=jax.random.key(1)))
