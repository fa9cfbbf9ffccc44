"""Alarms: faults of a training, recognised in the measurements of its watch.

    measurements so far -> a rule -> an alarm, or None; of each rule one in a training

A rule speaks where it is clear, and else is silent. Sizes are Euclidean norms; a weight is a
parameter array of two axes or more. What it takes, by name:

    nonfinite   a number that is nan or infinite: the first of state, loss, Δ and update
    format      Δ of a layer has left the dtype of the states, and its weights do not move; or Δ of
                the output is zero in float16
    rounding    a weight that moved stays as it is, though it has a Δ and others move: its dtype
                rounds the update away; in two measurements
    update      ‖update‖ / ‖θ‖ is .1 or more in half of the weights, or .3 in one of them twice
    decay       half of the weights have lost 30 % of their size, and halve within 1000 steps
    clip        the update is the gradient times one factor, and of the same size twice, which the
                gradient is not: every step is clipped; and it is below .001 of the weights
    state       the root mean square of a state is 1000 or more, at which float16 is near its end,
                or 30 and has doubled within four or eight measurements, steadily
    attention   the largest logit of an attention is 30 or more and has doubled likewise, or it is
                100 and the entropy below 5 % of its largest
    router      half of the experts of a router have a tenth of their share or less, in two
                measurements
    examples    the states of all examples are equal but for rounding, from a layer up
    gradient    it vanishes or explodes, by six decades or more over the whole network
    cut         Δ of a weight is exactly zero, in two measurements: nothing that it does counts
    branch      the branches of a layer add less than 10^-7 of their stream to it, in two
                measurements, and added more before

Others are of the watch itself, whose failures end no training, each at its first failure:
measurement, alarms, file, value, write and callback.
"""

from collections.abc import Callable, Iterator

import numpy as np

from ..flow.formats.ranges import indistinguishable_in, range_of
from ..flow.verdict.findings import LOGIT, SATURATED
from ..texts import clean, label
from .journal import FILE
from .watched import LN10, Alarm, Line, Watched, column_of, count_of

LARGE_UPDATE, LARGEST_UPDATE, SMALL_UPDATE = 0.1, 0.3, 1e-3  # of the weight
LOST_SIZE, HALF_LIFE = 0.3, 1000  # of weights, and steps
SAME, OTHER = 1e-3, 1e-2  # of decades: one factor for all arrays; sizes that differ
LARGE_STATE, LARGEST_STATE = 30.0, 1000.0  # root mean square
LARGE_LOGIT = 30.0
STARVED = 0.1  # of the share of an expert
SMALL_BRANCH = 1e-7  # of the stream
CHANGE = 6.0  # decades over all layers
GROWING = (4, 8)  # measurements, from the first of which to the last a number doubles
LOG2 = float(np.log10(2))
LARGEST_FLOAT16 = 65504.0


class _Seen:
    """The measurements of a watch as arrays."""

    def __init__(self, watched: Watched):
        self.start, self.lines = watched.start, watched.measurements
        self.step: int = self.lines[-1]["step"]
        self.weights = np.array(
            [len(p["shape"]) > 1 and max(p["shape"]) > 1 for p in self.start["parameters"]], bool
        )

    def __len__(self) -> int:
        return len(self.lines)

    def get(self, part: str, name: str, back: int = 0) -> np.ndarray:
        """Return a number of all layers, arrays, heads or experts; `back` measurements ago."""
        return self._array(self.lines[-1 - back], part, name)

    def last(self, part: str, name: str, count: int) -> np.ndarray:
        """Return it of the last measurements, (count, …)."""
        return np.stack([self._array(line, part, name) for line in self.lines[-count:]])

    def earlier(self, part: str, name: str) -> np.ndarray:
        """Return it of all measurements but the last two, (count, …)."""
        return np.stack([self._array(line, part, name) for line in self.lines[:-2]])

    def _array(self, line: Line, part: str, name: str) -> np.ndarray:
        return np.array(column_of(line, part, name, count_of(self.start, part)), float)

    def steps(self, count: int) -> int:
        """Return the number of steps from the first of the last measurements to this one."""
        return int(self.step - self.lines[-count]["step"])

    def name(self, layer: int) -> str:
        """Return a layer in words."""
        layers = self.start["layers"]  # a head above the last cut of a module is in none
        return label(layer, clean(layers[layer - 1]["name"]) if layer <= len(layers) else "")

    def alarm(self, rule: str, text: str, layer: int | None = None, path: str = "") -> Alarm:
        """Return an alarm of this step."""
        return Alarm(self.step, rule, f"Step {self.step}: {text}.", layer, path)

    def of_array(self, rule: str, i: int, text: str) -> Alarm:
        """Return an alarm on a parameter array, which {} in the text stands for."""
        array = self.start["parameters"][i]
        where = f"{clean(array['path'])} in layer {self.name(array['layer'])}"
        return self.alarm(rule, text.format(where), array["layer"], array["path"])


