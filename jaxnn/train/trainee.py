"""A network of JAX as a training sees it: a chain, the user's own pytree, and a loss.

model -> net, tree, loss, ys        tree = learned floats + all else, which stays as it is
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, PyTree

from ..arrays.rows import can_be_learned
from ..chain.apply import Kept, applied
from ..chain.chain import Chain
from ..chain.from_network import as_chain
from ..chain.parameter_handover import is_array
from ..flow.record.loss import Loss, mean_of
from ..models import Model, Program, as_network, own_pytree
from ..network.checks import check_data, check_params
from ..network.network import Network
from ..network.tasks import label_rows


class Trainee(NamedTuple):
    """A network with what a training of it takes."""

    net: Chain
    tree: PyTree  # the pytree that the chain was made of, whose floats are learned
    loss: Loss
    ys: PyTree


@dataclass(frozen=True)
class _OfTask:
    """The loss of a Network's task, of labels in any form that the task accepts."""

    net: Network

    def __call__(self, z: Array, ys: Array) -> Array:
        rows = label_rows(self.net.task, ys, z.shape[:1], self.net.sizes[-1], z.dtype)
        return self.net.task.loss(z, rows)


def trainee_of(program: Program) -> Trainee:
    """Return a program of JAX as a training sees it."""
    model, ys, loss = program.model, program.ys, program.loss
    net, params = program.network
    if isinstance(net, Network):
        if loss is not None or ys is None:
            raise ValueError("ys, loss: expected ys and no loss with a Network, whose task has it")
        layers = check_params(net, params)
        check_data(net, program.xs, ys)
        return Trainee(as_chain(net, layers)[0], tree_of(model), _OfTask(net), ys)
    if loss is None:
        raise ValueError("loss: expected loss(output, ys) -> (B,) or a number, got None")
    return Trainee(net, tree_of(model), loss, ys)


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
