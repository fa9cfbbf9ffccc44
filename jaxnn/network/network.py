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

from ..texts import told
from .activations import ACTIVATIONS, Activation, check_slope, find_activation
from .blocks import DENSE, Block
from .lists import check_count, each, grouped, is_list, one_if_equal
from .tasks import Task, find_task


@jax.tree_util.register_static
@dataclass(frozen=True, init=False, repr=False)
class Network:
    """The static description of a network: its widths, its activation and its task.

    Args:
        sizes: (n[0], …, n[L]), the units of the input, of each hidden layer and of the output.
            Two entries are a network without hidden layers: linear or logistic regression.
        activation: σ of the hidden layers, a name in `jaxnn.network.ACTIVATIONS` or an
            `Activation`; or a list of them, one for each of the L-1 hidden layers.
        task: regression, binary or multiclass: output activation and loss, see
            `jaxnn.network.TASKS`.
        hidden: the kind of block between hidden layers of one width: `jaxnn.blocks.Dense()`, the
            article's layer, `Residual`, `RMSNorm`, `LayerNorm`, `BatchNorm`, `PostNorm`, one in
            another, or one of your own, see `jaxnn.blocks.Block`. The first and the last layer are
            Dense always, so a list has L-2 entries, one for each hidden layer after the first. Of a
            list each entry but `Dense()` needs the same width below it and above.

    A list of equal entries is the network that has this entry once. Of a list the compiled programs
    grow with the number of different pairs (block, σ) in a run of layers, see
    `jaxnn.network.stack`. With a `depth` the layers left out take their entries with them: what
    remains is the start.

    Hashable, and static under `jax.jit`: it is a pytree without leaves, so `jax.jit(jaxnn.forward)`
    accepts it with or without `static_argnums=0`.

    Raises:
        ValueError: fewer than two sizes, a size below 1, an unknown name, multiclass with one
            output, a list of another length, or hidden layers of several widths between which the
            block cannot stand.
        TypeError: sizes that are not integers, or an activation, task or block of another type.

    Example:
        >>> import jaxnn
        >>> jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        Network(sizes=(3, 4, 1), activation='sigmoid', task='binary')
        >>> jaxnn.Network((3, 4, 4, 4, 1), ["relu", "tanh", "tanh"], "binary")
        Network(sizes=(3, 4, 4, 4, 1), activation=['relu', *['tanh'] * 2], task='binary')
    """

    sizes: tuple[int, ...]
    activation: Activation | tuple[Activation, ...]
    task: Task
    hidden: Block | tuple[Block, ...]

    def __init__(
        self,
        sizes: Sequence[SupportsIndex],
        activation: str | Activation | Sequence[str | Activation],
        task: str | Task,
        hidden: Block | Sequence[Block] = DENSE,
    ):
        checked = _check_sizes(sizes)
        fields = {
            "sizes": checked,
            "activation": _check_activation(activation, len(checked) - 2),
            "task": find_task(task),
            "hidden": _check_hidden(hidden, checked[1:-1]),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        if self.task.name == "multiclass" and self.sizes[-1] < 2:
            raise ValueError(
                "sizes: multiclass needs at least 2 outputs, got 1; use task='binary' for two "
                "classes in one output"
            )

    @property
    def activations(self) -> tuple[Activation, ...]:
        """σ of each hidden layer."""
        sigma = self.activation
        return sigma if isinstance(sigma, tuple) else (sigma,) * (len(self.sizes) - 2)

    @property
    def activation_name(self) -> str:
        """The name of σ, or of a list the names as Python writes a list."""
        sigma = self.activation
        return grouped(s.name for s in sigma) if isinstance(sigma, tuple) else sigma.name

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The block of each layer of weights; the first and the last are Dense."""
        hidden, count = self.hidden, len(self.sizes) - 1
        between = (hidden,) * (count - 2) if isinstance(hidden, Block) else hidden
        return (DENSE, *between, DENSE)[:count]

    @property
    def homogeneous(self) -> bool:
        """True if σ(cz) = c σ(z) for every c > 0 in all layers."""
        given = self.activation
        return all(sigma.homogeneous for sigma in (given if isinstance(given, tuple) else [given]))

    def __repr__(self) -> str:
        name, hidden = self.activation_name, self.hidden
        sigma = name if isinstance(self.activation, tuple) else repr(name)
        blocks = repr(hidden) if isinstance(hidden, Block) else grouped(hidden)
        between = "" if hidden == DENSE else f", hidden={blocks}"
        return f"Network(sizes={self.sizes}, activation={sigma}, task={self.task.name!r}{between})"


def _check_activation(
    activation: str | Activation | Sequence[str | Activation], count: int
) -> Activation | tuple[Activation, ...]:
    """Return the activation of all hidden layers, or of each."""
    if isinstance(activation, str | Activation) or not is_list(activation):
        return _with_right_slope(activation)  # type: ignore[arg-type]
    check_count("activation", activation, count, "hidden layer")
    checked = each("activation", activation, _with_right_slope)
    return one_if_equal(checked) if checked else ACTIVATIONS["identity"]


def _with_right_slope(activation: str | Activation) -> Activation:
    found = find_activation(activation)
    check_slope(found)
    return found


def _check_hidden(
    hidden: Block | Sequence[Block], widths: tuple[int, ...]
) -> Block | tuple[Block, ...]:
    """Return the block between all hidden layers, or of each after the first."""
    if isinstance(hidden, Block) or not is_list(hidden):
        block = _check_block(hidden)
        if block != DENSE and len(set(widths)) > 1:
            raise ValueError(
                f"hidden: {block!r} stands between hidden layers of one width, got the widths "
                f"{', '.join(map(str, sorted(set(widths))))}; make them equal, leave hidden out, "
                "or give a list with jaxnn.blocks.Dense() where the width changes"
            )
        return block
    count = max(0, len(widths) - 1)
    check_count("hidden", hidden, count, "hidden layer after the first")
    blocks = each("hidden", hidden, _check_block)
    for i, (block, below, above) in enumerate(zip(blocks, widths, widths[1:], strict=False)):
        if block != DENSE and below != above:
            raise ValueError(
                f"hidden[{i}]: {block!r} stands between hidden layers of one width, got {below} "
                f"and {above}; make them equal, or put jaxnn.blocks.Dense() there"
            )
    return one_if_equal(blocks) if blocks else DENSE


def _check_block(hidden: object) -> Block:
    if isinstance(hidden, type) or not isinstance(hidden, Block):
        raise TypeError(
            f"hidden: expected a block such as jaxnn.blocks.Residual(), got {told(hidden)}"
        )
    hash(hidden)  # as a part of what is static
    return hidden


def _check_sizes(sizes: Sequence[SupportsIndex]) -> tuple[int, ...]:
    what = "sizes: expected at least two positive integers (n[0], …, n[L])"
    try:
        checked = tuple(operator.index(n) for n in sizes)
    except TypeError:
        raise TypeError(f"{what}, got {told(sizes)}") from None
    if len(checked) < 2 or min(checked) < 1 or any(isinstance(n, bool) for n in sizes):
        raise ValueError(f"{what}, got {told(sizes)}")
    return checked
