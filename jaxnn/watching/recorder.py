"""The record of a training, which goes on whatever becomes of it.

    a step -> memory -> alarms on the loss -> now and then the file
    a measurement -> memory -> alarms -> the file -> the writer, each guarded by itself

What fails is counted, and is an alarm and one warning at its first failure. A user's Ctrl-C alone
goes through.
"""

import math
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ..arrays.arguments import check_integer
from ..errors import TrainingWarning
from ..evidence.evidence import Evidence
from ..flow.measure.updates import Update
from ..flow.record.flow import Flow
from ..rules import Found
from ..texts import clean, in_words, told
from .alarms import FAILURES, Intended, alarms_of, losses
from .first_batch import OF_BATCH, OF_FLOW, alarms_of_findings
from .journal import FILE, Journal
from .label_order import LabelOrder
from .reading import folder_of, read_watch
from .step_record import CHUNK, Step, line_of
from .watched import (
    OF_ALARM,
    Line,
    Watched,
    Writer,
    describes_same,
    is_within,
    measurement_of,
    numbers_of,
    placed,
    start_of,
)

StepNumber = object  # the number of a step, or what was handed over as one
Number = Any  # of Python, NumPy, JAX or torch
Rate = float | Callable[[int], Number]
FEW_ENTRIES = 16  # of an array, by which two are compared
FAULTS = (Exception, SystemExit)  # KeyboardInterrupt is none
# Of short steps one in 23 is looked at, from this `every` on. A prime: batches that come again in
# twos, fours or tens do not hide.
STRIDE, SPARSE = 23, 100


@dataclass(frozen=True)
class WatchOptions:
    """Options of a watch, checked; what they mean stands at `jaxnn.watch`."""

    every: int = 100
    folder: Path | str | None = None
    callback: Callable[[Found], object] | None = None
    intended: Collection[str] = ()
    adversarial: bool = False
    write: Writer | None = None
    rate: Rate | None = None

    def __post_init__(self) -> None:
        check_integer("every", self.every, 1)
        Intended.of(self.intended, self.adversarial)
        for name, function, takes in (
            ("callback", self.callback, "an alarm"),
            ("write", self.write, "a step and its numbers"),
        ):
            if function is not None and not callable(function):
                raise TypeError(f"{name}: expected a function of {takes}, got {told(function)}")
        if not callable(self.rate):
            one_number("rate", self.rate)


