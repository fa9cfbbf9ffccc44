"""The record of a watched training, in memory and in a file that a page can be made of.

`watch.jsonl` in the folder of a watch has one JSON object a line, appended at each measurement: a
training that is killed leaves all lines but the one being written, which is skipped. A number that
is nan is null, an infinite one is the string "Infinity" or "-Infinity". Layers, heads and experts
count from 1; log10_… are logarithms to the base of ten, of Euclidean norms unless said otherwise.

    {"kind": "start", "schema": 1, "time": milliseconds since 1970, "every": steps,
     "dtype": "float32",
     "layers":     [{"layer": 1, "name": "blocks[0]", "size": entries of its state}, …],
     "parameters": [{"layer": 1, "path": "['blocks'][0]", "shape": [64, 64], "dtype": "float32"},
                    …],
     "heads":      [{"layer": 1, "attention": 1, "head": 1}, …],
     "experts":    [{"layer": 1, "router": 1, "expert": 1}, …]}
    {"kind": "measurement", "step": 100, "time": …, "loss": …, "word": "steady", "decades": …,
     "total": …, "after": true, "of_batch": …, "log10_delta_input": …, "rate": …,
     "labels": [usual, changes, count, constant] or null,
     "layers":     {"log10_delta": [one number a layer], …},
     "parameters": {"log10_delta": [one number an array], "log10_size": …, "log10_update": …,
                    "log10_gradient": …, "radial": …, "moved": …, "held": …, "rate": …,
                    "undone": …},
     "heads":      {"largest_logit": […], "entropy": […], "most_entropy": […], "share": […]},
     "experts":    {"load": […]}}
    {"kind": "steps", "time": …, "step": [1, 2, …], "loss": […], "log10_update": […],
     "log10_gradient": […]}
    {"kind": "alarm", "step": 100, "time": …, "rule": "update", "layer": 3 or null,
     "path": "['blocks'][2]" or "", "text": "Step 100: …", "advice": "…"}

The lists of a measurement are in the order of those of the last start. What they mean:

    loss                  of the step, if it was handed over; else null
    word, decades, total  the verdict on the gradient: vanishing, steady …, its rate a layer, and
                          the change over the whole network; decades, below 0 if it vanishes
    after                 whether the parameters after the step were handed over
    of_batch              the loss of the batch as the watch has computed it
    log10_delta_input     of Δ of the inputs; null of integers
    rate                  the learning rate, if `rate=` was handed over; else null
    labels                null, or if each example has one class as its label: the median label,
                          how often a label differs from the one before it, their number, and the
                          cross entropy of a constant answer, the shares of the classes
    layers                the columns of `flow.table()`: log10_delta of Δ of the state, log10_theta
                          of Δ of its parameters, log10_mean_square of the state, log10_spread of
                          what differs between examples relative to the state, log10_branch of
                          what branches add to their stream, relative to it, and so on
    parameters            log10_delta of the array's Δ, log10_size of itself, log10_update of its
                          change in this step (null without the parameters after it); radial, the
                          cosine between it and the array, -1 where it only shrinks; moved, the
                          share of entries that it changed, in rows in which any did, of parameters
                          in 16 bits; of PyTorch log10_gradient of what the optimiser took, and
                          held, 1 of an array that it holds and 0 of others, and rate, its step
                          size; null while an array is frozen, but for its size. Of JAX held is 0
                          of what is handed on after the step as it was before. undone, where it is
                          known at the next step how much of the last update that was measured was
                          left then: its distance from before, over that of the update
    heads, experts        as in `flow.attention` and `flow.routers`; entropy in nats, share of the
                          largest, load of 1
    rule                  the kind of an alarm, see `jaxnn.watching.alarms`
    steps                 of every step, if its loss was handed over: the loss, log10_update of the
                          change of all parameters together (JAX), log10_gradient of the gradient
                          that the optimiser took (PyTorch); a line holds up to a hundred steps

A training that is stopped and goes on adds another start. If its first measurement is at a step
that was there already, as when it goes on from a checkpoint, the lines of before from that step on
do not count. Those of another network do not count either.

The folder also has `watch.lock` with the number of the process that writes: another one may not.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..flow.measure.updates import Update
from ..flow.record.flow import Flow
from ..flow.verdict.rates import rate_of
from ..flow.view.table import plain
from ..rules import Found
from ..texts import counted
from .step_record import Steps, steps_of

SCHEMA = 1
PARTS = ("layers", "parameters", "heads", "experts")  # of a measurement
LN10 = math.log(10)
OF_ALARM = ("step", "rule", "layer", "path", "text", "advice")  # in the file

Columns = dict[str, list[Any]]
Line = dict[str, Any]  # of the file, with numbers that are nan or infinite as such
Writer = Callable[[int, dict[str, float]], Any]  # takes a step, and its numbers by name


@dataclass
class Watched:
    """A watched training so far.

    start: the line that describes the network, see the module; empty before the first measurement.
    measurements: a line each.
    alarms: in their order.
    steps: those whose loss is known, measured or not; the last 10,000 of them.
    """

    start: Line = field(default_factory=dict)
    measurements: list[Line] = field(default_factory=list)
    alarms: list[Found] = field(default_factory=list)
    steps: Steps = field(default_factory=Steps)
    _goes_on: bool = False  # after a start, before its first measurement

    def __repr__(self) -> str:
        if not self.measurements:
            return "Watched: nothing measured yet"
        ends = self.measurements[0], self.measurements[-1]
        (first, start), (last, loss) = ((line["step"], line["loss"]) for line in ends)
        said = (
            f"Watched: {counted(len(self.measurements), 'measurement')}, the loss {start:.3g} at "
        )
        said += f"step {first} and {loss:.3g} at {last}; {counted(len(self.alarms), 'alarm')}"
        return "\n".join((said, *map(str, self.alarms)))

    def add(self, line: Line) -> None:
        """Add a line of the file."""
        if line["kind"] == "start":
            self._begin(line)
        elif line["kind"] == "measurement":
            if self._goes_on:
                step, self._goes_on = line["step"], False
                self.measurements = [v for v in self.measurements if v["step"] < step]
                self.alarms = [v for v in self.alarms if v.step < step]
            self.measurements.append(line)
        elif line["kind"] == "steps":
            for step in steps_of(line):
                self.steps.add(step)
        elif line["kind"] == "alarm":
            self.alarms.append(Found(**{name: line[name] for name in OF_ALARM if name in line}))

    def _begin(self, start: Line) -> None:
        """Go on with another start, and without the numbers of what it does not have."""
        if not describes_same(self.start, start):
            self.measurements, self.alarms, self.steps = [], [], Steps()
        for part in PARTS:
            if start.get(part) != self.start.get(part):
                self.measurements = [{**line, part: {}} for line in self.measurements]
        self.start, self._goes_on = start, True

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each step and layer: step, loss, layer, name, and `flow.table()`'s."""
        return self._rows("layers", ("layer", "name"))

    def step_table(self) -> list[dict[str, Any]]:
        """Return a row for each step: step, loss, log10_update, log10_gradient."""
        return self.steps.table()

    def parameter_table(self) -> list[dict[str, Any]]:
        """Return a row for each step and parameter array: layer, path, and logarithms of norms.

        log10_delta_ratio is ‖Δθ‖ / ‖θ‖, and log10_update_ratio ‖update‖ / ‖θ‖; nan of zeros.
        """
        rows = self._rows("parameters", ("layer", "path"))
        return [row | ratios(row) for row in rows]

    def attention_table(self) -> list[dict[str, Any]]:
        """Return a row for each step and head of an attention."""
        return self._rows("heads", ("layer", "attention", "head"))

    def router_table(self) -> list[dict[str, Any]]:
        """Return a row for each step and expert of a router."""
        return self._rows("experts", ("layer", "router", "expert"))

    def _rows(self, part: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
        places = self.start.get(part, [])
        columns = dict.fromkeys(name for line in self.measurements for name in line[part])
        rows = []
        for line in self.measurements:
            numbers = {name: column_of(line, part, name, len(places)) for name in columns}
            rows += [
                {"step": line["step"], "loss": line["loss"]}
                | {name: place[name] for name in names}
                | {name: values[i] for name, values in numbers.items()}
                for i, place in enumerate(places)
            ]
        return rows


def describes_same(start: Line, other: Line) -> bool:
    """Tell whether two starts are of the same layers and parameters; also if one is empty."""
    return not (start and other) or all(start[v] == other[v] for v in ("layers", "parameters"))


def is_within(path: str, whole: str) -> bool:
    """Tell whether a path is that of an array, or of a part of it, or of an array in a module."""
    path, whole = path.lstrip("."), whole.lstrip(".")
    return path == whole or path.startswith((f"{whole}.", f"{whole}["))


def column_of(line: Line, part: str, name: str, count: int) -> list[Any]:
    """Return a column of a measurement; nan if it was not recorded."""
    column: list[Any] = line[part].get(name) or [math.nan] * count
    return column


def ratios(row: dict[str, Any]) -> dict[str, float]:
    """Return the ratios of an array's Δ and of its update to its size."""
    size = row["log10_size"]
    return {
        f"log10_{name}_ratio": row[f"log10_{name}"] - size if np.isfinite(size) else np.nan
        for name in ("delta", "update")
    }


def numbers_of(line: Line, flow: Flow, start: Line) -> dict[str, float]:
    """Return the numbers of a measurement by their names; what is no number is left out."""
    numbers = {"watch/loss": line["loss"], "watch/total": line["total"]} | flow.scalars()
    for i, array in enumerate(start["parameters"]):
        row = {name: values[i] for name, values in line["parameters"].items()}
        for name, value in ratios(row).items():
            numbers[f"parameters/{plain(array['path'])}/{name}"] = value
    return {name: float(v) for name, v in numbers.items() if np.isfinite(v)}


def start_of(flow: Flow, every: int, time: int) -> Line:
    """Return the line that describes a network."""
    arrays = flow.parameters
    return {
        "kind": "start",
        "schema": SCHEMA,
        "time": time,
        "every": every,
        "dtype": np.dtype(flow.dtype).name,
        "layers": [
            {"layer": i, "name": name, "size": size}
            for i, (name, size) in enumerate(zip(flow.names, flow.sizes, strict=True), 1)
        ],
        "parameters": [
            {"layer": layer, "path": path, "shape": [*shape], "dtype": dtype}
            for layer, path, shape, dtype in zip(
                arrays.layers, arrays.paths, arrays.shapes, arrays.dtypes, strict=True
            )
        ],
        "heads": _chosen(_heads(flow), ("layer", "attention", "head")),
        "experts": _chosen(_experts(flow), ("layer", "router", "expert")),
    }


def _loss_of(flow: Flow) -> float:
    known = None if flow.given is None else flow.given.loss
    return math.nan if known is None else float(np.asarray(known, np.float64))


def _heads(flow: Flow) -> list[dict[str, Any]]:
    return [] if flow.attention is None else flow.attention_table()


def _experts(flow: Flow) -> list[dict[str, Any]]:
    return [] if flow.routers is None else flow.router_table()


def _chosen(rows: list[dict[str, Any]], names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in names} for row in rows]


