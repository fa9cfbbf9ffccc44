"""The layer from which a measurement differs from theory, in a sentence.

    d[l] = ln ‖Δ[l]‖ / ‖Δ[L]‖ - that of theory
    s[l] = its standard deviation over networks of this width

The s of one network is √R times the error of a twin with R replicas.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from .flow import Flow

LN10 = float(np.log(10))
ERRORS = 4.0  # standard deviations
LEAST = 0.1  # decades


def parting(flow: Flow) -> tuple[int, float] | None:
    """Return the highest layer where a flow has left theory for good, and its decades there.

    From there down it stays apart. None if it does not, or theory was not measured.
    """
    theory = flow.theory
    if theory is None or theory.errors is None:
        return None
    measured, expected = (_below_the_last(v.log_delta) for v in (flow, theory))
    error = np.asarray(theory.errors.log_delta, np.float64) * theory.replicas**0.5
    apart = measured - expected
    known = np.isfinite(apart) & np.isfinite(error)
    off = known & (np.abs(apart) > np.maximum(ERRORS * error, LEAST * LN10))
    below = np.logical_and.accumulate(off | ~known | _crosses(apart, off))  # from layer 1 up
    if not off.any() or not below[0]:
        return None
    highest = int(np.flatnonzero(below & off)[-1])
    worst = int(np.argmax(np.abs(np.where(off & below, apart, 0))))
    return highest + 1, float(apart[worst]) / LN10


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
    """Say from which layer down a flow has left theory; nothing if it follows."""
    found = parting(flow)
    if found is None:
        return ""
    layer, decades = found
    follows = (
        "" if layer == len(flow.names) else f"Follows theory down to layer {label(layer + 1)}; "
    )
    return (
        f"{follows}{'from' if follows else 'From'} layer {label(layer)} down the gradient parts "
        f"from that of random weights of these sizes, by up to {decades:+.2g} decades: the weights "
        "are correlated, as those are that were trained or that several layers share, or the "
        "network is narrow."
    )
