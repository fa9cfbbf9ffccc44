"""The network: its static description.

    a[0] = x,   z[l] = a[l-1] θ[l-1] + b[l-1],   a[l] = σ(z[l]),   l = 1 … L;   ŷ = a[L] = g(z[L])

Between hidden layers another kind of block may take the place of a θ + b (`blocks`).

Index legend: B examples, L layers of weights, n[l] units in layer l. Examples are rows: x is
(n[0],) for one and (B, n[0]) for a batch; z[l] and a[l] are (n[l],) or (B, n[l]); θ[i] is
(n[i], n[i+1]); b[i] is (n[i+1],). The last layer has the output activation g of the task.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import SupportsIndex

import jax

from .activations import Activation, find_activation
from .blocks import DENSE, Block
from .tasks import Task, find_task


@jax.tree_util.register_static
@dataclass(frozen=True, init=False, repr=False)
class Network:
    """The static description of a network: its widths, its activation and its task.

    Args:
        sizes: (n[0], …, n[L]), the units of the input, of each hidden layer and of the output.
            Two entries are a network without hidden layers: linear or logistic regression.
        activation: σ of the hidden layers, a name in `jaxnn.ACTIVATIONS` or an `Activation`.
        task: regression, binary or multiclass: output activation and loss, see `jaxnn.TASKS`.
        hidden: the kind of block between hidden layers of one width: `jaxnn.Dense()`, the article's
            layer, `Residual`, `RMSNorm`, `LayerNorm`, `BatchNorm`, `PostNorm`, one in another, or
            one of your own, see `jaxnn.Block`. The first and the last layer are Dense always.

    Hashable, and static under `jax.jit`: it is a pytree without leaves, so `jax.jit(jaxnn.forward)`
    accepts it with or without `static_argnums=0`.

    Raises:
        ValueError: fewer than two sizes, a size below 1, an unknown name, multiclass with one
            output, or hidden layers of several widths between which the block cannot stand.
        TypeError: sizes that are not integers, or an activation, task or block of another type.

    Example:
        >>> import jaxnn
        >>> jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        Network(sizes=(3, 4, 1), activation='sigmoid', task='binary')
    """

    sizes: tuple[int, ...]
    activation: Activation
    task: Task
    hidden: Block

    def __init__(
        self,
        sizes: Sequence[SupportsIndex],
        activation: str | Activation,
        task: str | Task,
        hidden: Block = DENSE,
    ):
        fields = (_check_sizes(sizes), find_activation(activation), find_task(task))
        for name, value in zip(("sizes", "activation", "task"), fields, strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "hidden", _check_block(hidden, self.sizes[1:-1]))
        if self.task.name == "multiclass" and self.sizes[-1] < 2:
            raise ValueError(
                "sizes: multiclass needs at least 2 outputs, got 1; use task='binary' for two "
                "classes in one output"
            )

    def __repr__(self) -> str:
        hidden = "" if self.hidden == DENSE else f", hidden={self.hidden!r}"
        return (
            f"Network(sizes={self.sizes}, activation={self.activation.name!r}, "
            f"task={self.task.name!r}{hidden})"
        )


def _check_block(hidden: Block, widths: tuple[int, ...]) -> Block:
    if isinstance(hidden, type) or not isinstance(hidden, Block):
        raise TypeError(f"hidden: expected a block such as jaxnn.Residual(), got {hidden!r}")
    hash(hidden)  # as a part of what is static
    if hidden != DENSE and len(set(widths)) > 1:
        raise ValueError(
            f"hidden: {hidden!r} stands between hidden layers of one width, got the widths "
            f"{', '.join(map(str, sorted(set(widths))))}; make them equal, or leave hidden out"
        )
    return hidden


def _check_sizes(sizes: Sequence[SupportsIndex]) -> tuple[int, ...]:
    what = "sizes: expected at least two positive integers (n[0], …, n[L])"
    try:
        checked = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(f"{what}, got {sizes!r}") from None
    if len(checked) < 2 or min(checked) < 1 or any(isinstance(n, bool) for n in sizes):
        raise ValueError(f"{what}, got {sizes!r}")
    return checked
