"""Search: factors on the weights of a network, each tried on it, until its rate is zero.

A layer of one product multiplies a gradient by as much as its weights are multiplied by: that says
where the first step goes; two rates of different sign leave the rest to Brent's method.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from ..flow.verdict.rates import LN10

STEP = 1.5  # a factor that is looked at, at least, on the way to where no rate is known
MOST_STEPS = 13  # of that size, about 200 times
BEYOND = 1.2  # times as far as the rate would be zero
LEAST, GROWTH = 0.05, 2.0  # ln of the smallest step; times as far as the step before, at most
MOST_BETWEEN = 12  # factors that are tried between two
WITHIN = 2e-4  # decades a layer that are left
GOOD = 2e-3  # where no factor leaves less, as with skip connections: the nearest to 1
DAMPED = 0.7  # of what a factor for each layer is corrected by
MOST_AT_ONCE = 4.0
ROUNDS = 8
REACH = MOST_STEPS * float(np.log(STEP))

Rate = Callable[[float], float]  # of ln of a factor, in decades a layer


class RatePoint(NamedTuple):
    """ln of a factor, and its rate."""

    log: float
    rate: float

    @property
    def size(self) -> float:
        return abs(self.rate)


def root(rate: Callable[[float], float], start: float = 1.0) -> float | None:
    """Return a factor near to 1 at which a rate is zero, or if none is, as small as was found."""
    # Where the rate is nan, for a signal leaves the range, the search starts at the largest factor
    # at which it is known; None if there is none.

    def of_log(x: float) -> float:
        return rate(float(np.exp(x)))

    first = _first_known(of_log, float(np.log(start)))
    if first is None:
        return None
    path = [first]
    # Upwards if the rate is below zero, else downwards; the other way if that changes nothing.
    for direction in (1, -1) if first.rate < 0 else (-1, 1):
        path = _path(of_log, first, direction)
        if path[-1].rate * first.rate < 0:
            return float(np.exp(_between(of_log, *path[-2:])))
        if min(path, key=lambda point: point.size) is not first:
            break
    best = _nearest_good(of_log, path) or min(path, key=lambda point: point.size)
    return float(np.exp(best.log))


def _first_known(rate: Rate, start: float) -> RatePoint | None:
    """Return the largest factor up to the first one with a known rate; None if there is none."""
    for i in range(MOST_STEPS + 1):
        log = start - i * float(np.log(STEP))
        point = RatePoint(log, rate(log))
        if not np.isnan(point.rate):
            return point
    return None


def _path(rate: Rate, first: RatePoint, direction: int) -> list[RatePoint]:
    """Return factors in one direction, until the rate changes its sign, is zero, or not known."""
    path, end = [first], first.log + direction * REACH
    step = BEYOND * LN10 * first.size  # as if each layer were one product
    for _ in range(2 * MOST_STEPS):
        left = abs(end - path[-1].log)
        if left < LEAST / 2 or all(point.size < WITHIN for point in path[-2:]):
            break
        step = min(max(step, LEAST), left)
        log = path[-1].log + direction * step
        point = RatePoint(log, rate(log))
        if np.isnan(point.rate):  # the signal leaves the range: that far, but not further
            if step <= np.log(STEP):
                break
            step, end = step / 2, log
            continue
        before = path[-1].rate
        path.append(point)
        if point.rate * before < 0:
            break
        # A line through the last two says how far zero still is, in steps as long as the last one.
        gained = (before - point.rate) / before
        step = step * min(max(BEYOND * (1 / gained - 1), 0.0), GROWTH) if gained > 0 else 2 * step
    return path


def _nearest_good(rate: Rate, path: list[RatePoint]) -> RatePoint | None:
    """Return the first good factor of a path, but for less than a step; None if none is good."""
    at = next((i for i, point in enumerate(path) if point.size <= GOOD), None)
    if not at:
        return None if at is None else path[0]
    bad, good = path[at - 1 : at + 1]
    while abs(good.log - bad.log) > np.log(STEP):
        log = (good.log + bad.log) / 2
        between = RatePoint(log, rate(log))
        bad, good = (bad, between) if between.size <= GOOD else (between, good)
    return good


def _between(rate: Rate, a: RatePoint, b: RatePoint) -> float:
    """Return ln of the factor between two with rates of different sign at which it is zero."""
    from scipy.optimize import brentq  # here: a diagnosis without cures would load 500 modules

    known = {point.log: point for point in (a, b)}

    def measured(log: float) -> float:
        point = known.get(log) or known.setdefault(log, RatePoint(log, rate(log)))
        return 0.0 if point.size < WITHIN else point.rate

    with suppress(ValueError):  # of a rate that is nan
        brentq(measured, a.log, b.log, maxiter=MOST_BETWEEN, disp=False)
    return min(known.values(), key=lambda point: np.nan_to_num(point.size, nan=np.inf)).log


def by_layer(
    excess: Callable[[np.ndarray], np.ndarray | None], start: np.ndarray, meant: np.ndarray
) -> np.ndarray:
    """Return a factor for each layer, corrected by what each layer does too much."""
    # excess: of factors ln of what each layer multiplies the size by that is to stay; nan, or None,
    # where that is not known.
    factors, best, least = start, start, np.inf
    for _ in range(ROUNDS):
        logs = excess(factors)
        if logs is None:
            break
        size = float(np.max(np.abs(np.nan_to_num(logs[meant])), initial=0.0))
        if size < least:
            best, least = factors, size
        if size < np.log(10) * WITHIN:
            break
        bound = np.log(MOST_AT_ONCE)
        by = np.clip(DAMPED * np.nan_to_num(logs), -bound, bound)
        factors = np.where(meant, factors * np.exp(-by), factors)
    return best
