"""Descent: a network of JAX as a training sees it, and steps of an optimiser on it.

model -> net, tree, loss, ys        tree = learned floats + all else, which stays as it is
floats -> loss, gradient -> optimiser -> other floats
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from ..arrays.rows import at_least_float32, can_be_learned
from ..chain.apply import Kept, applied
from ..chain.chain import Chain
from ..chain.from_network import as_chain
from ..chain.parameter_handover import is_array
from ..flow.record.loss import Loss, LossOfTop, mean_of
from ..models import Model, Program, as_network, own_pytree
from ..network.checks import check_data, check_params
from ..network.network import Network
from .steps import Optimizer, moved_by, strongly_typed

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


class Trainee(NamedTuple):
    """A network with what a training of it takes."""

    net: Chain
    tree: PyTree  # the pytree that the chain was made of, whose floats are learned
    loss: Loss
    ys: PyTree


def trainee_of(program: Program) -> Trainee:
    """Return a program of JAX as a training sees it."""
    model, ys, loss = program.model, program.ys, program.loss
    net, params = program.network
    if isinstance(net, Network):
        if loss is None and ys is None:
            raise ValueError("ys: expected labels for the loss of a Network's task, got None")
        layers = check_params(net, params)
        if loss is None:
            check_data(net, program.xs, ys)
        return Trainee(as_chain(net, layers)[0], tree_of(model), LossOfTop(net, loss), ys)
    if loss is None:
        raise ValueError("loss: expected loss(output, ys) -> (B,) or a number, got None")
    return Trainee(net, tree_of(model), loss, ys)


@dataclass(frozen=True)
class Logits:
    """A Network as a function (params, xs) -> z[L] of the user's own parameters."""

    net: Network

    def __call__(self, params: PyTree, xs: PyTree) -> Any:
        return applied(*as_chain(self.net, check_params(self.net, params)), xs)[0]


def as_function(program: Program) -> Program:
    """Return a Network as a function with its parameters, whose loss is of z[L]; others as is."""
    net, params = (None, None) if program.of_torch else program.network
    if not isinstance(net, Network):
        return program
    model, loss = (Logits(net), params), LossOfTop(net, program.loss)
    function = program.but(model=model, loss=loss)
    return function.but(network=as_network(model, program.xs))


def tree_of(model: Model) -> PyTree:
    """Return the pytree with a model's parameters, of (net, params) that of its chain."""
    tree = own_pytree(model)
    if tree is not None:
        return tree
    net, params = as_network(model)
    if isinstance(net, Network):
        net, params = as_chain(net, check_params(net, params))
    return net.user(params)


def learned(tree: PyTree) -> Any:
    """Return a pytree with its floats alone."""
    return jax.tree.map(lambda v: v if is_array(v) and can_be_learned(v) else None, tree)


def whole_of(floats: PyTree, tree: PyTree) -> Any:
    """Return a pytree with other floats."""
    return jax.tree.map(
        lambda now, v: v if now is None else now, floats, tree, is_leaf=lambda v: v is None
    )


def loss_through(
    trainee: Trainee, xs: PyTree, keep: Callable[[Any], Any] = lambda state: ()
) -> Callable[[PyTree], tuple[Array, tuple[Any, list[Kept]]]]:
    """Return floats -> the mean loss, and with it the output and what is kept of the states."""
    net, tree, loss, ys = trainee
    count = 1 if net.whole else len(jax.tree.leaves(xs)[0])

    def mean_loss(floats: PyTree) -> tuple[Array, tuple[Any, list[Kept]]]:
        output, states = applied(net, net.params(whole_of(floats, tree)), xs, keep)
        return mean_of(loss, output, ys, count), (output, states)

    return mean_loss


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
) -> tuple[Any, Any, Array, tuple[Any, list[Kept]]]:
    """Return floats and the optimiser's state after a step; loss, output and states before it."""
    mean_loss = loss_through(trainee, xs, keep)
    (value, before), gradient = jax.value_and_grad(mean_loss, has_aux=True)(floats)
    moved = moved_by(
        optimizer, gradient, opt_state, floats, value, lambda floats: mean_loss(floats)[0]
    )
    return *moved, value, before


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
