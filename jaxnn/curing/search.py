"""Search: factors on the weights of a network, each tried on it, until its rate is zero.

factor -> weights -> flow -> rate        one compiled program for all factors

A layer of one product multiplies a gradient by as much as its weights are multiplied by, which
says where the rate would be zero: that is the first step, and the rates that were measured say how
far the next one goes, a little beyond zero. Between two rates of different sign the search is that
of Chandrupatla 1997.
"""

from collections.abc import Callable

import numpy as np

STEP = 1.5  # a factor that is looked at, at least, on the way to where no rate is known
MOST_STEPS = 13  # of that size, about 200 times
BEYOND = 1.2  # times as far as the rate would be zero
LEAST, GROWTH = 0.05, 2.0  # ln of the smallest step; times as far as the step before, at most
BISECTIONS = 12
WITHIN = 2e-4  # decades a layer that are left
GOOD = 2e-3  # where no factor leaves less, as with skip connections: the nearest to 1
DAMPED = 0.7  # of what a factor for each layer is corrected by
MOST_AT_ONCE = 4.0
ROUNDS = 8
LN10 = float(np.log(10))
REACH = MOST_STEPS * float(np.log(STEP))

Rate = Callable[[float], float]  # of ln of a factor, in decades a layer
Point = tuple[float, float]  # ln of a factor, and its rate


def root(rate: Callable[[float], float], start: float = 1.0) -> float | None:
    """Return a factor near to 1 at which a rate is zero; where none is, one that is small.

    Upwards if the rate is below zero at the start, else downwards, and the other way if that
    changes nothing; then between two rates of different sign.

    Args:
        rate: of a factor, in decades a layer; nan where it is not known.
        start: the first factor.

    Returns:
        The factor, one that was tried; the start if no rate is smaller. Where a signal leaves the
        range there, the search starts at the largest factor at which it does not; None if there is
        none.
    """

    def of_log(x: float) -> float:
        return rate(float(np.exp(x)))

    first = _first_known(of_log, float(np.log(start)))
    if first is None:
        return None
    way = [first]
    for direction in (1, -1) if first[1] < 0 else (-1, 1):
        way = _way(of_log, first, direction)
        if way[-1][1] * first[1] < 0:
            return float(np.exp(_between(of_log, *way[-2:])))
        if min(way, key=_size) is not first:
            break
    best = _nearest_good(of_log, way) or min(way, key=_size)
    return float(np.exp(best[0]))


def _size(at: Point) -> float:
    return abs(at[1])


def _first_known(rate: Rate, start: float) -> Point | None:
    """Return the largest factor up to the first one with a known rate; None if there is none."""
    for i in range(MOST_STEPS + 1):
        x = start - i * float(np.log(STEP))
        of_x = rate(x)
        if not np.isnan(of_x):
            return x, of_x
    return None


def _way(rate: Rate, first: Point, direction: int) -> list[Point]:
    """Return factors in one direction, until the rate changes its sign, is zero, or not known."""
    way, end = [first], first[0] + direction * REACH
    step = BEYOND * LN10 * abs(first[1])
    for _ in range(2 * MOST_STEPS):
        left = abs(end - way[-1][0])
        if left < LEAST / 2 or all(_size(at) < WITHIN for at in way[-2:]):
            break
        step = min(max(step, LEAST), left)
        x = way[-1][0] + direction * step
        of_x = rate(x)
        if np.isnan(of_x):
            if step <= np.log(STEP):
                break
            step, end = step / 2, x
            continue
        of_below = way[-1][1]
        way.append((x, of_x))
        if of_x * of_below < 0:
            break
        slope = (of_below - of_x) / of_below  # of the way to zero that the step has made
        step = step * min(max(BEYOND * (1 / slope - 1), 0.0), GROWTH) if slope > 0 else 2 * step
    return way


def _nearest_good(rate: Rate, way: list[Point]) -> Point | None:
    """Return the first good factor of a way, but for less than a step; None if none is good."""
    at = next((i for i, point in enumerate(way) if _size(point) <= GOOD), None)
    if not at:
        return None if at is None else way[0]
    bad, good = way[at - 1 : at + 1]
    while abs(good[0] - bad[0]) > np.log(STEP):
        x = (good[0] + bad[0]) / 2
        between = x, rate(x)
        bad, good = (bad, between) if _size(between) <= GOOD else (between, good)
    return good


def _between(rate: Rate, a: Point, b: Point) -> float:
    """Return ln of the factor between two with rates of different sign at which it is zero."""
    best = min(a, b, key=_size)
    part = a[1] / (a[1] - b[1])  # of the way from a to b
    for _ in range(BISECTIONS):
        if _size(best) < WITHIN:
            break
        x = a[0] + part * (b[0] - a[0])
        of_x = rate(x)
        if np.isnan(of_x):
            break
        c, b = (a, b) if (of_x > 0) == (a[1] > 0) else (b, a)
        a = (x, of_x)
        best = min(best, a, key=_size)
        of_place, of_rate = (a[0] - b[0]) / (c[0] - b[0]), (a[1] - b[1]) / (c[1] - b[1])
        part = 0.5
        if of_rate**2 < of_place and (1 - of_rate) ** 2 < 1 - of_place:  # else no parabola fits
            slopes = a[1] / (b[1] - a[1]), c[1] / (b[1] - c[1]), a[1] / (c[1] - a[1])
            part = slopes[0] * slopes[1] + (c[0] - a[0]) / (b[0] - a[0]) * slopes[2] * (
                b[1] / (c[1] - b[1])
            )
    return best[0]


def by_layer(
    excess: Callable[[np.ndarray], np.ndarray | None], start: np.ndarray, meant: np.ndarray
) -> np.ndarray:
    """Return a factor for each layer, corrected by what each layer does too much.

    Args:
        excess: of factors, (L,), ln of what each layer multiplies the size by that is to stay; nan
            of a layer of which that is not known. None where nothing is.
        start: the first factors, (L,).
        meant: the layers whose factors may change, truth values, (L,).
    """
    factors, best, least = start, start, np.inf
    for _ in range(ROUNDS):
        found = excess(factors)
        if found is None:
            break
        size = float(np.max(np.abs(np.nan_to_num(found[meant])), initial=0.0))
        if size < least:
            best, least = factors, size
        if size < np.log(10) * WITHIN:
            break
        bound = np.log(MOST_AT_ONCE)
        by = np.clip(DAMPED * np.nan_to_num(found), -bound, bound)
        factors = np.where(meant, factors * np.exp(-by), factors)
    return best
