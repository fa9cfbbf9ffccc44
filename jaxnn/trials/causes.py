"""Changes of what a verdict names: of one array, a bias, a gate, one cut; tried before all others.

    findings of the verdict -> the arrays behind them -> as those of other layers, or drawn again

One is a cure if the gradient is kept and the verdict no longer finds what it found.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..flow.verdict.arrays import Arrays, has_name
from ..flow.verdict.findings import SET
from ..flow.verdict.rates import ERRATIC, LN10
from ..flow.verdict.through_time import TimeChange, decades_a_step
from ..flow.verdict.verdict import Verdict, verdict
from ..patients import search
from ..patients.draws import ONE_SIZE, Source, delta_like
from ..patients.patient import At, Params, Patient, Places
from ..patients.words import names_in_words, template, to_digits
from ..rules import Found
from ..texts import clean, listed
from .changes import CHANGES, change
from .setup import Attempt, Setup

FIRST = -1  # rank: before changes of many layers
FEWEST = 3  # arrays of one name, among which one may be unlike the others
ODD = 1.0  # decades of the root mean square
MOST = 3  # layers with odd arrays that are tried one by one
LOGIT = 4.0  # that the largest one is brought to: of softmax of normal queries and keys

cause = partial(change, rank=FIRST, cures=True)


def named(verdict: Verdict, *cures: str) -> list[Found]:
    """Return the findings that some cures take away, or any; others follow from data or formats."""
    mended = frozenset[str]().union(*(CHANGES[cure].mends for cure in cures or CHANGES))
    return [found for found in verdict.findings if found.rule in mended]


def is_left(before: Verdict, after: Verdict) -> str:
    """Return why a change is no cure of what a verdict named; empty if all of that is gone."""
    places = {(found.rule, found.layer) for found in named(before)}
    left = [found for found in named(after) if (found.rule, found.layer) in places]
    return f"the verdict still finds: {left[0].text.rstrip('.')}" if left else ""


def _attempt(patient: Patient, new: dict[At, np.ndarray]) -> Attempt:
    """Return the network with other numbers in some arrays."""
    return _named(patient, patient.with_arrays(new))


def _named(patient: Patient, params: Params) -> Attempt:
    return Attempt(params, reason=partial(is_left, patient.verdict), is_named=True)


def _filled(patient: Patient, meant: Places, value: float) -> Attempt:
    return _attempt(patient, {at: np.full_like(patient.arrays[at], value) for at in meant})


def _multiplied(patient: Patient, meant: Places, factor: float) -> Attempt:
    return _attempt(patient, {at: factor * patient.arrays[at] for at in meant})


# What a verdict says to set


@cause("named", SET, says="{path} set to {to:g}", mends="cut, fixed, shut")
def named_array(setup: Setup) -> Iterator[Setup]:
    """A bias or gains that turn units off, set to what the verdict says."""
    patient, done = setup.patient, list[Places]()
    for found in named(patient.verdict, "named"):
        meant = _places_of(patient, found) if "to" in found.values else set()
        if meant and not any(meant <= places for places in done):
            to, name = found.values["to"], template(patient.path(min(meant)))
            if to:  # gains of zero: all of that name, for each of them shuts
                meant |= {at for at in _zero_vectors(patient) if template(patient.path(at)) == name}
            attempt = _filled(patient, meant, to)
            done.append(meant)
            yield setup.attempted(attempt, path=patient.named(meant), to=to)


@cause(
    "shut",
    "Set {arrays} to 1: at 0 they shut what they multiply.",
    says="{arrays} set to 1 instead of 0",
    mends="cut, fixed, shut, zero",
)
def shut(setup: Setup) -> Iterator[Setup]:
    """Gains of norms, or biases of gates, that are all 0 and let no gradient through, at 1."""
    patient = setup.patient
    is_shut = named(patient.verdict, "shut")
    for group in _alike(patient, _zero_vectors(patient)) if is_shut else ():
        meant = {*group.values()}
        attempt = _filled(patient, meant, 1.0)
        flow = patient.measured(attempt.params)
        if flow is not None and not attempt.refusal(verdict(flow)):
            yield setup.attempted(attempt._replace(flow=flow), arrays=patient.named(meant))


@change(
    "zero gains",
    "Set {arrays} to 1: at 0 they shut what they multiply.",
    says="{arrays} set to 1 instead of 0",
)
def zero_gains(setup: Setup) -> Iterator[Setup]:
    """Gains of zero, in layers with a weight that gets no gradient, at 1.

    At the end of a branch they are usual, at its start, without a bias, they look the same.
    """
    patient = setup.patient
    arrays = Arrays.of(patient.flow)
    waiting = np.unique(arrays.layer[arrays.weights & np.isneginf(arrays.delta)])
    gains = {(layer, arrays.path[i]) for layer in waiting for i in arrays.zero_gains(layer)}
    meant = {at for at in patient.arrays if (at[0] + 1, clean(patient.path(at))) in gains}
    for group in _alike(patient, meant):
        places = {*group.values()}
        ones = patient.with_arrays({at: np.ones_like(patient.arrays[at]) for at in places})
        yield setup.attempted(Attempt(ones), arrays=patient.named(places))


def _zero_vectors(patient: Patient) -> Places:
    return {at for at, v in patient.arrays.items() if v.ndim < 2 and v.size and not v.any()}


def _places_of(patient: Patient, found: Found) -> Places:
    """Return the arrays that a finding names."""
    places = found.values.get("places", {(found.layer, found.path)})
    return {at for at in patient.arrays if (at[0] + 1, clean(patient.path(at))) in places}


# Arrays that are unlike their like


class Mended(NamedTuple):
    """An array as its like are."""

    verb: str  # what to do with it
    how: str  # with numbers
    value: np.ndarray | float  # the standard deviation of what is drawn


def mended(v: np.ndarray, like: Sequence[np.ndarray]) -> Mended | None:
    """Return an array as others of its name are; None if it is no exception among them."""
    if len(like) < FEWEST:
        return None
    own, usual = _size(v), float(np.median([_size(other) for other in like]))
    if own == usual or not abs(_decades(own, usual)) >= ODD:
        return None
    constants = {float(other.flat[0]) for other in like if np.ptp(other) == 0}
    if len(constants) == 1 and all(np.ptp(other) == 0 for other in like):
        (constant,) = constants
        return Mended("set", f"to {constant:g}", np.full_like(v, constant))
    if usual == 0:
        return Mended("set", "to 0", np.zeros_like(v))
    if own == 0:
        std = to_digits(usual, 3)
        return Mended("draw", f"again, normal with std {std:g}", std)
    factor = to_digits(max(own, usual) / min(own, usual), 3)
    if own > usual:
        return Mended("divide", f"by {factor:g}", v / factor)
    return Mended("multiply", f"by {factor:g}", v * factor)


def _size(v: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(np.abs(v)))))


def _decades(own: float, usual: float) -> float:
    with np.errstate(divide="ignore"):
        return float(np.log10(own) - np.log10(usual))


def _odd_arrays(patient: Patient) -> dict[int, dict[At, Mended]]:
    """Return by layer, from 0, the arrays of another size than their like, as those are."""
    odd: dict[int, dict[At, Mended]] = {}
    for group in _alike(patient, patient.arrays.keys()):
        values = {path: patient.arrays[at] for path, at in group.items()}
        changes = {
            path: new
            for path, v in values.items()
            if (new := mended(v, [o for p, o in values.items() if p != path]))
        }
        # At most a quarter of the arrays of one name may be exceptions.
        if 0 < len(changes) <= max(1, len(values) // 4):
            for path, new in changes.items():
                at = group[path]
                odd.setdefault(at[0], {})[at] = new
    return odd


def _alike(patient: Patient, meant: Places) -> list[dict[str, At]]:
    """Return some arrays by their paths, those of one shape whose names differ in numbers apart."""
    groups: dict[tuple[str, int, tuple[int, ...]], dict[str, At]] = {}
    for at in sorted(meant):
        array = patient.arrays[at]
        # What a change before has set is no measure for others, nor they for it.
        if array.size and np.array_equal(array, patient.before(at)):
            path, shape = patient.path(at), array.shape
            # Without a name, as in a list of arrays, those alike have one place in their layers.
            place = 0 if has_name(path) else at[1]
            groups.setdefault((template(path), place, shape), {}).setdefault(path, at)
    return [*groups.values()]


@cause(
    "array",
    "{actions}, {why}.",
    says="arrays of the size of those like them ({actions}, {why})",
    mends="largest, size, starved, examples, positions",
)
def array(setup: Setup) -> Iterator[Setup]:
    """Each array that is unlike those of its name in other layers, made as they are.

    It is divided or multiplied; a constant one, such as a bias or a gain, is set to their constant;
    one of zeros is drawn again. One that is larger than all other weights is divided down to them.
    Tried if the verdict finds more than a rate.
    """
    patient = setup.patient
    odd = _odd_arrays(patient) if named(patient.verdict) else {}
    together = [{at: new for of_layer in odd.values() for at, new in of_layer.items()}]
    by_layer = [odd[layer] for layer in sorted(odd)] if 1 < len(odd) <= MOST else []
    for arrays in (*by_layer, *together):
        if arrays:
            yield _as_others(setup, arrays, "as in the other layers")
    largest = _largest(patient)
    if largest:
        yield _as_others(setup, largest, "down to the other weights")


def _as_others(setup: Setup, arrays: Mapping[At, Mended], why: str) -> Setup:
    patient = setup.patient

    def value(source: Source, at: At) -> np.ndarray:
        new = arrays[at].value
        return new if isinstance(new, np.ndarray) else source.normal(patient.arrays[at].shape, new)

    attempt = _named(patient, patient.redrawn(arrays.keys(), value))
    return setup.attempted(attempt, actions=_actions(setup.patient, arrays), why=why)


def _largest(patient: Patient) -> dict[At, Mended]:
    """Return the array that is larger than all other weights, of the size of the next one."""
    changes: dict[At, Mended] = {}
    for found in patient.verdict.findings:
        if found.rule == "largest":
            factor = to_digits(found.values["size"] / found.values["next_size"], 3)
            changes |= {
                at: Mended("divide", f"by {factor:g}", patient.arrays[at] / factor)
                for at in _places_of(patient, found)
            }
    return changes


def with_usual_weights(patient: Patient) -> tuple[Patient, str] | None:
    """Return the network with weights of std 1/√fan_in, and how; None if so, or out of range."""
    changes, new = dict[At, Mended](), dict[At, np.ndarray]()
    with_units = {at for at in patient.every_weight if patient.has_units(at)}
    repeating = with_units & patient.weights
    for group in (*_alike(patient, repeating), *_alike(patient, with_units - repeating)):
        values = {at: patient.arrays[at] for at in group.values()}
        gains = [_size(v) * _fan_in(patient, at) ** 0.5 for at, v in values.items()]
        gain = float(np.median(gains))
        if gain and not 1 / ONE_SIZE < gain < ONE_SIZE:
            factor = to_digits(1 / gain, 3)
            by = f"by {factor:g}"
            new |= {at: factor * v for at, v in values.items()}
            changes |= {at: Mended("multiply", by, new[at]) for at in values}
    params = patient.with_arrays(new)
    if not changes or patient.measured(params) is None:
        return None
    return patient.with_params(params), f"{_actions(patient, changes)}, to a std of 1/√fan_in."


def _actions(patient: Patient, arrays: Mapping[At, Mended]) -> str:
    """Return what to do with some arrays, in words, those of one action together."""
    by_verb: dict[str, dict[str, list[str]]] = {}
    for at in sorted(arrays):
        verb, how, _ = arrays[at]
        by_verb.setdefault(verb, {}).setdefault(how, []).append(patient.path(at))
    known = patient.flow.parameters.paths
    texts = [
        f"{verb} {listed([f'{names_in_words(paths, known)} {how}' for how, paths in hows.items()])}"
        for verb, hows in by_verb.items()
    ]
    return f"{texts[0][0].upper()}{listed(texts)[1:]}"


# Arrays that are drawn again, or divided


@cause(
    "redraw",
    "Draw the weights {arrays} again, normal with std {std}.",
    says="the weights {arrays} drawn again, normal with std {std}",
    mends="zero, equal, drawn",
)
def redraw(setup: Setup) -> Iterator[Setup]:
    """Weights that are constant or copies, or all that are drawn far too large, with 1/fan_in.

    With 2/fan_in where layers are of relu.
    """
    patient = setup.patient
    findings = named(patient.verdict, "redraw")
    if not findings:
        return
    is_large = any(found.values.get("how") == "large" for found in findings)
    meant = patient.weights if is_large else _constant_weights(patient, findings)
    gain = 2.0 if patient.is_of_relu else 1.0

    def normal(source: Source, at: At) -> np.ndarray:
        return source.normal(patient.arrays[at].shape, (gain / _fan_in(patient, at)) ** 0.5)

    if meant:
        params = patient.redrawn(meant, normal)
        attempt = Attempt(params) if is_large else _named(patient, params)
        std = "√(2/fan_in)" if gain == 2 else "1/√fan_in"
        yield setup.attempted(attempt, arrays=patient.named(meant), std=std)


def _constant_weights(patient: Patient, findings: Sequence[Found]) -> Places:
    """Return the weights that are one number in all entries, and those that are named."""
    paths = {found.path for found in findings}
    weights = {at: v for at in patient.weights_anywhere if (v := patient.arrays[at]).size}
    return {at for at, v in weights.items() if np.ptp(v) == 0 or clean(patient.path(at)) in paths}


def _fan_in(patient: Patient, at: At) -> float:
    """Return the number of inputs of a unit of an array of weights."""
    v = patient.arrays[at]
    is_known = v.ndim == 2 or at in patient.kernels
    return float(v.size / v.shape[patient.axes(at)[1] if is_known else -1])


@cause(
    "queries and keys",
    "Multiply the weights of queries and keys {arrays} by {factor:g}: the largest logit, "
    "{logit:.3g}, becomes {goal:g}.",
    says="the weights of queries and keys {arrays} multiplied by {factor:g}",
    mends="attention",
)
def queries_and_keys(setup: Setup) -> Iterator[Setup]:
    """Queries and keys of saturated attention, divided so that its largest logit is 4."""
    patient = setup.patient
    record = patient.flow.attention
    layers = [found.layer for found in named(patient.verdict, "queries and keys")]
    if record is None or not layers:
        return
    heads = [i for i, layer in enumerate(record.layers) if layer in layers]
    paths = {(record.layers[i], path) for i in heads for path in record.paths[i]}
    meant = {at for at in patient.arrays if (at[0] + 1, patient.path(at)) in paths}
    logit = float(np.max(np.asarray(record.largest_logit, np.float64)[heads]))
    factor = to_digits((LOGIT / logit) ** 0.5, 3)
    if meant:
        attempt = _multiplied(patient, meant, factor)
        words = {"arrays": patient.named(meant), "factor": factor, "logit": logit, "goal": LOGIT}
        yield setup.attempted(attempt, **words)


@cause(
    "one layer",
    "Multiply the weights {arrays} by {factor:g}: it then changes the gradient as the other "
    "layers do.",
    says="the weights {arrays} multiplied by {factor:g}",
    mends="layer",
)
def one_layer(setup: Setup) -> Iterator[Setup]:
    """One factor on the weights of a layer that makes all of the change, where no array does."""
    patient = setup.patient
    is_erratic = patient.verdict.word == ERRATIC
    for found in named(patient.verdict, "one layer") if is_erratic else ():
        if found.path or found.layer is None or found.layer < 2:
            continue
        layer = found.layer - 1
        meant = {at for at in patient.every_weight if at[0] == layer}
        factor = _factor_of_layer(patient, layer, meant) if meant else None
        if factor is not None:
            factor = to_digits(factor, 3)
            attempt, arrays = _multiplied(patient, meant, factor), patient.named(meant)
            yield setup.attempted(attempt, arrays=arrays, factor=factor)


def _factor_of_layer(patient: Patient, layer: int, meant: Places) -> float | None:
    """Return the factor on some weights of a layer at which it changes the gradient as others."""

    def excess(factor: float) -> float:
        flow = patient.measured(
            patient.with_arrays({at: factor * patient.arrays[at] for at in meant})
        )
        if flow is None:
            return np.nan
        return float(np.asarray(flow.log_gain, np.float64)[layer - 1]) / LN10 - usual

    usual = patient.verdict.decades
    return search.root(excess)


# Gains


@cause(
    "gains",
    "Set the gains {arrays} to {value:g}, which is 1/√{count}, for there are {count} branches.",
    says="the gains {arrays} set to {value:g}",
    mends="branches",
)
def gains(setup: Setup) -> Iterator[Setup]:
    """Gains at which branches start near zero, such as layer scales of 10^-6, at 1/√(branches)."""
    patient = setup.patient
    for found in named(patient.verdict, "gains"):
        meant = _places_of(patient, found)
        value = to_digits(len(meant) ** -0.5)
        attempt = _filled(patient, meant, value)
        yield setup.attempted(attempt, arrays=patient.named(meant), value=value, count=len(meant))


# Gates


@cause(
    "gates",
    "Set the bias {entries} to {to}, so that the state is kept.",
    says="the bias {entries} set to {to}",
    mends="time",
)
def gates(setup: Setup) -> Iterator[Setup]:
    """The bias of the gate that keeps the state of a recurrent network, 1 or ln(number of steps).

    Of `nn.LSTM`, `nn.GRU` and their cells the gate is known, and 1 is tried first; of other steps
    it is the vector, or the part of one, with which the rate is smallest.

    Sources: Jozefowicz, Zaremba & Sutskever 2015 (1); Tallec & Ollivier 2018, arXiv:1804.11188.
    """
    yield from [*_gates_of_modules(setup)] or _gate_of_steps(setup)


def _kept_for(steps: int) -> dict[str, Any]:
    """Return the bias of a gate that keeps its state for some steps, with its words."""
    value = to_digits(float(np.log(steps)), 3)
    return {"value": value, "steps": steps, "to": f"ln {steps} = {value:.2f}"}


def _through_time(patient: Patient) -> TimeChange | None:
    """Return the change of Δ inside a recurrent module that the verdict names, if any."""
    return next((f.values["change"] for f in named(patient.verdict, "gates")), None)


def _gates_of_modules(setup: Setup) -> Iterator[Setup]:
    """Yield changes of known gates through which the gradient vanishes, if there are some."""
    patient = setup.patient
    inside = _through_time(patient)
    if inside and inside.word == "vanishing":
        steps, name = inside.steps, inside.module
        meant = {
            at: v for at, v in patient.gates.items() if patient.path(at).rpartition(".")[0] == name
        }
    elif patient.is_tied and patient.verdict.word == "vanishing":
        steps = int(patient.layers.sum())
        meant = {at: v for at, v in patient.gates.items() if patient.is_changed(at)}
    else:
        return
    names = [f"`{patient.path(at)}[{v.start}:{v.stop}]`" for at, v in sorted(meant.items())]
    one: dict[str, Any] = {"value": 1.0, "to": "1"}
    for numbers in (one, _kept_for(steps)) if meant else ():
        new = {at: _with(patient.arrays[at], v, numbers["value"]) for at, v in meant.items()}
        # Of 1, which rarely suffices, the number is told; it is no reason to leave out ln T.
        attempt = _attempt(patient, new)._replace(is_named="steps" in numbers)
        yield setup.attempted(attempt, entries=listed(names), **numbers)


def _gate_of_steps(setup: Setup) -> Iterator[Setup]:
    """Yield the change of steps that share their parameters, if one halves the rate."""
    patient = setup.patient
    if not patient.is_tied or patient.verdict.word != "vanishing":
        return
    numbers, best = _kept_for(int(patient.layers.sum())), list[Setup]()
    least = abs(patient.verdict.decades) / 2
    vectors = {patient.path(at): at for at in sorted(patient.vectors, reverse=True)}
    for path, at in vectors.items():
        v = patient.arrays[at]
        for part in _parts(len(v), [len(patient.arrays[other]) for other in vectors.values()]):
            params = patient.with_arrays({at: _with(v, part, numbers["value"])})
            flow = patient.measured(params)
            rate = np.nan if flow is None else abs(patient.decades(flow))
            if rate < least:
                of_it = "" if part == slice(0, len(v)) else f"[{part.start}:{part.stop}]"
                entries, attempt = f"`{path}{of_it}`", Attempt(params, flow=flow)
                least, best = rate, [setup.attempted(attempt, entries=entries, **numbers)]
    yield from best


def _parts(size: int, sizes: Sequence[int]) -> Iterator[slice]:
    """Yield the gates of a vector: the whole, or parts as long as the shortest of all vectors."""
    # A single vector may be one gate, or hold three as of a GRU or four as of an LSTM.
    counts = (1, 3, 4) if len(sizes) == 1 else (size // min(sizes),)
    for count in counts:
        if size % count == 0:
            width = size // count
            yield from (slice(i * width, (i + 1) * width) for i in range(count))


def _with(v: np.ndarray, part: slice, value: float) -> np.ndarray:
    changed = v.copy()
    changed[part] = value
    return changed


# Recurrent weights


@cause(
    "recurrent",
    "Draw the recurrent weights {weights} orthogonal with gain {gain:g}.",
    says="orthogonal recurrent weights {weights} with gain {gain:g}",
    mends="time",
)
def recurrent(setup: Setup) -> Iterator[Setup]:
    """Orthogonal recurrent weights, of the gain at which Δ inside a module is kept over the steps.

    Where it has no gates that keep its state, or Δ grows.

    Source: Henaff, Szlam & LeCun 2016, arXiv:1602.06662.
    """
    patient = setup.patient
    inside = _through_time(patient)
    if inside is None or (inside.word == "vanishing" and inside.gates):
        return
    path = f"{inside.module}.weight_hh".lstrip(".")
    meant = {at for at in patient.arrays if patient.path(at).startswith(path)}
    drawn = patient.redrawn(
        meant, lambda source, at: delta_like(source, patient.arrays[at], patient.axes(at), 1.0)
    )

    def with_gain(gain: float) -> Params:
        return patient.multiplied(drawn, np.full(len(patient.layers), gain), meant)

    def rate(gain: float) -> float:
        flow = patient.measured(with_gain(gain))
        return np.nan if flow is None else decades_a_step(flow.time, inside.module)

    gain = search.root(rate) if meant else None
    if gain is not None:
        gain = to_digits(gain)
        weights = listed([f"`{patient.path(at)}`" for at in sorted(meant)])
        yield setup.attempted(_named(patient, with_gain(gain)), weights=weights, gain=gain)


# Cuts


@cause("open", "{text}", says="a gradient that nothing stops", mends="cut, fixed, stopped")
def opened(setup: Setup) -> Iterator[Setup]:
    """The network without `stop_gradient`, or with nothing frozen, where a gradient stops."""
    patient = setup.patient
    stops = named(patient.verdict, "open")
    other = patient.opened() if stops else None
    if other is None or not other.in_range:
        return
    if not is_left(patient.verdict, other.verdict):
        reason = partial(is_left, patient.verdict)
        attempt = Attempt(other.params, patient=other, reason=reason, is_named=True)
        yield setup.attempted(attempt, text=patient.opening)
