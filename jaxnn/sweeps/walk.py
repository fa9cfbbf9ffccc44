"""The walk over a grid: every point measured once, one after the other."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..progress import live
from .points import Point, in_words

log = logging.getLogger("jaxnn.sweep")
T = TypeVar("T")


def walk(
    points: Sequence[Point], measure: Callable[[Point], T], failed: Callable[[Point, str], T]
) -> list[T]:
    """Return what was measured at each point; Ctrl-C ends it with what there is.

    Args:
        points: of the grid.
        measure: measures at a point. What it raises at the first one is raised.
        failed: returns what stands for a later point that could not be measured, given the reason.
    """
    measured: list[T] = []
    with live():
        try:
            for number, point in enumerate(points, 1):
                log.info("network %d of %d: %s", number, len(points), in_words(point))
                try:
                    measured.append(measure(point))
                except (ValueError, TypeError, ArithmeticError, MemoryError) as mistake:
                    if not measured:
                        raise
                    measured.append(failed(point, str(mistake) or type(mistake).__name__))
        except KeyboardInterrupt:
            if not measured:
                raise
    return measured