def measurement_of(step: int, flow: Flow, update: Update | None, loss: float, time: int) -> Line:
    """Return the line of a measurement, at a time in milliseconds since 1970."""
    rate = rate_of(flow, np.arange(flow.unmeasured, len(flow.names)))
    parameters = _columns(flow.parameter_table(), ("log10_delta", "log10_size"))
    parameters |= _of_update(update, np.asarray(flow.parameters.log_size, np.float64))
    rows = flow.table()
    layers = _columns(rows, tuple(name for name in rows[0] if name not in _PLACES))
    is_finite = bool(np.all(np.asarray(flow.log_mean_square) < np.inf))
    return {
        "kind": "measurement",
        "step": step,
        "time": time,
        "loss": loss,
        "word": rate.word if is_finite else "unknown",
        "decades": float(rate.decades),
        "total": float(rate.total),
        "after": update is not None,
        "of_batch": _loss_of(flow),
        "log10_delta_input": float(np.asarray(flow.log_delta_input, np.float64)) / LN10,
        "layers": layers,
        "parameters": parameters,
        "heads": _columns(_heads(flow), ("largest_logit", "entropy", "most_entropy", "share")),
        "experts": _columns(_experts(flow), ("load",)),
    }


def placed(line: Line, flow: Flow, watched: Watched) -> Line:
    """Return a measurement whose columns are those of the layers and arrays of the start.

    A module of PyTorch may leave layers out, which then keep their last numbers, and those of their
    arrays, or freeze parameters on its way: an array keeps its size and does not move, and its Δ is
    nan. What was left out or frozen at the start is so to the end.
    """
    if not watched.measurements:
        return line
    start, last = watched.start, watched.measurements[-1]
    layers = [layer["name"] for layer in start["layers"]]
    paths = [array["path"] for array in start["parameters"]]
    arrays = last["parameters"]
    if is_whole := [*flow.names] == layers:
        arrays = {"log10_size": arrays["log10_size"], "log10_update": len(paths) * [-np.inf]}
    line |= {
        "layers": _at_places(line["layers"], flow.names, layers, last["layers"]),
        "parameters": _at_places(line["parameters"], flow.parameters.paths, paths, arrays),
    }
    return line if is_whole else line | {"heads": {}, "experts": {}}


