"""The layers from which a measurement differs from theory, in a sentence.

    d[l] = ln ‖Δ[l]‖ / ‖Δ[L]‖ - that of theory, from the last layer down
    d[l] = ln √(mean z[l]²) - that of theory, from the first layer up
    s[l] = its standard deviation over networks of this width

The s of one network is √R times the error of a twin with R replicas.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from ..record.flow import Flow

LN10 = float(np.log(10))
ERRORS = 4.0  # standard deviations that are known from four draws or more
LEAST = 0.1  # decades


def parting(flow: Flow) -> tuple[int, float] | None:
    """Return the highest layer where the gradient has left theory for good, and its decades there.

    From there down it stays apart. None if it does not, or theory was not measured.
    """
    if not _has_errors(flow):
        return None
    theory: Any = flow.theory
    measured, expected = (_below_the_last(v.log_delta) for v in (flow, theory))
    return _departure(measured - expected, _of_one_network(flow, "log_delta"), 0)


def signal_parting(flow: Flow) -> tuple[int, float] | None:
    """Return the lowest layer where the signal has left theory for good, and its decades there.

    From there up it stays apart. None if it does not, or theory was not measured.
    """
    if not _has_errors(flow):
        return None
    theory: Any = flow.theory
    measured, expected = (np.asarray(v.log_mean_square, np.float64) / 2 for v in (flow, theory))
    error = _of_one_network(flow, "log_mean_square") / 2
    return _departure(measured - expected, error, len(measured) - 1)


def _has_errors(flow: Flow) -> bool:
    return flow.theory is not None and flow.theory.errors is not None


def _of_one_network(flow: Flow, name: str) -> np.ndarray:
    """Return the standard deviation of a number over networks, s."""
    theory: Any = flow.theory
    one: np.ndarray = np.asarray(getattr(theory.errors, name), np.float64) * theory.replicas**0.5
    return one


def _departure(apart: np.ndarray, error: np.ndarray, end: int) -> tuple[int, float] | None:
    """Return the layer from which on, up to an end, a flow is apart, and its decades there.

    Args:
        apart: d, in nats.
        error: s.
        end: 0 for what goes down, the last place for what goes up.
    """
    order = slice(None) if end == 0 else slice(None, None, -1)
    apart, error = apart[order], error[order]
    known = np.isfinite(apart) & np.isfinite(error)
    off = known & (np.abs(apart) > np.maximum(ERRORS * error, LEAST * LN10))
    lasts = np.logical_and.accumulate(off | ~known | _crosses(apart, off))  # from the end on
    if not off.any() or not lasts[0]:
        return None
    first = int(np.flatnonzero(lasts & off)[-1])
    worst = int(np.argmax(np.abs(np.where(off & lasts, apart, 0))))
    return abs(end - first) + 1, float(apart[worst]) / LN10


def _crosses(apart: np.ndarray, off: np.ndarray) -> np.ndarray:
    """Return the layers where a flow only crosses theory, from one side of it to the other."""
    signs = np.where(off, np.sign(apart), 0)
    crosses = np.zeros(len(off), bool)
    for low, high in pairwise(np.flatnonzero(off)):
        crosses[low + 1 : high] = signs[low] != signs[high]
    return crosses


def _below_the_last(log_delta: Any) -> np.ndarray:
    values = np.asarray(log_delta, np.float64)
    below: np.ndarray = values - values[-1]
    return below


def theory_text(flow: Flow, label: Callable[[int], str]) -> str:
    """Say from which layer on a flow has left theory; nothing if it follows."""
    down, up = parting(flow), signal_parting(flow)
    parts = []
    if down is not None:
        layer, decades = down
        follows = f"Follows theory down to layer {label(layer + 1)}; "
        parts.append(
            f"{follows if layer < len(flow.names) else ''}from layer {label(layer)} down the "
            f"gradient parts from that of random weights of these sizes, by up to {decades:+.2g} "
            "decades"
        )
    if up is not None:
        layer, decades = up
        parts.append(
            f"from layer {label(layer)} up the signal parts from that of random weights of these "
            f"sizes, by up to {decades:+.2g} decades"
        )
    if not parts:
        return ""
    text = "; ".join(parts)
    return (
        f"{text[0].upper()}{text[1:]}: the weights are correlated, as those are that were trained "
        "or that several layers share, or have a mean that is not zero, or the network is narrow."
    )
