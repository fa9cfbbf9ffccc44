"""A plan of number formats in words: the cheapest for each layer, and the scales of the loss.

shares that each format keeps -> the cheapest that keeps enough, of each layer -> equal
neighbours as one line
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from ...texts import stretch_in_words
from ..formats.format_loss import (
    KEEP,
    SCALED,
    Histogram,
    histograms,
    layers_of,
    loss_scale,
    scalings,
)
from ..formats.number_formats import NARROW
from ..record.flow import Flow
from ..view.table import assert_counted, assert_one, sentences_as_html

HEADS = {
    "delta": "Δ",
    "state": "states",
    "delta_parameter": "Δ of parameters",
    "parameter": "parameters",
}
WORDS = {
    "none": "",
    "loss": " with the loss multiplied by 2^{}",
    "tensor": " with one scale a tensor",
}  # the simplest first
ORDER = tuple(WORDS)
DIGITS = {kind.name: kind.digits for kind in NARROW} | {"float32": 0}
Row = dict[str, Any]  # as a table has it, by the names of its columns
WIDER = ("float32", "none", 0, 32.0, 1.0)  # where no narrow format keeps enough


@dataclass(frozen=True)
class Plan:
    """The cheapest number format for each layer; `print` it to read it.

    rows: of each layer and of each of delta, state, delta_parameter and parameter the format, its
        scaling (none, loss or tensor), the k of a loss that is multiplied by 2^k, the bits
        of a number, and kept, the share of the square norm that the array keeps that loses most.
        Where no format keeps enough, it is float32, and kept is 1.
    windows: of each format the least and the largest k for which it keeps enough of every Δ in the
        whole network, with the loss multiplied by 2^k; None if there is no such k.
    names: of the layers.
    """

    rows: tuple[Row, ...]
    windows: dict[str, tuple[int, int] | None]
    names: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join((*self.lines, *self._windows_text()))

    def _repr_html_(self) -> str:
        return sentences_as_html(str(self))

    @property
    def lines(self) -> Iterator[str]:
        """A line for each stretch of equal layers."""
        for part, head in HEADS.items():
            rows = [row for row in self.rows if row["of"] == part]
            for words, rows_alike in groupby(rows, _in_words):
                stretch = list(rows_alike)
                whole = len(stretch) == len(rows) > 1
                first, last = stretch[0]["layer"], stretch[-1]["layer"]
                layers = "all layers" if whole else stretch_in_words(first, last, self.names)
                yield f"{head}, {layers}: {words}"

    def _windows_text(self) -> Iterator[str]:
        parts = [
            f"{name} {'at no scale' if at is None else f'2^{at[0]} to 2^{at[1]}'}"
            for name, at in self.windows.items()
        ]
        yield f"Scales of the loss that keep {100 * KEEP:.6g} % of every Δ: {', '.join(parts)}."


def plan(flow: Flow) -> Plan:
    """Choose the cheapest number format for each layer that keeps 99.9 % of its square norm.

    A format keeps Σ x² over the entries that it makes neither zero nor too large, divided by Σ x²
    over all, of Δ, of the states, of parameters and of their Δ. Cheaper are fewer bits, then the
    simpler scale: none, one for the loss, one for each tensor; then more digits. The loss
    has one scale for all Δ, that with which they cost least together.

    What is kept is rounded besides, by 2^-11 of a number at most in float16, 2^-8 in bfloat16, 2^-4
    in float8_e4m3fn and 2^-3 in float8_e5m2. That is not judged here.

    Args:
        flow: measured with entries=True, of one network, and with known values (outside `jit`).

    Returns:
        Plan; `print` it to read it. Equal neighbours are one line.

    Raises:
        TypeError: a traced flow, or one of several networks.
        ValueError: a flow that was measured without entries=True.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> layers = [(lambda w, z: z @ w, jnp.eye(32)) for _ in range(12)]
        >>> net, params = jaxnn.as_network(layers)
        >>> c = jax.random.normal(jax.random.key(0), (4, 32)) * 1e-9
        >>> flow = jaxnn.gradient_flow((net, params), c * 1e9, cotangent=c, entries=True)
        >>> print(str(plan(flow)).split(chr(10))[0])
        Δ, all layers: float8_e4m3fn with the loss multiplied by 2^35

    Source: ranges as in `Flow.formats`.
    """
    assert_one(flow)
    assert_counted(flow)
    entries = histograms(flow.entries)
    deltas = [entries[what] for what in SCALED if what in entries]
    scales = {kind: loss_scale(kind, deltas) for kind in NARROW}

    def rows(is_scaled: bool, scale: int) -> list[Row]:
        return [
            row
            for what, histogram in entries.items()
            if (what in SCALED) == is_scaled
            for row in _rows(what, np.array(layers_of(flow, what)), histogram, scale)
        ]

    powers = dict.fromkeys((0, *(scale.best for scale in scales.values())))
    chosen = min((rows(True, power) for power in powers), key=_cost)
    windows = {kind.name: scale.window for kind, scale in scales.items()}
    return Plan((*chosen, *rows(False, 0)), windows, flow.names)


def _cost(rows: list[Row]) -> tuple[float, int, int, int]:
    """Return what a choice for all Δ costs, to be compared: bits, then scales, then digits."""
    scales = [ORDER.index(row["scaling"]) for row in rows]
    digits = sum(DIGITS[row["format"]] for row in rows)
    return sum(row["bits"] for row in rows), len({*scales} - {0}), sum(scales), -digits


def _rows(what: str, layers: np.ndarray, arrays: Histogram, scale: int) -> Iterator[Row]:
    """Yield a row for each layer, of all of its arrays together, multiplied by 2^scale."""
    options = [
        (kind, scaling, kept.square)
        for kind in NARROW
        for scaling, kept in scalings(kind, arrays, scale or None)
        if not (scaling == "none" and scale)
    ]
    options.sort(key=lambda option: (option[0].bits, ORDER.index(option[1]), -option[0].digits))
    for layer in sorted(set(layers[arrays.known].tolist())):
        inside = (layers == layer) & arrays.known
        fitting = (
            (kind.name, scaling, scale if scaling == "loss" else 0, float(kind.bits), least)
            for kind, scaling, square in options
            if (least := float(square[inside].min())) >= KEEP
        )
        names = ("format", "scaling", "scale", "bits", "kept")
        yield {"layer": layer, "of": what} | dict(zip(names, next(fitting, WIDER), strict=True))


def _in_words(row: Row) -> str:
    return str(row["format"]) + WORDS[row["scaling"]].format(row["scale"])
