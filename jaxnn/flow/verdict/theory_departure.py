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
    return _departure(flow, "log_delta")


def signal_departure(flow: Flow) -> TheoryDeparture | None:
    """Return the lowest layer where the signal has left theory for good, if measured and any."""
    return _departure(flow, "log_mean_square")


def _departure(flow: Flow, name: str) -> TheoryDeparture | None:
    """Return the layer from which on, up to an end, a flow is apart, and its decades there."""
    theory, goes_down = flow.theory, name == "log_delta"
    if theory is None or theory.errors is None:
        return None
    measured, expected, error = (
        np.asarray(getattr(v, name), np.float64) / (1 if goes_down else 2)
        for v in (flow, theory, theory.errors)
    )
    # How far one network of this width may be from theory
    most = np.asarray(errors_of(theory.draws, ERRORS) * (error * theory.replicas**0.5))
    if goes_down:
        apart = (measured - measured[-1]) - (expected - expected[-1])
    else:
        apart, most = (measured - expected)[::-1], most[::-1]
    known = np.isfinite(apart) & np.isfinite(most)
    off = known & (np.abs(apart) > np.maximum(most, LEAST * LN10))
    lasts = np.logical_and.accumulate(off | ~known | _crosses(apart, off))  # from the end on
    if not off.any() or not lasts[0]:
        return None
    first = int(np.flatnonzero(lasts & off)[-1])
    worst = int(np.argmax(np.abs(np.where(off & lasts, apart, 0))))
    layer = first + 1 if goes_down else len(apart) - first
    return TheoryDeparture(layer, float(apart[worst]) / LN10)


def _crosses(apart: np.ndarray, off: np.ndarray) -> np.ndarray:
    """Return the layers where a flow only crosses theory, from one side of it to the other."""
    signs = np.where(off, np.sign(apart), 0)
    crosses = np.zeros(len(off), bool)
    for low, high in pairwise(np.flatnonzero(off)):
        crosses[low + 1 : high] = signs[low] != signs[high]
    return crosses
