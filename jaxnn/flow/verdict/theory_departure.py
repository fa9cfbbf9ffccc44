"""The layers from which a measurement differs from theory.

    d[l] = ln ‖Δ[l]‖ / ‖Δ[L]‖ - that of theory, from the last layer down
    d[l] = ln √(mean z[l]²) - that of theory, from the first layer up
    s[l] = its standard deviation over networks of this width

The s of one network is √R times the error of a twin with R replicas. What theory leaves out is its
cause: a mean of the weights, a correlation of their entries, a width that is not infinite.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike

from ...evidence.parameters import WeightDraw
from ..measure.theory_flow import errors_of
from ..record.flow import Flow
from .rates import LN10

ERRORS = 3.0  # standard deviations of a Gaussian; of few draws, those that are as rare
LEAST = 0.1  # decades
EDGE = 1.5  # of the largest singular value of independent entries
PER_UNIT = 0.5  # layers


class TheoryDeparture(NamedTuple):
    """A departure from theory: the layer where it begins, and the decades where it is largest."""

    layer: int
    decades: float


class Cause(NamedTuple):
    """The cause of a departure: mean, correlated, narrow or unknown, and weights that show it."""

    kind: str
    paths: tuple[str, ...] = ()


def cause_of_departure(flow: Flow, draws: Mapping[str, WeightDraw]) -> Cause:
    """Return the cause of a departure from theory, the likeliest first."""
    off = {path: draw for path, draw in draws.items() if draw.is_drawn and draw.edge > EDGE}
    by_mean = [path for path, draw in off.items() if draw.mean_edge > EDGE]
    if off:
        return Cause("mean", (*by_mean,)) if by_mean else Cause("correlated", (*off,))
    widths = [shape[-1] for shape in flow.parameters.shapes if len(shape) > 1]
    is_narrow = bool(widths) and len(flow.names) > PER_UNIT * float(np.median(widths))
    return Cause("narrow" if is_narrow else "unknown")


def gradient_departure(flow: Flow) -> TheoryDeparture | None:
    """Return the highest layer where the gradient has left theory for good, if measured and any."""
    theory = flow.theory
    if theory is None or theory.errors is None:
        return None
    measured, expected = (np.asarray(v.log_delta, np.float64) for v in (flow, theory))
    measured, expected = measured - measured[-1], expected - expected[-1]
    return _departure(measured - expected, _most(theory, theory.errors.log_delta), 0)


def signal_departure(flow: Flow) -> TheoryDeparture | None:
    """Return the lowest layer where the signal has left theory for good, if measured and any."""
    theory = flow.theory
    if theory is None or theory.errors is None:
        return None
    measured, expected, error = (
        np.asarray(v.log_mean_square, np.float64) / 2 for v in (flow, theory, theory.errors)
    )
    return _departure(measured - expected, _most(theory, error), len(measured) - 1)


def _most(theory: Flow, errors: ArrayLike) -> np.ndarray:
    """Return how far one network of this width may be from theory."""
    spread = np.asarray(errors, np.float64) * theory.replicas**0.5
    return np.asarray(errors_of(theory.draws, ERRORS) * spread)


def _departure(apart: np.ndarray, most: np.ndarray, end: int) -> TheoryDeparture | None:
    """Return the layer from which on, up to an end, a flow is apart, and its decades there."""
    # end: 0 for what goes down, the last place for what goes up; apart, most: in nats.
    order = slice(None) if end == 0 else slice(None, None, -1)
    apart, most = apart[order], most[order]
    known = np.isfinite(apart) & np.isfinite(most)
    off = known & (np.abs(apart) > np.maximum(most, LEAST * LN10))
    lasts = np.logical_and.accumulate(off | ~known | _crosses(apart, off))  # from the end on
    if not off.any() or not lasts[0]:
        return None
    first = int(np.flatnonzero(lasts & off)[-1])
    worst = int(np.argmax(np.abs(np.where(off & lasts, apart, 0))))
    return TheoryDeparture(abs(end - first) + 1, float(apart[worst]) / LN10)


def _crosses(apart: np.ndarray, off: np.ndarray) -> np.ndarray:
    """Return the layers where a flow only crosses theory, from one side of it to the other."""
    signs = np.where(off, np.sign(apart), 0)
    crosses = np.zeros(len(off), bool)
    for low, high in pairwise(np.flatnonzero(off)):
        crosses[low + 1 : high] = signs[low] != signs[high]
    return crosses