class Recorder:
    """The record of one training: its measurements and alarms, in memory and in a folder.

    flow: the last one measured, for `jaxnn.verdict` and `jaxnn.chart`; None before the first.
    first: the steps at the start that are all measured, whatever their numbers.
    failures: how often each part of the watch failed: measurement, alarms, file, value,
        write and callback.
    """

    def __init__(self, options: WatchOptions, paths: Collection[str] | None = None):
        self.options = options
        self.intended = Intended.of(options.intended, options.adversarial, paths)
        self.noted: dict[str, dict[str, float]] = {}  # columns of arrays, by their paths
        self.every = check_integer("every", options.every, 1)
        self.first = 1
        self.folder = None if options.folder is None else folder_of(options.folder)
        self.callback, self.write = options.callback, options.write
        self.failures: Counter[str] = Counter()
        self._flow: Flow | None = None
        self._watched = Watched()
        # The last step that was measured, and a few entries of each array before and after it.
        self.last: tuple[int, Mapping[str, np.ndarray], Mapping[str, np.ndarray]] | None = None
        self._first_found = set[Any]()  # by the verdict on the first flow
        self._is_described = False  # by a start line of this process
        self._most_of_late = -np.inf  # of the losses, when they were looked at
        self._unwritten: list[Line] = []
        self._unwritten_steps: list[Step] = []
        self._lock = threading.RLock()
        self._journal: Journal | None = None
        if self.folder is not None:
            self._open(self.folder)
        self._has_tried = bool(self._watched.measurements)  # experiments with the first batch

    def _open(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise type(error)(
                f"folder: expected one that is there or can be made, got {clean(str(folder))} "
                f"({error.strerror}); choose another one"
            ) from None
        if (folder / FILE).exists():
            self._watched = read_watch(folder)
        self._journal = Journal(folder)
        if self._writes():
            self._journal.check_free()

    @property
    def flow(self) -> Flow | None:
        """The last flow measured; None before the first."""
        flow: Flow | None = jax.tree.map(jnp.asarray, self._flow)
        return flow

    def flush(self) -> None:
        """Write all that is recorded to the file."""
        with self._lock, self.guarded("file", None):
            self._save(None, anew=True)

    def __repr__(self) -> str:
        return repr(self._watched)

    @property
    def watched(self) -> Watched:
        """All that was recorded so far, of a folder with what was recorded before."""
        self.flush()
        return self._watched

    def is_due(self, step: int | Array) -> bool | Array:
        """Tell whether a step is to be measured by its number."""
        return (step % self.every == 0) | (step < self.first)

    def is_looked_at(self, step: int | Array, is_short: bool = True) -> bool | Array:
        """Tell whether a step is looked at: one in `STRIDE` of short ones, all others."""
        is_sparse = is_short and self.every >= SPARSE
        return self.is_due(step) | (step % STRIDE == 0) | (not is_sparse)

    def stepped(self, step: int, value: Number | None, **sizes: float) -> None:
        """Record a step that is not measured, and the alarms that its loss gives rise to."""
        with self._lock:
            loss = self._step(step, value, sizes)
            found: list[Found] = []
            if not self._watched.measurements:
                return
            # Rules take longer than a short step may, and a loss that jumps is above all of late.
            if loss > self._most_of_late or self.is_looked_at(step):
                earlier = losses.earlier_losses(self._watched.steps)
                self._most_of_late = np.fmax.reduce(earlier, initial=-np.inf)
                with self.guarded("alarms", step):
                    found = alarms_of(self._watched, self.intended, is_step=True)
                    for alarm in found:
                        self.give(alarm)
            if found or (self._is_described and len(self._unwritten_steps) >= CHUNK):
                self._save(step)

    def _step(self, step: int, value: Number | None, sizes: dict[str, float]) -> float:
        """Add a step of which anything is known to memory, and return its loss."""
        loss = np.nan
        with self.guarded("value", step):
            loss = one_number("value", value)
        if not all(map(math.isnan, (loss, *sizes.values()))):
            self._unwritten_steps.append(Step(step, loss, **sizes))
            self._watched.steps.add(self._unwritten_steps[-1])
        return loss

    def measured(
        self,
        step: int,
        flow: Flow,
        update: Update | None,
        value: Number | None = None,
        labels: LabelOrder | None = None,
        **sizes: float,
    ) -> None:
        """Record a measurement, and the alarms that it gives rise to."""
        with self.recording(step):
            self._flow = flow
            line = measurement_of(step, flow, update, np.nan, _now())
            if not self._is_described:
                self._describe(step, flow)
            line = placed(line, flow, self._watched)
            line["parameters"] |= self._noted_columns()
            line["loss"] = self._step(step, value, sizes)
            with self.guarded("value", step):
                rate = self.options.rate
                line["rate"] = one_number("rate", rate(step) if callable(rate) else rate)
            line["labels"] = None if labels is None else [float(v) for v in labels]
            self._gather()
            self._keep(line)
            with self.guarded("alarms", step):
                self._judge_twice(step, flow)
                for alarm in alarms_of(self._watched, self.intended):
                    self.give(alarm)
            self._save(step)
            if self.write is not None and self._writes():
                with self.guarded("write", step):
                    self.write(step, numbers_of(line, flow, self._watched.start))

    def is_next(self, step: int) -> bool:
        """Tell whether a step follows one that was measured."""
        return self.last is not None and step == self.last[0] + 1

    def note_undone(self, now: Mapping[str, np.ndarray]) -> None:
        """Note how much of the last update that was measured is left at the next step."""
        if self.last is None:
            return
        (_, before, after), self.last = self.last, None
        with np.errstate(all="ignore"):
            self.noted["undone"] = {
                path: float(_distance(now[path], v) / _distance(after[path], v))
                for path, v in before.items()
                if path in now and path in after
            }

    def _needs_evidence(self) -> bool:
        """Tell, once, that experiments with the first batch are wanted."""
        is_first, self._has_tried = not self._has_tried, True
        return is_first and not {*OF_BATCH} <= self.intended.rules

    def _judge(self, step: int, flow: Flow, evidence: Evidence) -> None:
        """Give the alarms that experiments with a batch give rise to."""
        with self.guarded("alarms", step):
            for alarm in alarms_of_findings(step, flow, OF_BATCH, evidence):
                if not self.intended.covers(alarm.rule, alarm.path):
                    self.give(alarm)

    def _judge_twice(self, step: int, flow: Flow) -> None:
        """Give the alarms that the first two flows of a training give rise to."""
        count = len(self._watched.measurements)
        if count <= 2 and not {*OF_FLOW} <= self.intended.rules:
            found = {alarm[:2]: alarm for alarm in alarms_of_findings(step, flow, OF_FLOW)}
            for place, alarm in found.items() if count == 2 else ():
                if place in self._first_found and not self.intended.covers(alarm.rule, alarm.path):
                    self.give(alarm)
            self._first_found = {*found}

    def _noted_columns(self) -> dict[str, list[float]]:
        """Return what is noted of arrays; nan of others."""
        paths = [array["path"] for array in self._watched.start["parameters"]]
        return {
            column: [
                next((v for path, v in known.items() if is_within(each, path)), np.nan)
                for each in paths
            ]
            for column, known in self.noted.items()
        }

    @contextmanager
    def recording(self, step: StepNumber) -> Iterator[None]:
        """Record something of a step; whatever fails, the training goes on."""
        with self._lock, self.guarded("file", step):
            with self.guarded("measurement", step):
                yield
            self._save(step)

    @contextmanager
    def guarded(self, part: str, step: StepNumber) -> Iterator[None]:
        """Let a failure of a part of the watch not reach the training."""
        try:
            yield
        except FAULTS as error:
            self.failed(part, step, in_words(error))

    def failed(self, part: str, step: StepNumber, error: str) -> None:
        """Count a failure of a part of the watch, and give an alarm of the first."""
        self.failures[part] += 1
        if self.failures[part] == 1 and part not in self.intended.rules:
            step = self._number_of(step)
            text = f"Step {step}: {FAILURES[part].format(error)}; the training goes on."
            self.give(Found(part, text=text, step=step))

    def give(self, alarm: Found) -> None:
        """Record an alarm, hand it over and warn."""
        self._watched.alarms.append(alarm)
        line = {name: getattr(alarm, name) for name in OF_ALARM}
        self._unwritten.append({"kind": "alarm", "time": _now(), **line})
        if self.callback is not None:
            with self.guarded("callback", alarm.step):
                self.callback(alarm)
        _warn(alarm.text)

    def _describe(self, step: int, flow: Flow) -> None:
        """Record the start of this training, in the folder of no other network."""
        start = start_of(flow, self.every, _now())
        is_other = not describes_same(self._watched.start, start)
        self._keep(start)
        self._is_described = True
        if is_other and self._journal is not None:
            self._journal = None
            there = f"{clean(str(self.folder))} has that of another network; choose another folder"
            self.failed("file", step, there)

    def _keep(self, line: Line) -> None:
        """Add a line to memory, and to those that the file is to have."""
        self._watched.add(line)
        self._unwritten.append(line)

    def _gather(self) -> None:
        """Make a line of the steps that the file has not yet, which begins with a start."""
        if self._is_described and self._unwritten_steps:
            self._unwritten.append(line_of(self._unwritten_steps, _now()))
            self._unwritten_steps = []

    def _save(self, step: StepNumber, *, anew: bool = False) -> None:
        """Write what the file has not yet; that it failed waits for the next lines, unless anew."""
        self._gather()
        if not anew and all(line.get("rule") == "file" for line in self._unwritten):
            return
        lines, self._unwritten = self._unwritten, []
        if self._journal is not None and self._writes():
            with self.guarded("file", step):
                self._journal.append(lines)

    def _writes(self) -> bool:
        """Tell whether this process writes, if several train together."""
        return jax.process_index() == 0

    def _number_of(self, step: StepNumber) -> int:
        """Return the number of a step, of one that has none that of the last measurement."""
        try:
            return check_integer("step", step, 0)
        except (TypeError, ValueError):
            lines = self._watched.measurements
            return int(lines[-1]["step"]) if lines else 0


def _distance(a: np.ndarray, b: np.ndarray) -> Any:
    return np.linalg.norm(np.asarray(a, np.complex128) - np.asarray(b, np.complex128))


def one_number(name: str, value: Number | None) -> float:
    """Return a number of Python, NumPy, JAX or torch as a float; nan of None."""
    if value is None:
        return np.nan
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected one number, got {told(value)}") from None


def _now() -> int:
    """Return milliseconds since 1970."""
    return time.time_ns() // 10**6


def _warn(text: str) -> None:
    """Warn; where warnings are errors, write to the terminal instead."""
    try:
        warnings.warn(text, TrainingWarning, stacklevel=1)
    except FAULTS:
        with suppress(*FAULTS):
            print(text, file=sys.stderr)