def _nonfinite(seen: _Seen) -> Alarm | None:
    dtype = seen.start["dtype"]
    square, size = seen.get("layers", "log10_mean_square"), seen.get("parameters", "log10_size")
    out = np.flatnonzero(~(square < np.inf))
    if not len(out):
        return _nonfinite_on_the_way_down(seen, dtype)
    layer = int(out[0]) + 1
    layers = np.array([p["layer"] for p in seen.start["parameters"]])
    broken = np.flatnonzero(~(size < np.inf) & (layers == layer))
    if len(broken):
        return seen.of_array("nonfinite", int(broken[0]), "{} is nan or infinite before the step")
    text = f"the state of layer {seen.name(layer)} is the first that has no number in {dtype}"
    return seen.alarm("nonfinite", text, layer)


def _nonfinite_on_the_way_down(seen: _Seen, dtype: str) -> Alarm | None:
    largest = seen.get("layers", "log10_largest")
    most = range_of(dtype)[1] / LN10
    over = np.flatnonzero(np.isnan(largest) | (largest > most))
    if len(over):
        layer = int(over[-1]) + 1
        text = (
            f"Δ of the state of layer {seen.name(layer)} is the first beyond the range of {dtype}"
        )
        return seen.alarm("nonfinite", text, layer)
    bad = np.flatnonzero(~(seen.get("parameters", "log10_update") < np.inf))
    if len(bad) and seen.lines[-1]["after"]:
        text = "the update of {} is nan or infinite, with finite states and a finite Δ"
        return seen.of_array("nonfinite", int(bad[-1]), text)
    return None


def _format(seen: _Seen) -> Alarm | None:
    lost, delta = (seen.get("layers", name) for name in ("lost", "log10_largest"))
    if seen.start["dtype"] == "float16" and np.isneginf(delta).all():
        return seen.alarm("format", "Δ of the output is zero in float16; scale the loss")
    below = np.flatnonzero((lost > 0) & (delta < 0))
    if not len(below):
        return None
    layer, update = int(below[-1]) + 1, seen.get("parameters", "log10_update")
    layers = np.array([p["layer"] for p in seen.start["parameters"]])
    own = seen.weights & (layers <= layer)
    if not np.isnan(update[own]).all() and not np.isneginf(update[own]).any():
        return None
    text = (
        f"Δ is 10^{delta[layer - 1]:.0f} in layer {seen.name(layer)}, for which "
        f"{seen.start['dtype']} has no number: it and all below get nothing; scale the loss"
    )
    return seen.alarm("format", text, layer)


def _rounding(seen: _Seen) -> Alarm | None:
    if len(seen) < 3:
        return None
    update, delta = (seen.last("parameters", f"log10_{v}", 2) for v in ("update", "delta"))
    still = np.isneginf(update).all(axis=0) & (delta > -np.inf).all(axis=0) & seen.weights
    if not still.any() or not np.isfinite(update[:, seen.weights]).any(axis=1).all():
        return None
    still &= np.isfinite(seen.earlier("parameters", "log10_update")).any(axis=0)
    if not still.any():
        return None
    text = "{} stays as it is, though it has a Δ: its dtype rounds the update away"
    return seen.of_array("rounding", int(np.flatnonzero(still)[0]), text)


