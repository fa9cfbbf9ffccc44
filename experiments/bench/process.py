"""The processes of a benchmark, seen by the one that measures."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from experiments.runs import heap

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds that a process has to end


class SideError(Exception):
    """A side that ended before it answered, or computes something else; the message says which."""


class Side(NamedTuple):
    """One side of a comparison: a module of this package, and the arguments of its `workload`."""

    module: str
    arguments: dict[str, Any]


def cores() -> int:
    """Return the number of threads that each side may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def environment() -> dict[str, str]:
    """Return the variables of a side: equal threads and memory, no cache of programs.

    Every library keeps what it has freed, as `heap.keep_freed` has it for experiments.
    """
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(cores())
    )
    apart = ("JAX_COMPILATION_CACHE_DIR", "JAX_NUM_CPU_DEVICES", "XLA_FLAGS", "PYTHONWARNINGS")
    others = {name: value for name, value in os.environ.items() if name not in apart}
    path = os.pathsep.join([str(ROOT), *filter(None, [others.get("PYTHONPATH")])])
    more = {**heap.VARIABLES, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    return {**others, **threads, **more, "PYTHONPATH": path}


def _command(side: Side, folder: Path, *more: str) -> list[str]:
    arguments = json.dumps(side.arguments)
    worker = [sys.executable, "-m", "experiments.bench.worker"]
    return [*worker, side.module, arguments, str(folder), *more]


class Process:
    """A prepared side that answers requests."""

    def __init__(self, side: Side, folder: Path, log: Path, *more: str) -> None:
        self.side, self._log = side, log
        with log.open("w", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                _command(side, folder, *more),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(),
                text=True,
                encoding="utf-8",
            )

    def answer(self) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            SideError: it has ended, or says why it cannot answer.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            lines = self._log.read_text(encoding="utf-8").strip().splitlines() or ["nothing said"]
            raise SideError(f"{self.side.module}: the process has ended: {lines[-1]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SideError(answer["error"])
        return answer

    def ask(self, word: str) -> dict[str, Any]:
        """Send a request and return its answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then the answer says why
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()
        return self.answer()

    def seconds(self) -> float:
        """Return the seconds of one repetition."""
        return float(self.ask("run")["seconds"])

    def close(self) -> None:
        """End the process, whatever it does."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def started(side: Side, folder: Path) -> Iterator[tuple[Process, float]]:
    """Start a side; yield the prepared process and the seconds that its imports took."""
    process = Process(side, folder, folder / f"{side.module}.log")
    try:
        yield process, float(process.answer()["imported"])
    finally:
        process.close()


def cold(side: Side, folder: Path) -> float:
    """Return the seconds from the start of a fresh process to its last result.

    Raises:
        SideError: it has none.
    """
    start = time.perf_counter()
    process = Process(side, folder, folder / f"{side.module}.log", "--once")
    try:
        process.answer()
        return time.perf_counter() - start
    finally:
        process.close()


def first(side: Side, folder: Path) -> float:
    """Return the seconds of the first repetition of a fresh process, without what prepares it.

    Raises:
        SideError: it has none.
    """
    with started(side, folder) as (process, _):
        return process.seconds()
