"""The measurement of a case: both sides are checked, then timed in turns.

`case -> two processes -> numbers of both, compared -> pairs of times -> ratio, its quartiles`
"""

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.bench.rows import Case, Row, Side
from jaxnn.arrays.memory import cores

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds that a process has to end
TOLERANCE = 1e-3  # of the difference between the numbers of both sides
# Freed memory stays with both sides: a block that goes back to the system is cleared at each call.
MALLOC = ":".join(
    f"glibc.malloc.{name}={1 << power}"
    for name, power in {"trim_threshold": 30, "mmap_threshold": 30, "top_pad": 26}.items()
)


class SideError(Exception):
    """A side that ended before it answered, or computes something else; the message says which."""


def measure(row: Row, case: Case, pairs: int, quick: bool) -> dict[str, Any]:
    """Return the columns of a case that are measured.

    Raises:
        SideError: a side ended, or both do not compute the same numbers.
    """
    sides = row.sides(case, quick)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with contextlib.ExitStack() as stack:
            ours, theirs = (stack.enter_context(started(side, folder)) for side in sides)
            apart = difference(case, *(ask("numbers") for ask in (ours, theirs)))
            if row.kind == "warm":
                ours("seconds"), theirs("seconds")  # with what is compiled at the first call
                numbers = in_turns(pairs, partial(ours, "seconds"), partial(theirs, "seconds"))
        if row.kind in FRESH:
            numbers = in_turns(pairs, *(partial(FRESH[row.kind], side, folder) for side in sides))
    low, ratio, high = np.quantile([one / other for one, other in numbers], (0.25, 0.5, 0.75))
    ours_median, theirs_median = np.median(numbers, axis=0).tolist()
    return {
        "ratio": float(ratio),
        "ratio_low": float(low),
        "ratio_high": float(high),
        "pairs": len(numbers),
        "ours": ours_median,
        "theirs": theirs_median,
        "difference": apart,
    }


def in_turns(
    pairs: int, ours: Callable[[], float], theirs: Callable[[], float]
) -> list[tuple[float, float]]:
    """Return pairs of times; sides begin in turns, so that a slow machine is slow for both."""
    times = []
    for i in range(pairs):
        if i % 2:
            other = theirs()
            times.append((ours(), other))
        else:
            times.append((ours(), theirs()))
    return times


def difference(case: Case, ours: list[float], theirs: list[float]) -> float:
    """Return the largest difference between numbers that should be equal.

    Raises:
        SideError: it is above `TOLERANCE`, or one side has more numbers.
    """
    apart = math.inf
    if len(ours) == len(theirs) > 0:
        apart = float(np.max(np.abs(np.subtract(ours, theirs))))
    if not apart <= TOLERANCE:  # nan is not
        raise SideError(
            f"{case.name}: both sides do not compute the same: {len(ours)} and {len(theirs)} "
            f"numbers, up to {apart:.2g} apart"
        )
    return apart


def environment() -> dict[str, str]:
    """Return the variables of a side: equal threads and memory, no cache of programs."""
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    apart = ("JAX_COMPILATION_CACHE_DIR", "JAX_NUM_CPU_DEVICES", "XLA_FLAGS", "PYTHONWARNINGS")
    others = {name: value for name, value in os.environ.items() if name not in apart}
    path = os.pathsep.join([str(ROOT), *filter(None, [others.get("PYTHONPATH")])])
    more = {"GLIBC_TUNABLES": MALLOC, "JAX_ENABLE_COMPILATION_CACHE": "false", "PYTHONPATH": path}
    return {**others, **dict.fromkeys(threads, str(cores())), **more}


@contextlib.contextmanager
def started(side: Side, folder: Path, *more: str) -> Iterator[Callable[[str], Any]]:
    """Start a side; yield, when it is prepared, a function that asks it for one of its answers."""
    worker = [sys.executable, "-m", "experiments.bench.worker", side.module, side.function]
    command = [*worker, json.dumps(side.arguments), str(folder), *more]
    log = folder / f"{side.module}.{side.function}.log"
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command, **pipes, stderr=errors, env=environment(), text=True, encoding="utf-8"
        )
    requests, answers = process.stdin, process.stdout
    assert requests is not None
    assert answers is not None

    def answer() -> Any:
        line = answers.readline()
        if not line:
            lines = log.read_text(encoding="utf-8").strip().splitlines() or ["nothing said"]
            raise SideError(f"{side.module}: the process has ended: {lines[-1]}")
        said = json.loads(line)
        if "error" in said:
            raise SideError(said["error"])
        return said.get("answer")

    def ask(word: str) -> Any:
        with contextlib.suppress(BrokenPipeError):  # then the answer says why
            requests.write(word + "\n")
            requests.flush()
        return answer()

    try:
        answer()
        yield ask
    finally:
        for pipe in (requests, answers):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cold(side: Side, folder: Path) -> float:
    """Return the seconds from the start of a fresh process to its last result."""
    begun = time.perf_counter()
    with started(side, folder, "--once"):
        return time.perf_counter() - begun


def first(side: Side, folder: Path) -> float:
    """Return the seconds of the first repetition of a fresh process, without what prepares it."""
    with started(side, folder) as ask:
        return float(ask("seconds"))


FRESH = {"cold": cold, "first": first}  # kinds of rows with a process for each time