def _ratio(seen: _Seen, back: int = 0) -> np.ndarray:
    """Return log₁₀ ‖update‖ / ‖θ‖ of each array; nan of one that was zero."""
    size, update = (seen.get("parameters", f"log10_{v}", back) for v in ("size", "update"))
    return np.where(np.isfinite(size), update - np.where(np.isfinite(size), size, 0), np.nan)


def _update(seen: _Seen) -> Alarm | None:
    ratio = np.where(seen.weights, _ratio(seen), np.nan)
    known = ratio[~np.isnan(ratio)]
    if not len(known):
        return None
    worst = int(np.nanargmax(ratio))
    text = f"‖update‖ / ‖θ‖ of {{}} is {10 ** ratio[worst]:.2g}"
    if np.median(known) >= np.log10(LARGE_UPDATE):
        text += f", and {10 ** np.median(known):.2g} in half of all weights: the step is too large"
        return seen.of_array("update", worst, text)
    if len(seen) > 1:
        both = np.fmin(ratio, _ratio(seen, 1))
        if both[worst] >= np.log10(LARGEST_UPDATE):
            return seen.of_array("update", worst, text + ", for the second time")
    return None


def _decay(seen: _Seen) -> Alarm | None:
    if len(seen) < 3:
        return None
    size = seen.last("parameters", "log10_size", 3)[:, seen.weights]
    first = seen.get("parameters", "log10_size", len(seen) - 1)[seen.weights]
    if not len(first):
        return None
    with np.errstate(invalid="ignore"):
        rate = (size[-1] - size[0]) / seen.steps(3)
        falls = (np.diff(size, axis=0) < 0).all(axis=0) & (-rate * HALF_LIFE > LOG2)
        lost = size[-1] - first < np.log10(1 - LOST_SIZE)
    if np.mean(falls & lost) < 0.5:
        return None
    worst = int(np.argmin(np.where(falls & lost, rate, 0)))
    text = f"weights shrink; {{}} halves every {-LOG2 / rate[worst]:.0f} steps"
    return seen.of_array("decay", int(np.flatnonzero(seen.weights)[worst]), text)


def _clip(seen: _Seen) -> Alarm | None:
    if len(seen) < 2:
        return None
    update, delta = (seen.last("parameters", f"log10_{v}", 2) for v in ("update", "delta"))
    own = np.isfinite(update).all(axis=0) & np.isfinite(delta).all(axis=0)
    if np.sum(own) < 3:
        return None
    factor = (update - delta)[:, own]
    is_one = (np.ptp(factor, axis=1) < SAME).all()
    sizes, gradients = (
        np.log10(np.sum(10 ** (2 * v[:, own]), axis=1)) / 2 for v in (update, delta)
    )
    weights = np.log10(np.sum(10 ** (2 * seen.get("parameters", "log10_size")))) / 2
    is_small = sizes[-1] - weights < np.log10(SMALL_UPDATE)
    if not (is_one and is_small and np.ptp(sizes) < SAME and np.ptp(gradients) > OTHER):
        return None
    text = (
        f"every step is clipped: ‖update‖ is {10 ** sizes[-1]:.3g} each time, of gradients from "
        f"{10 ** gradients.min():.2g} to {10 ** gradients.max():.2g}"
    )
    return seen.alarm("clip", text)