def _at_places(
    columns: Columns, names: Sequence[str], known: list[str], others: Columns
) -> Columns:
    """Return columns of what has some names as columns of what is known."""
    if [*names] == known:
        return columns
    places = {name: i for i, name in enumerate(names)}
    unknown = len(known) * [np.nan]
    return {
        column: [
            values[places[name]] if name in places else other
            for name, other in zip(known, others.get(column, unknown), strict=True)
        ]
        for column, values in columns.items()
    }


def _of_update(update: Update | None, log_size: np.ndarray) -> dict[str, list[float]]:
    """Return the columns of an update, given ln of the norms of the arrays before it."""
    if update is None:
        return {"log10_update": [math.nan] * len(log_size)}
    log_update, log_after = (np.asarray(v, np.float64) for v in update[:2])
    with np.errstate(all="ignore"):  # ‖after‖² = ‖θ‖² + ‖update‖² + 2 ‖θ‖ ‖update‖ radial
        ratio = np.exp(log_update - log_size)
        radial = (np.expm1(2 * (log_after - log_size)) - ratio**2) / (2 * ratio)
    columns: dict[str, Any] = {
        "log10_update": log_update / LN10,
        "radial": radial,
        "moved": update.moved,
    }
    if update.log_gradient is not None:
        columns["log10_gradient"] = np.asarray(update.log_gradient, np.float64) / LN10
    columns |= {"held": update.held, "rate": update.rate}
    return {
        name: np.asarray(v, np.float64).tolist() for name, v in columns.items() if v is not None
    }


_PLACES = ("layer", "name")


def _columns(rows: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in names}
