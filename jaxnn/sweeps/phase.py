"""Phase diagrams: what random networks of a build do, over a grid of two of its scales.

    axes -> points -> build(**point) -> pairs of its wide twin -> rows, critical lines, map

    rate     log10(‖Δ[a]‖ / ‖Δ[b]‖) / (b - a)             ½ log10 χ(q*) of dense layers
    ξ        |δ[l]| ~ e^(-l/ξ)                            of `theory.correlation_length`
    q        mean square of the state below the last      q* of dense layers

or, of states that are nearly alike, both numbers of `theory.exponents`. a and b are the first and
the last layer of the upper two thirds, without the last layer. Where the rate, or an exponent, is 0
lies its critical line: between order, where gradients vanish and tokens meet, and chaos, where they
explode and part. It is found by linear interpolation: the finer the grid, the finer the line.

Sources: Poole et al. 2016, arXiv:1606.05340; Schoenholz et al. 2017, arXiv:1611.01232; Cowsik et
al. 2024, arXiv:2403.02579.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..flow.theory.correlation import length_of, pairs_of_twins
from ..flow.theory.exponents import exponents
from ..flow.view.chart import with_picture
from ..flow.view.table import LN10
from ..returned import arguments
from ..texts import clean, cleaned, counted, listed, told
from .frame import Row, Rows
from .phase_chart import phase_chart
from .points import SEED, Point, called, check_build, points_of, shown, values_of
from .walk import walk

WHAT = "a phase diagram"
OF_THE_TWIN = ("model", "xs", "each", "cuts")


class Measured(NamedTuple):
    """A point of a phase diagram, with its numbers or the reason why there are none."""

    point: Point
    numbers: Sequence[float] = ()
    reason: str = ""


class Phases(NamedTuple):
    """The numbers measured at each point of the map.

    columns: the names of its numbers.
    lines: columns whose zeros are critical, each with what it is below zero and above.
    measure: what `build` returned, without a loss -> the numbers.
    """

    columns: tuple[str, ...]
    lines: Mapping[str, tuple[str, str]]
    measure: Callable[..., tuple[float, ...]]


class Crossing(NamedTuple):
    """A point of the critical line.

    at: the value of the second axis.
    value: the value of the first axis at which the rate is 0, by linear interpolation.
    low, high: the values of the grid that it lies between.
    """

    at: float
    value: float
    low: float
    high: float


@dataclass(frozen=True, repr=False)
class PhaseDiagram(Rows):
    """The rows of a phase diagram; `print` it for a line a value of its second axis.

    `pandas.DataFrame(diagram)` and `polars.DataFrame(diagram)` take it as it is. Each point has a
    row with the values of the axes and

        rate, rate_error                        what a layer does to ‖Δ‖, in decades to the input
        correlation_length, …_error             of the examples, in layers; inf if nothing is lost
        log10_q                                 of the mean square of the last state but one
        reason                                  why there are no numbers, which are nan then

    or, with collapsed=True, instead of the first three

        angle, …_error, gradient, …_error       exponents of `theory.exponents`, in nats a layer

    axes: the names of the two axes, and their values in order.
    measured: the points.
    left: the number of points that were not measured, since it was stopped.
    collapsed: whether it has the exponents of the collapsed state.
    """

    axes: dict[str, tuple[float, ...]]
    measured: tuple[Measured, ...]
    left: int = 0
    collapsed: bool = False

    @property
    def _phases(self) -> Phases:
        return COLLAPSED if self.collapsed else OF_STATES

    @cached_property
    def _rows(self) -> list[Row]:
        return cleaned([self._row(m) for m in self.measured])

    def _row(self, measured: Measured) -> Row:
        point, numbers, reason = measured
        columns = self._phases.columns
        known = zip(columns, numbers or len(columns) * [math.nan], strict=True)
        return {name: shown(value) for name, value in point.items()} | {
            **dict(known),
            "reason": reason,
        }

    def grid(self, column: str) -> np.ndarray:
        """Return the numbers of a column, a row for each value of the second axis; nan if none."""
        first, second = self.axes
        numbers = {(row[second], row[first]): row[column] for row in self._rows}
        rows, columns = self.axes[second], self.axes[first]
        return np.array([[numbers.get((y, x), math.nan) for x in columns] for y in rows])

    @cached_property
    def critical(self) -> tuple[Crossing, ...]:
        """The critical line of the rate, or of the angle, where it crosses the rows of the grid."""
        return self.crossings(next(iter(self._phases.lines)))

    def crossings(self, column: str) -> tuple[Crossing, ...]:
        """Return where the line on which a column is 0 crosses the rows of the grid."""
        xs, ys = self.axes.values()
        crossings = []
        for y, rates in zip(ys, self.grid(column), strict=True):
            for (low, r), (high, s) in pairwise(zip(xs, rates.tolist(), strict=True)):
                if (r < 0 <= s) or (s < 0 <= r):
                    crossings.append(Crossing(y, low + (high - low) * r / (r - s), low, high))
        return tuple(crossings)

    @property
    def sentences(self) -> tuple[str, ...]:
        """A line for each value of the second axis, and what is missing."""
        lines = self._phases.lines
        said = []
        for place, at in enumerate(tuple(self.axes.values())[1]):
            parts = (self._phase_at(column, place, words) for column, words in lines.items())
            said.append(clean(f"{tuple(self.axes)[1]} {at:g}: {'; '.join(parts)}."))
        if self.left:
            said.append(f"Stopped: {counted(self.left, 'point')} not measured.")
        return tuple(said)

    def _phase_at(self, column: str, place: int, words: tuple[str, str]) -> str:
        """Say where a column is 0 in a row of the grid, or of which sign it is."""
        first, second = self.axes
        values = [
            f"{c.value:.3g} (between {c.low:g} and {c.high:g})"
            for c in self.crossings(column)
            if c.at == self.axes[second][place]
        ]
        if values:
            name = f"λ of the {column} is 0" if self.collapsed else "critical"
            return f"{name} at {first} {listed(values)}"
        known = self.grid(column)[place]
        known = known[np.isfinite(known)]
        return f"{words[int(known.min() > 0)]} throughout" if len(known) else "not measured"

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return with_picture(self.sentences, self.chart)

    def chart(self, column: str = "") -> Any:
        """Draw a column as a map over the two axes, with the critical lines.

        Args:
            column: "rate", "correlation_length" or "log10_q", or "angle" or "gradient"; the first
                by default.

        Returns:
            An Altair chart, as of `jaxnn.chart`.

        Raises:
            ValueError: no such column.
            ImportError: Altair is not installed.
        """
        columns = [name for name in self._phases.columns if not name.endswith("error")]
        column = column or columns[0]
        if column not in columns:
            raise ValueError(f"column: expected one of {listed(columns)}, got {column!r}")
        lines = {name: self.grid(name) for name in self._phases.lines}
        return phase_chart(self.axes, self.grid(column), lines, column)


def phase(
    build: Callable[..., Any],
    *,
    seed: int = 0,
    collapsed: bool = False,
    **axes: Sequence[float] | float,
) -> PhaseDiagram:
    """Return the phases of random networks over a grid of two scales: order, chaos, criticality.

    Theory of any network: at each point the wide twin of what `build` returns is measured, so the
    numbers are those of random weights of these sizes, at infinite width. They are of this depth:
    take a network several times as deep as its lowest layers need to forget the input. A
    correlation length that is not well below the depth says that it is long, and no more.

    Args:
        build: returns what `jaxnn.diagnose` takes, as for `jaxnn.sweep`; a loss is not used, and at
            least six layers are needed.
        seed: the value of its argument `seed`, if it has one.
        collapsed: measure the exponents of `theory.exponents` instead, of tokens, or examples, that
            are nearly alike: lines where their angle stays, and where the gradient does.
        axes: two of its arguments with several numbers each, such as sigma_w and sigma_b, and
            others with one value.

    Returns:
        PhaseDiagram: a row for each point, which `pandas.DataFrame` and `polars.DataFrame` take;
        `print` it, or see `.critical` and `.chart()`. Ctrl-C ends it with what was measured.

    Raises:
        ValueError: other than two axes, one sentence on an axis, or on the first network. What
            fails later has a row with its reason.
        TypeError: a `build` that cannot be called.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> xs = jax.random.normal(jax.random.key(1), (4, 16))
        >>> layer = lambda w, z: z @ w
        >>> def build(sigma, gain):  # linear layers, critical at sigma gain = 1/4
        ...     return [(layer, gain * sigma * jnp.ones((16, 16)))] * 6, xs
        >>> diagram = jaxnn.theory.phase(build, sigma=(0.2, 0.3), gain=(0.5, 1.0))
        >>> [round(10 ** row["rate"], 1) for row in diagram]
        [0.4, 0.8, 0.6, 1.2]
        >>> [(c.at, round(c.value, 2)) for c in diagram.critical]
        [(1.0, 0.25)]
    """
    check_build(build)
    values = {name: values_of(name, given) for name, given in axes.items()}
    several = {name: tuple(sorted(given)) for name, given in values.items() if len(given) > 1}
    if len(several) != 2:
        raise ValueError(
            "axes: expected two arguments of build with several numbers each, such as "
            f"sigma_w=(0.5, 1.0, 1.5), sigma_b=(0.0, 0.3), got {listed(several) or 'none'}"
        )
    for name, given in several.items():
        if not np.issubdtype(np.array(given).dtype, np.number) or not np.isfinite(given).all():
            raise ValueError(f"{name}: expected finite numbers, got {told(given)}")
    has_seed = SEED in inspect.signature(build).parameters and SEED not in axes
    points = points_of(build, values | several, None, seed if has_seed else None)
    measure = (COLLAPSED if collapsed else OF_STATES).measure
    measured = walk(points, partial(_measured, build, measure), _failed)
    return PhaseDiagram(several, tuple(measured), len(points) - len(measured), collapsed)


def _measured(
    build: Callable[..., Any], measure: Callable[..., tuple[float, ...]], point: Point
) -> Measured:
    target = called(build, point)
    given = arguments(build(**point), target)
    if not given:
        raise ValueError(f"{target}: expected it to return a network, got a jaxnn.Diagnosis")
    return Measured(point, measure(**{k: v for k, v in given.items() if k in OF_THE_TWIN}))


def _of_states(**network: Any) -> tuple[float, ...]:
    pairs = pairs_of_twins(WHAT, **network)
    first, last = (layer - 1 for layer in pairs.layers)
    delta, length = pairs.log_delta[:, 0], length_of(pairs)  # second twins repeat upper draws
    lost, span = delta[:, first] - delta[:, last], (last - first) * LN10
    return (
        _log_mean(2 * lost) / 2 / span,
        float(np.std(lost, ddof=1)) / len(lost) ** 0.5 / span,
        length.examples,
        float(length.examples_error),
        _log_mean(pairs.log_mean_square[:, 0, last]) / LN10,
    )


def _log_mean(logs: Float[np.ndarray, " D"]) -> float:
    """Return ln of the mean of what these are the logarithms of: theory averages squares."""
    return float(np.logaddexp.reduce(logs)) - math.log(len(logs))


def _collapsed(**network: Any) -> tuple[float, ...]:
    found = exponents(**network)
    return found.angle, found.angle_error, found.gradient, found.gradient_error


VANISH_OR_EXPLODE = ("gradients vanish", "gradients explode")
OF_STATES = Phases(
    ("rate", "rate_error", "correlation_length", "correlation_length_error", "log10_q"),
    {"rate": VANISH_OR_EXPLODE},
    _of_states,
)
COLLAPSED = Phases(
    ("angle", "angle_error", "gradient", "gradient_error"),
    {"angle": ("what is nearly alike meets", "it parts"), "gradient": VANISH_OR_EXPLODE},
    _collapsed,
)


def _failed(point: Point, reason: str) -> Measured:
    return Measured(point, reason=reason)