def _growing(
    seen: _Seen, part: str, name: str, power: float, least: float
) -> Iterator[tuple[int, float, float]]:
    """Yield numbers that double steadily: place, log₁₀ of the last, and the steps of a doubling.

    A line through the logarithms of the last four or eight measurements, against their steps, has
    to rise by a factor of two, and to leave a tenth of that.

    Args:
        seen: the measurements.
        part: of the numbers, which are positive.
        name: likewise.
        power: of log₁₀ of the numbers in what is recorded; 0 if they are recorded themselves.
        least: the smallest that counts.
    """
    for count in GROWING:
        if len(seen) < count:
            return
        values = seen.last(part, name, count)
        log10 = values / power if power else np.log10(np.maximum(values, 1e-30))
        known = np.isfinite(log10).all(axis=0) & (log10[-1] >= np.log10(least))
        log10 = np.where(known, log10, 0)
        steps = np.array([line["step"] for line in seen.lines[-count:]], float)
        slope, start = np.polyfit(steps, log10, 1) if np.ptp(steps) else np.zeros((2, len(known)))
        growth = slope * np.ptp(steps)
        rest = np.std(log10 - slope * steps[:, None] - start, axis=0)
        rises = known & (growth >= LOG2) & (rest <= 0.1 * growth) & (log10[-1] > log10[-2])
        for i in np.flatnonzero(rises)[np.argsort(-growth[rises])]:
            yield int(i), float(log10[-1, i]), float(LOG2 / slope[i])


def _forecast(log10: float, doubling: float) -> str:
    left = max(np.log10(LARGEST_FLOAT16) - log10, 0) / LOG2 * doubling
    return f"double every {_rounded(doubling)} steps; float16 ends in about {_rounded(left)}"


def _rounded(value: float) -> str:
    """Return a number to two digits, without an exponent."""
    return f"{float(f'{value:.2g}'):,.0f}"


def _state(seen: _Seen) -> Alarm | None:
    rms = seen.get("layers", "log10_mean_square") / 2
    with np.errstate(invalid="ignore"):
        large = np.flatnonzero(np.isfinite(rms) & (rms >= np.log10(LARGEST_STATE)))
    if len(large):
        layer = int(large[0]) + 1
        text = f"the state of layer {seen.name(layer)} has a root mean square of "
        return seen.alarm("state", text + _rounded(10 ** rms[layer - 1]), layer)
    for i, log10, doubling in _growing(seen, "layers", "log10_mean_square", 2, LARGE_STATE):
        text = f"states of layer {seen.name(i + 1)} {_forecast(log10, doubling)}"
        return seen.alarm("state", text, i + 1)
    return None


def _attention(seen: _Seen) -> Alarm | None:
    heads = seen.start["heads"]
    if not heads:
        return None
    logit, share = (seen.get("heads", name) for name in ("largest_logit", "share"))
    sharp = np.flatnonzero((logit >= LOGIT) & (share < SATURATED))
    if len(sharp):
        head = heads[sharp[0]]
        text = (
            f"head {head['head']} of layer {seen.name(head['layer'])} attends to one key each, "
            f"with logits up to {logit[sharp[0]]:.3g}: softmax hands down little"
        )
        return seen.alarm("attention", text, head["layer"])
    for i, log10, doubling in _growing(seen, "heads", "largest_logit", 0, LARGE_LOGIT):
        layer = heads[i]["layer"]
        text = f"attention logits of layer {seen.name(layer)} {_forecast(log10, doubling)}"
        return seen.alarm("attention", text, layer)
    return None


def _router(seen: _Seen) -> Alarm | None:
    experts = seen.start["experts"]
    if not experts or len(seen) < 2:
        return None
    load = seen.last("experts", "load", 2)
    routers: dict[tuple[int, int], list[int]] = {}
    for i, expert in enumerate(experts):
        routers.setdefault((expert["layer"], expert["router"]), []).append(i)
    for (layer, _), own in routers.items():
        few = (load[:, own] <= STARVED / len(own)).all(axis=0)
        if len(own) > 1 and 2 * few.sum() >= len(own):
            text = (
                f"the router of layer {seen.name(layer)} leaves {few.sum()} of {len(own)} experts "
                "without work"
            )
            return seen.alarm("router", text, layer)
    return None


