"""Two flows of one network next to each other: two checkpoints, or two settings of a training."""

from dataclasses import dataclass
from typing import Any

from ...texts import clean, labels
from ..record.flow import Flow
from ..view.table import assert_one, findings_as_html
from .judged import Judged

Row = dict[str, Any]  # as a table has it, by the names of its columns
CHANGED = 0.3  # decades: a factor of two, from which on a change is spoken of
MOST = 3  # changes of one kind that are named
SPOKEN = {
    "log10_delta": "Δ of the state of layer {}",
    "log10_mean_square": "the mean square of the state of layer {}",
    "log10_spread": "what differs between examples at layer {}",
}


@dataclass(frozen=True, repr=False)
class Comparison:
    """The changes from one flow to another; `print` it, or see its tables.

    rows: for each layer its number, its name, and for each number of `flow.table()` a column with
        the number in the first flow, and one with the change, `…_change`.
    parameter_rows: likewise for each parameter array.
    words: the two words of the verdict, such as steady and vanishing.
    """

    rows: list[Row]
    parameter_rows: list[Row]
    words: tuple[str, str]

    @property
    def sentences(self) -> tuple[str, ...]:
        """The words, then the largest changes of each kind, those of a factor of two or more."""
        first, second = self.words
        same = f"Still {first}." if first == second else f"From {first} to {second}."
        changes = [self._largest(self.rows, name, text) for name, text in SPOKEN.items()]
        changes.append(
            self._largest(self.parameter_rows, "log10_delta", "Δ of {}")
            or self._largest(self.parameter_rows, "log10_size", "the size of {}")
        )
        told = tuple(filter(None, changes))
        return (same, *(told or ("Nothing changed by a factor of two.",)))

    def _largest(self, rows: list[Row], name: str, text: str) -> str:
        column = f"{name}_change"
        changes = [
            (row.get(column, 0), place) for row, place in zip(rows, _places(rows), strict=True)
        ]
        large = sorted((c for c in changes if abs(c[0]) >= CHANGED), key=lambda c: -abs(c[0]))
        parts = [f"{text.format(clean(place))} by {change:+.2g}" for change, place in large[:MOST]]
        more = f", and {len(large) - MOST} more" if len(large) > MOST else ""
        return f"Changed, in decades: {', '.join(parts)}{more}." if parts else ""

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return findings_as_html(self.sentences)


def _places(rows: list[Row]) -> list[str]:
    """Return the paths of parameter arrays, or layers in words."""
    if rows and "path" in rows[0]:
        return [row["path"] for row in rows]
    return labels([row["name"] for row in rows])


def compare(flow: Flow, other: Flow) -> Comparison:
    """Return what changed from one flow to another of the same network.

    Args:
        flow: such as that of the start, or of an earlier checkpoint.
        other: of the same layers.

    Returns:
        Comparison; `print` it to read it in sentences.

    Raises:
        TypeError: something that is no flow of one network with known values.
        ValueError: flows of networks with other layers.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(3, 4, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0))
        >>> data = jnp.eye(2, 3), jnp.array([0, 1])
        >>> flow = jaxnn.gradient_flow((net, params), *data)
        >>> half = jax.tree.map(lambda v: v / 8, params)
        >>> print(jaxnn.compare(flow, jaxnn.gradient_flow((net, half), *data)).sentences[1][:29])
        Changed, in decades: Δ of the
    """
    assert_one(flow)
    assert_one(other)
    if (flow.names, flow.parameters.paths) != (other.names, other.parameters.paths):
        raise ValueError(
            f"flow, other: expected flows of one network, got {len(flow.names)} and "
            f"{len(other.names)} layers, or other names or parameter arrays"
        )
    return Comparison(
        _changes(flow.table(), other.table()),
        _changes(flow.parameter_table(), other.parameter_table()),
        (Judged(flow).rate.word, Judged(other).rate.word),
    )


def _changes(rows: list[Row], others: list[Row]) -> list[Row]:
    """Return rows with the change of each number to those of others."""
    changed: list[Row] = [{} for _ in rows]
    for row, other, made in zip(rows, others, changed, strict=True):
        for column, v in row.items():
            made[column] = v
            if isinstance(v, float) and column in other:
                made[f"{column}_change"] = other[column] - v
    return changed
