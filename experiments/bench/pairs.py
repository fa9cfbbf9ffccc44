"""The measurement of a case: both sides are checked, then timed in turns.

`case -> processes -> numbers of both, compared -> pairs of times -> ratio, its spread -> a row`
"""

import contextlib
import math
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.process import Process, Side, SideError, cold, first, started
from experiments.bench.rows import Case, Row
from experiments.bench.workload import Floor

LAYERS = (1_000, 10_000, 100_000)
FEW_LAYERS = (16, 64, 256)
FRESH = {"cold": cold, "first": first}  # kinds of rows with a process for each time


def measure(row: Row, case: Case, pairs: int, quick: bool) -> dict[str, Any]:
    """Return the columns of a case that are measured.

    Raises:
        SideError: a side ended, or both do not compute the same numbers.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if row.kind in ("growth", "memory"):
            return _growth(row, case, pairs, folder, FEW_LAYERS if quick else LAYERS)
        return _compared(row, case, pairs, folder)


def _compared(row: Row, case: Case, pairs: int, folder: Path) -> dict[str, Any]:
    measured: dict[str, Any] = {"pairs": pairs}
    times: list[tuple[float, float]] = []
    with contextlib.ExitStack() as stack:
        ours, measured["ours_import"] = stack.enter_context(started(case.ours, folder))
        checked = ours.ask("numbers")["numbers"]
        theirs = None
        if case.theirs is not None:
            theirs, measured["theirs_import"] = stack.enter_context(started(case.theirs, folder))
            measured["difference"] = difference(case, checked, theirs.ask("numbers")["numbers"])
            measured["theirs_first"] = theirs.seconds()
        measured["ours_first"] = ours.seconds()
        if row.kind not in FRESH:
            other = None if theirs is None else theirs.seconds
            times = [_times(ours.seconds, other, i) for i in range(pairs)]
        floor = _floor(ours)
        if row.kind == "bytes":
            assert theirs is not None
            taken = [float(side.ask("memory")["bytes"]) for side in (ours, theirs)]
    if row.kind in FRESH:
        one, another = (partial(FRESH[row.kind], side, folder) for side in _sides(case))
        times = [_times(one, another, i) for i in range(pairs)]
    else:
        measured |= _over_floor(times, floor)
    measured["ours_seconds"] = float(np.median([t for t, _ in times]))
    if case.theirs is not None:
        measured["theirs_seconds"] = float(np.median([t for _, t in times]))
    if row.kind == "floor":
        assert floor is not None
        return measured | summary([t / floor for t, _ in times])
    if row.kind == "bytes":
        return measured | summary([taken[0] / taken[1]])
    return measured | summary([one / other for one, other in times])


def _over_floor(times: list[tuple[float, float]], floor: float | None) -> dict[str, float]:
    """Return the floor and the median of our times over it, if there is one."""
    if floor is None:
        return {}
    return {
        "floor_seconds": floor,
        "over_floor": float(np.median([ours for ours, _ in times])) / floor,
    }


def _sides(case: Case) -> tuple[Side, Side]:
    assert case.theirs is not None
    return case.ours, case.theirs


def difference(case: Case, ours: list[float], theirs: list[float]) -> float:
    """Return the largest difference between numbers that should be equal.

    Raises:
        SideError: it is above the case's tolerance, or one side has more numbers.
    """
    apart = math.inf
    if len(ours) == len(theirs) > 0:
        apart = float(np.max(np.abs(np.subtract(ours, theirs))))
    if not apart <= case.tolerance:  # nan is not
        raise SideError(
            f"{case.name}: {' and '.join(side.module for side in _sides(case))} do not compute the "
            f"same: {len(ours)} and {len(theirs)} numbers, up to {apart:.2g} apart"
        )
    return apart


def _times(
    ours: Callable[[], float], theirs: Callable[[], float] | None, i: int
) -> tuple[float, float]:
    """Seconds of a pair; sides begin in turns, so that a slow machine is slow for both."""
    if theirs is None:
        return ours(), math.nan
    if i % 2:
        other = theirs()
        return ours(), other
    one = ours()
    return one, theirs()


def summary(ratios: list[float]) -> dict[str, float]:
    """Return the median and the quartiles."""
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    return {"ratio": float(middle), "ratio_low": float(low), "ratio_high": float(high)}


def _floor(process: Process) -> float | None:
    """Seconds of the floor, if the workload of a process has one."""
    parts = process.ask("floor")
    return Floor(**parts).seconds if parts else None


def _growth(
    row: Row, case: Case, pairs: int, folder: Path, layers: tuple[int, ...]
) -> dict[str, Any]:
    """Exponent k of time or memory ~ layers^k, a fit over all numbers of layers for each round."""
    sides = [Side(case.ours.module, {**case.ours.arguments, "layers": n}) for n in layers]
    with contextlib.ExitStack() as stack:
        entered = [stack.enter_context(started(side, folder)) for side in sides]
        processes = [process for process, _ in entered]
        measured: dict[str, Any] = {"pairs": pairs, "ours_import": entered[-1][1]}
        measured["ours_first"] = [process.seconds() for process in processes][-1]
        if row.kind == "memory":
            rounds = [[float(process.ask("memory")["bytes"]) for process in processes]]
            measured |= {"pairs": 1, "ours_seconds": processes[-1].seconds()}
        else:
            rounds = [[process.seconds() for process in processes] for _ in range(pairs)]
            measured["ours_seconds"] = float(np.median([times[-1] for times in rounds]))
            floor = _floor(processes[-1])
            assert floor is not None
            measured |= {"floor_seconds": floor, "over_floor": measured["ours_seconds"] / floor}
    exponents = [float(np.polyfit(np.log(layers), np.log(values), 1)[0]) for values in rounds]
    return measured | summary(exponents)