def _examples(seen: _Seen) -> Alarm | None:
    log_spread = seen.get("layers", "log10_spread") * LN10
    if np.isnan(log_spread).all():  # of a single example
        return None
    every = np.arange(len(log_spread))
    layer = indistinguishable_in(seen.start["dtype"], every, log_spread)
    if layer is None:
        return None
    text = f"all examples are equal but for rounding, from layer {seen.name(layer)} up"
    return seen.alarm("examples", text, layer)


def _gradient(seen: _Seen) -> Alarm | None:
    line = seen.lines[-1]
    if line["word"] not in ("vanishing", "exploding") or abs(line["total"]) < CHANGE:
        return None
    layer = 1 if line["word"] == "vanishing" else None
    text = f"{line['word']} gradient, {line['total']:.2g} decades over the whole network"
    return seen.alarm("gradient", text, layer)


def _cut(seen: _Seen) -> Alarm | None:
    if len(seen) < 2:
        return None
    delta = seen.last("parameters", "log10_delta", 2)
    zero = np.isneginf(delta).all(axis=0) & seen.weights
    if not zero.any() or np.isneginf(delta[-1]).all():
        return None
    text = "Δ of {} is exactly zero: every path from it to the loss is cut"
    return seen.of_array("cut", int(np.flatnonzero(zero)[-1]), text)


def _branch(seen: _Seen) -> Alarm | None:
    if len(seen) < 3 or any("log10_branch" not in line["layers"] for line in seen.lines[-3:]):
        return None
    least, branch = np.log10(SMALL_BRANCH), seen.last("layers", "log10_branch", 2)
    small = np.flatnonzero((branch < least).all(axis=0))
    if not len(small):  # as usual: what was before is not looked at each time
        return None
    most = np.fmax.reduce(seen.earlier("layers", "log10_branch")[:, small])
    gone = np.flatnonzero(most >= least)
    if not len(gone):
        return None
    at, before = int(small[gone[0]]), most[gone[0]]
    size = branch[-1, at]
    share = "0" if np.isneginf(size) else f"10^{size:.0f}"
    text = (
        f"what the branches of layer {seen.name(at + 1)} add is {share} of their stream, and was "
        f"{10**before:.2g} of it: the layer does nothing now"
    )
    return seen.alarm("branch", text, at + 1)


RULES: dict[str, Callable[[_Seen], Alarm | None]] = {
    "nonfinite": _nonfinite,
    "format": _format,
    "rounding": _rounding,
    "update": _update,
    "decay": _decay,
    "clip": _clip,
    "state": _state,
    "attention": _attention,
    "router": _router,
    "examples": _examples,
    "gradient": _gradient,
    "cut": _cut,
    "branch": _branch,
}


FAILURES = {  # of a part of the watch, with its error
    "measurement": "the gradient could not be measured ({})",
    "alarms": "alarms could not be looked for ({})",
    "file": "what was measured is not in " + FILE + " ({}), only in memory",
    "value": "the loss of the step is not known ({})",
    "write": "the function in write= failed ({})",
    "callback": "the function in callback= failed ({})",
}


def alarms_of(watched: Watched, ignore: tuple[str, ...] = ()) -> list[Alarm]:
    """Return the alarms that the last measurement gives rise to, of rules that were silent."""
    seen, spoken = _Seen(watched), {alarm.rule for alarm in watched.alarms}
    alarms = []
    with np.errstate(all="ignore"):  # inf and nan are numbers here, neither large nor small
        for name, rule in RULES.items():
            if "nonfinite" in spoken:  # all else follows from that
                break
            if name in spoken or name in ignore:
                continue
            alarm = rule(seen)
            if alarm is not None:
                alarms.append(alarm)
                spoken.add(name)
    return alarms


def line_of(alarm: Alarm, time: int) -> Line:
    """Return the line of an alarm."""
    return {"kind": "alarm", "time": time, **alarm._asdict()}
