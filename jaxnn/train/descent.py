"""Descent: steps of an optimiser on a user's own network of JAX, whose arrays do not change.

trainee, floats -> loss, gradient -> optimiser -> other floats
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..arrays.rows import at_least_float32
from ..chain.apply import Kept
from .steps import Optimizer, moved_by, strongly_typed
from .trainee import Trainee, learned, loss_through

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def begun(trainee: Trainee, optimizer: Optimizer) -> tuple[Any, Any]:
    """Return what is learned, and the state of an optimiser of it."""
    floats = strongly_typed(learned(trainee.tree))
    return floats, strongly_typed(jax.tree.map(jnp.asarray, optimizer.init(floats)))


def descended(
    trainee: Trainee,
    optimizer: Optimizer,
    floats: PyTree,
    opt_state: PyTree,
    xs: PyTree,
    keep: Callable[[Any], Any] = lambda state: (),
) -> tuple[Any, Any, Array, list[Kept]]:
    """Return floats and the optimiser's state after a step, and loss and states before it."""
    mean_loss = loss_through(trainee, xs, keep)
    (value, (_, states)), gradient = jax.value_and_grad(mean_loss, has_aux=True)(floats)
    moved = moved_by(
        optimizer, gradient, opt_state, floats, value, lambda floats: mean_loss(floats)[0]
    )
    return *moved, value, states


# Adam, where no optimiser is given: optax need not be installed.


class _Adam:
    """m ← β₁ m + (1 - β₁) Δ, v ← β₂ v + (1 - β₂) Δ², u = -η m̂ / (√v̂ + ε).

    Source: Kingma and Ba 2015, arXiv:1412.6980.
    """

    @staticmethod
    def init(params: PyTree) -> Any:
        """Return m, v and the number of steps."""
        m = jax.tree.map(lambda p: at_least_float32(jnp.zeros_like(p)), params)
        return m, jax.tree.map(jnp.abs, m), jnp.zeros((), jnp.int32)

    @staticmethod
    def update(gradient: PyTree, state: Any, params: PyTree = None) -> tuple[Any, Any]:
        """Return u and the next state."""
        m, v, t = state
        m = jax.tree.map(lambda m, g: _moved(m, at_least_float32(g), BETA1), m, gradient)
        v = jax.tree.map(
            lambda v, g: _moved(v, jnp.abs(at_least_float32(g)) ** 2, BETA2), v, gradient
        )

        def change(m: Array, v: Array, g: Array) -> Array:
            bias1, bias2 = (1 - beta ** (t + 1).astype(v.dtype) for beta in (BETA1, BETA2))
            u: Array = -RATE * (m / bias1) / (jnp.sqrt(v / bias2) + EPSILON)
            return u.astype(g.dtype)

        return jax.tree.map(change, m, v, gradient), (m, v, t + 1)


def _moved(mean: Array, value: Array, beta: float) -> Array:
    return beta * mean + (1 - beta) * value


ADAM = _Adam()
