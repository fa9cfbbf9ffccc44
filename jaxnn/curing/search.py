"""Search: factors on the weights of a network, each tried on it, until its rate is zero.

factor -> weights -> flow -> rate        one compiled program for all factors
"""

from collections.abc import Callable

import numpy as np

STEP = 1.5  # from one factor to the next, until the rate has changed its sign
MOST_STEPS = 13  # about 200 times
BISECTIONS = 9
WITHIN = 2e-4  # decades a layer that are left
GOOD = 2e-3  # where no factor leaves less, as with skip connections: the nearest to 1
DAMPED = 0.7  # of what a factor for each layer is corrected by
MOST_AT_ONCE = 4.0
ROUNDS = 8


def root(rate: Callable[[float], float]) -> float | None:
    """Return the factor nearest to 1 at which a rate is zero; where none is, one that is small.

    From 1 upwards if the rate is below zero, else downwards, and the other way if that changes
    nothing; then the interval is halved, or cut where a straight line between its ends is zero.

    Args:
        rate: of a factor, in decades a layer; nan where it is not known.

    Returns:
        The factor; None if no rate is smaller than that at 1. Where a signal leaves the range at 1
        the search starts at the largest factor at which it does not.
    """
    start, of_start = _first_known(rate)
    if np.isnan(of_start):
        return None
    best, least = (start or None), abs(of_start)
    near: list[tuple[float, float]] = []
    for direction in (1, -1) if of_start < 0 else (-1, 1):
        low, of_low = start, of_start  # ln of the factor
        for i in range(1, MOST_STEPS + 1):
            high = start + direction * i * np.log(STEP)
            of_high = rate(float(np.exp(high)))
            if np.isnan(of_high):
                break
            if abs(of_high) < least:
                best, least = high, abs(of_high)
            if of_high == 0 or of_low * of_high < 0:
                return float(np.exp(_between(rate, low, of_low, high, of_high)))
            near.append((high, abs(of_high)))
            low, of_low = high, of_high
        if best not in (None, start):
            break
    good = [factor for factor, size in near if size <= GOOD]
    best = good[0] if good else best
    return None if best is None else float(np.exp(best))


def _first_known(rate: Callable[[float], float]) -> tuple[float, float]:
    """Return ln of the largest factor up to 1 with a known rate, and that rate; else nan."""
    for i in range(MOST_STEPS + 1):
        of_factor = rate(STEP**-i)
        if not np.isnan(of_factor):
            return -i * float(np.log(STEP)), of_factor
    return 0.0, np.nan


def _between(
    rate: Callable[[float], float], low: float, of_low: float, high: float, of_high: float
) -> float:
    """Return ln of the factor between two with rates of different sign at which it is zero."""
    best, least = min((abs(of_low), low), (abs(of_high), high))[::-1]
    for i in range(BISECTIONS):
        if least < WITHIN:
            break
        line = low - of_low * (high - low) / (of_high - of_low)
        middle = (low + high) / 2 if i % 3 == 2 else line
        of_middle = rate(float(np.exp(middle)))
        if np.isnan(of_middle):
            break
        if abs(of_middle) < least:
            best, least = middle, abs(of_middle)
        if of_low * of_middle <= 0:
            high, of_high = middle, of_middle
        else:
            low, of_low = middle, of_middle
    return best


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
