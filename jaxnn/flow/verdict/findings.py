"""Causes: the layers, parameter arrays and positions that stand out in a flow, by name.

    flow, its rate -> findings, each a sentence on a layer and, where known, its array

An array is compared by the root mean square of its entries and of those of its Δ: with the other
weights of its layer, and with the same array of the other layers that repeat. Only weights count,
arrays of two axes or more: what a bias gets may be zero for good reasons.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ...texts import clean, label
from ..formats.ranges import NOISE
from ..record.flow import Flow
from .rates import LN10, STANDS_OUT, Change, Stretch, are_alike, kinds_of, repeated

LARGE = 10.0  # times its like in other layers: an array of another size
LARGE_ENTRIES, LARGEST_OF_ALL = 10.0, 30.0  # root mean square, and times the next largest
UNLEARNED = "it does not learn"  # of a router
STARVED = 4.0  # decades below the others' Δ / size: an array that does not learn, if its like in
UNUSUAL = 2.0  # other layers are so much nearer to the others there, or in any case
HOPELESS = 6.0
STATE = 30.0  # root mean square of a state, or its inverse, that a change is blamed on
GROWN = 4.0  # decades of the root mean square of what a layer takes, for which it is no wonder
FEW = 3  # names in a sentence
Behind = dict[int, float]  # of arrays by their number, the decades that they are behind others
SATURATED, LOGIT = 0.05, 100.0  # share of its largest entropy, and largest logit of a head
ALONE = 1e-9  # of a position's Δ, all others have less
OTHERS = "the other weights there"
ALL, FEW_TOKENS = 0.99, 16  # share of the load of a router that stands out, with more tokens
LARGEST_FLOAT16 = 65504.0


class Finding(NamedTuple):
    """One finding. Layers are counted from 1.

    kind: what it is about: given, nan, signal, stopped, cuts, time, zero weights, cut, undefined,
        rate, closed, layer, once, format, examples, positions, attention, router, starved, size,
        units, theory or advice.
    text: the sentence.
    layer: the layer that it names; or None.
    path: the parameter array that it names; or "".
    """

    kind: str
    text: str
    layer: int | None = None
    path: str = ""


@dataclass(frozen=True)
class Arrays:
    """The parameter arrays of a flow; decades, of root mean squares of entries.

    layer: of each array, from 1; path, shape as in `flow.parameters`.
    place: its number in its layer.
    delta, size: of its Δ and of itself; -inf if all entries are zero.
    """

    layer: np.ndarray
    path: tuple[str, ...]
    shape: tuple[tuple[int, ...], ...]
    place: np.ndarray
    delta: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, flow: Flow) -> "Arrays":
        """Return those of a flow of one network."""
        given = flow.parameters
        entries = np.array([max(int(np.prod(s)), 1) for s in given.shapes], float)
        delta, size = (
            (np.asarray(v, np.float64) - 0.5 * np.log(entries)) / LN10
            for v in (given.log_delta, given.log_size)
        )
        layer = np.array(given.layers, int)
        first = np.searchsorted(layer, layer)  # of the layer of each array
        place = np.arange(len(layer)) - first
        return cls(layer, tuple(map(clean, given.paths)), given.shapes, place, delta, size)

    def of_paths(self, layer: int, paths: tuple[str, ...]) -> list[int]:
        """Return the numbers of arrays of a layer, given their paths."""
        names = set(map(clean, paths))
        return [i for i in np.flatnonzero(self.layer == layer).tolist() if self.path[i] in names]

    @cached_property
    def weights(self) -> np.ndarray:
        """True for arrays of two axes or more."""
        return np.array([len(s) > 1 and max(s) > 1 for s in self.shape], bool)

    @cached_property
    def ratio(self) -> np.ndarray:
        """Δ / size of the weights that are not zero; nan of other arrays."""
        known = self.weights & np.isfinite(self.size)
        return np.where(known, self.delta - np.where(known, self.size, 0.0), np.nan)


class Origin(NamedTuple):
    """The first of data, loss, parameters and buffers that is broken.

    name: xs, ys or cotangent, with the path of the array in it, loss, parameters or, for what has
        no gradient, buffers; or "".
    findings: that say so, one or none.
    """

    name: str
    findings: tuple[Finding, ...]

    @property
    def is_data(self) -> bool:
        """True if it is what was handed over, which all else comes of."""
        return self.name not in ("", "loss", "parameters", "buffers")


def origin_of(flow: Flow, out: int | None, undefined: int | None) -> Origin:
    """Return what is broken to begin with, of data, loss, parameters and buffers, in this order.

    Args:
        flow: the flow.
        out: the first layer whose state is no finite number; or None.
        undefined: the layer from which down Δ is none; or None.
    """
    of, arrays = flow.given, Arrays.of(flow)
    parameters = broken_arrays(arrays) if out or undefined else []
    loss = ""
    if of is not None and out is None:
        loss = of.broken_loss(undefined == len(flow.names) and not parameters)
    is_hurt = bool(out or undefined or loss or not (arrays.delta < np.inf).all())  # nan too
    data = of and (
        of.broken_data(is_hurt)
        or (
            is_hurt
            and not (loss or parameters or flow.broken)
            and of.broken_data(True, with_masks=True)
        )
    )
    if data:
        return Origin(data.name, (Finding("given", data.text),))
    if loss:
        return Origin("loss", (Finding("given", loss),))
    if parameters or not flow.broken:
        return Origin("parameters" if parameters else "", tuple(parameters))
    text = f"nan or inf in what gets no gradient: {few_of(list(flow.broken))}; set it to numbers."
    return Origin("buffers", (Finding("nan", text, path=flow.broken[0]),))


def has_grown(flow: Flow, out: int) -> bool:
    """Tell whether what enters a layer, or its parameters, are so large that it may overflow."""
    arrays = Arrays.of(flow)
    sizes = arrays.size[arrays.layer == out]
    below = np.asarray(flow.log_mean_square, np.float64)[out - 2 : out - 1] / 2 / LN10
    return bool((np.concatenate([sizes, below]) > GROWN).any())


def broken_arrays(arrays: Arrays) -> list[Finding]:
    """Name the arrays with entries that are nan or infinite."""
    broken = np.flatnonzero(np.isnan(arrays.size) | np.isposinf(arrays.size))
    if not len(broken):
        return []
    names = few_of([arrays.path[i] for i in broken])
    layer = int(arrays.layer[broken[0]])
    what = "nan" if np.isnan(arrays.size[broken]).all() else "nan or infinite"
    text = f"Parameters are {what}: {names}, from layer {layer} on."
    return [Finding("nan", text, layer, arrays.path[broken[0]])]


def zero_weights(arrays: Arrays, layer: int) -> list[int]:
    """Return the weights of a layer that are zero; without weights the zero arrays with a Δ."""
    own = arrays.layer == layer
    if not (own & arrays.weights).any():  # a norm without gain
        return zero_gains(arrays, layer)
    return np.flatnonzero(own & arrays.weights & np.isneginf(arrays.size)).tolist()


def zero_gains(arrays: Arrays, layer: int) -> list[int]:
    """Return the arrays of one axis of a layer that are zero and get a Δ, but for biases."""
    zero = (arrays.layer == layer) & ~arrays.weights & np.isneginf(arrays.size)
    zero &= ~np.array([_is_bias(path) for path in arrays.path], bool)
    return np.flatnonzero(zero & ~np.isneginf(arrays.delta)).tolist()


def _is_bias(path: str) -> bool:
    last = path.replace("]", "").replace("'", "").replace("[", ".").rsplit(".", 1)[-1].lower()
    return last in ("b", "beta", "offset", "shift") or "bias" in last


def cut_at(flow: Flow, arrays: Arrays, zero: int, above: int | None) -> Finding:
    """Say why Δ is exactly zero from a layer down.

    Args:
        flow: the flow.
        arrays: its arrays.
        zero: the highest layer whose Δ is zero.
        above: the layer above it, None at the top.
    """
    last = len(flow.names) + 1  # of a module of PyTorch what is above the last cut
    if above is None and not np.isneginf(arrays.delta[arrays.layer == last]).all():
        above = last
    if above is None:
        dtype = np.dtype(flow.dtype).name
        why = "the loss does not depend on it" if flow.given is None else flow.given.why_zero(dtype)
        text = f"The gradient is exactly zero from the output on: {why}."
        return Finding("cut", text, zero)
    name = label_of(flow, above)
    blamed = zero_weights(arrays, above)
    if blamed:
        names = few_of([arrays.path[i] for i in blamed])
        learn = not np.isneginf(arrays.delta[blamed]).all()
        rest = (
            ", but they get a gradient themselves: measure again after one step."
            if learn
            else ", and they get none themselves: draw them again."
        )
        down = f"From layer {label_of(flow, zero)} down Δ is exactly zero"
        text = f"The weights of layer {name} are zero: {names}. {down}{rest}"
        return Finding("zero weights", text, above, arrays.path[blamed[0]])
    text = (
        f"Nothing passes layer {name}: from layer {label_of(flow, zero)} down Δ is exactly zero, "
        "every path being cut, as by stop_gradient or by units that are off for the whole batch."
    )
    return Finding("cut", text, above)


def steps_out(flow: Flow, arrays: Arrays, changes: tuple[Change, ...], once: bool) -> list[Finding]:
    """Name layers that change the gradient far more than others, and what in them is different."""
    return [
        Finding(
            "once" if once else "layer",
            f"Layer {label_of(flow, change.layer)} changes the gradient "
            f"{'once, ' if once else ''}by {change.decades:+.2g} decades"
            f"{reason(flow, arrays, change.layer)}.",
            change.layer,
            next((arrays.path[i] for i, _ in resized(flow, arrays, change.layer)), ""),
        )
        for change in changes[:FEW]
        if abs(change.decades) >= STANDS_OUT  # what does nothing among many that do is no culprit
    ]


def reason(flow: Flow, arrays: Arrays, layer: int) -> str:
    """Return what is unlike other layers in one, as the end of a sentence; empty if nothing is."""
    found = resized(flow, arrays, layer)
    if found:
        return "; " + _and(
            [f"its {arrays.path[i]} is {_times(by)} others like it" for i, by in found]
        )
    if layer < 2:
        return ""
    root = float(flow.log_mean_square[layer - 2]) / LN10 / 2
    if abs(root) < np.log10(STATE) or not np.isfinite(root):
        return ""
    return f"; what enters it has a root mean square of {10**root:.2g}"


def resized(flow: Flow, arrays: Arrays, layer: int) -> list[tuple[int, float]]:
    """Return the weights of a layer of another size than those of its like, by how many decades."""
    return [(i, by) for i, by in _unlike(flow, arrays, arrays.size) if arrays.layer[i] == layer]


def _unlike(flow: Flow, arrays: Arrays, values: np.ndarray) -> list[tuple[int, float]]:
    """Return the weights whose values are far from the median of the same array in other layers."""
    found = []
    for like in _alike(flow, arrays):
        known = like[np.isfinite(values[like])]
        if len(known) < 3:
            continue
        off = values[known] - np.median(values[known])
        far = np.flatnonzero(np.abs(off) >= np.log10(LARGE))
        if len(far) <= max(1, len(known) // 4):
            found += [(int(known[i]), float(off[i])) for i in far]
    return sorted(found)


def _alike(flow: Flow, arrays: Arrays) -> list[np.ndarray]:
    """Return the same weights of the layers that repeat, an array of indices for each."""
    by_layer: dict[tuple[int, int], int] = {
        (int(layer), int(place)): i
        for i, (layer, place) in enumerate(zip(arrays.layer, arrays.place, strict=True))
        if arrays.weights[i]
    }
    groups: list[np.ndarray] = []
    for stretch in _stretches(flow) if by_layer else ():
        for phase in range(stretch.period):
            layers = range(stretch.start + phase + 1, stretch.stop + 1, stretch.period)
            places = sorted({place for layer, place in by_layer if layer == layers[0]})
            for place in places:
                keys = [(layer, place) for layer in layers if (layer, place) in by_layer]
                groups.append(np.array([by_layer[key] for key in keys], int))
    return groups


def _stretches(flow: Flow) -> tuple[Stretch, ...]:
    kinds = kinds_of(flow)
    found = repeated(kinds)
    return found if are_alike(kinds, found) else ()  # else no array is like another


def saturated_attention(flow: Flow, arrays: Arrays, behind: Behind) -> tuple[list[Finding], Behind]:
    """Name attentions with heads whose queries attend to one key, for their logits are large.

    Returns:
        findings, and the arrays that are behind others for another reason.
    """
    of = flow.attention
    if of is None:
        return [], behind
    layers, attentions, heads = (np.array(v) for v in (of.layers, of.attentions, of.heads))
    largest, entropy, most, share = (
        np.asarray(v, np.float64) for v in (of.largest_logit, of.entropy, of.most_entropy, of.share)
    )
    findings = []
    for layer, number in dict.fromkeys(zip(layers.tolist(), attentions.tolist(), strict=True)):
        own = np.flatnonzero((layers == layer) & (attentions == number))
        these = own[(share[own] < SATURATED) & (largest[own] > LOGIT)]
        if not len(these):
            continue
        several = (attentions[layers == layer] > 1).any()
        worst = these[np.argmax(largest[these])]
        beyond = largest[worst] > LARGEST_FLOAT16
        blamed = arrays.of_paths(layer, of.paths[worst])
        told = {i: below for i, below in behind.items() if i in blamed}
        behind = {i: below for i, below in behind.items() if i not in told}
        text = (
            f"Attention {f'{number} ' if several else ''}of layer {label_of(flow, layer)} is "
            f"saturated{_of_heads(heads[these].tolist(), len(own))}: largest logit "
            f"{largest[worst]:.3g}{', more than float16 holds' if beyond else ''}, entropy "
            f"{entropy[worst]:.2f} of {most[worst]:.2f}."
        )
        if told:
            get = "gets" if len(told) == 1 else "get"
            names = few_of([arrays.path[i] for i in told])
            text = f"{text[:-1]}; {names} {get} {_less(min(told.values()))}."
        findings.append(Finding("attention", text, layer, arrays.path[blamed[0]] if blamed else ""))
    return findings, behind


def _of_heads(heads: list[int], count: int) -> str:
    if count == 1:
        return ""
    if len(heads) == count:
        return f" in all {count} heads"
    return f" in head{'s' if len(heads) > 1 else ''} {few_of(list(map(str, heads)))} of {count}"


def other_sizes(flow: Flow, arrays: Arrays, named: set[int]) -> list[Finding]:
    """Name weights of another size than their like, in layers that are not named already."""
    found = [
        Finding(
            "size",
            f"{arrays.path[i]} of layer {label_of(flow, layer)} is {_times(by)} others like it.",
            layer,
            arrays.path[i],
        )
        for i, by in _unlike(flow, arrays, arrays.size)
        for layer in [int(arrays.layer[i])]
        if layer not in named
    ]
    entries = np.where(arrays.weights & np.isfinite(arrays.size), arrays.size, -np.inf)
    if len(entries) > 1 and np.isfinite(np.sort(entries)[-2]):
        next_largest, largest = np.sort(entries)[-2:]
        i = int(np.argmax(entries))
        far = largest - next_largest >= np.log10(LARGEST_OF_ALL)
        if far and largest >= np.log10(LARGE_ENTRIES) and arrays.layer[i] not in named:
            text = (
                f"The entries of {arrays.path[i]}, layer {label_of(flow, int(arrays.layer[i]))}, "
                f"have a root mean square of {10**largest:.2g}, all other weights "
                f"{10**next_largest:.2g} or less."
            )
            found.append(Finding("size", text, int(arrays.layer[i]), arrays.path[i]))
    return list({f.path: f for f in found}.values())


def starved(flow: Flow, arrays: Arrays, behind: Behind) -> list[Finding]:
    """Name weights that get far less gradient than the others of their layer."""
    findings = []
    for i, below in behind.items():
        layer, path = int(arrays.layer[i]), arrays.path[i]
        text = f"{path} of layer {label_of(flow, layer)} gets {_less(below)}: it does not learn."
        findings.append(Finding("starved", text, layer, path))
    return findings


def unreached(flow: Flow) -> tuple[str, ...]:
    """Return the paths of the weights whose Δ is exactly zero, and "inputs" if that of them is."""
    arrays = Arrays.of(flow)
    zero = np.flatnonzero(arrays.weights & np.isneginf(arrays.delta))
    inputs = ("inputs",) if np.isneginf(flow.log_delta_input) else ()
    return tuple(dict.fromkeys(arrays.path[i] for i in zero)) + inputs


def far_behind(arrays: Arrays) -> Behind:
    """Return the weights with far less gradient, next to their size, than others of their layer.

    Weights below a zero array, as at the end of a branch that starts at zero, get none at first.
    Those that get little in every layer, as the logarithms of decay rates do, are no fault.
    """
    below = np.full(len(arrays.layer), np.nan)
    most = _most(arrays)
    for layer in dict.fromkeys(arrays.layer.tolist()):
        own = np.flatnonzero((arrays.layer == layer) & arrays.weights)
        ratio = arrays.ratio[own]
        known = np.isfinite(ratio)
        zero = zero_weights(arrays, layer) or zero_gains(arrays, layer)
        for i in own[~np.isposinf(ratio) & ~np.isnan(ratio)]:
            others = arrays.ratio[own[(own != i) & known]]
            if len(others):
                below[i] = np.median(others) - most[arrays.path[i]]
                below[i] = np.nan if zero and np.isposinf(below[i]) else below[i]
    usual = np.zeros(len(below))
    for like in _of_one_name(arrays):
        known = like[np.isfinite(below[like])]
        for i in known if len(known) > 1 else ():
            usual[i] = np.median(below[known[known != i]])
    far = (below >= STARVED) & ((below - usual >= UNUSUAL) | (below >= HOPELESS))
    return {int(i): float(below[i]) for i in np.flatnonzero(far)}


def _of_one_name(arrays: Arrays) -> list[np.ndarray]:
    """Return the arrays that have one name and shape but for the number of their layer, in groups.

    Unlike those of layers that repeat, they may be in a layer with an embedding or a head besides.
    """
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for i, (path, shape) in enumerate(zip(arrays.path, arrays.shape, strict=True)):
        groups.setdefault((re.sub(r"\d+", "", path, count=1), shape), []).append(i)
    return [np.array(group) for group in groups.values()]


def failing_routers(flow: Flow, arrays: Arrays, behind: Behind) -> tuple[list[Finding], Behind]:
    """Name routers that learn far less than their experts, or send all tokens to the same ones.

    Returns:
        findings, and the arrays that are behind others for another reason.
    """
    of = flow.routers
    if of is None:
        return [], behind
    layers, numbers = np.array(of.layers), np.array(of.routers)
    load = np.asarray(of.load, np.float64)
    findings = []
    for layer, number in dict.fromkeys(zip(of.layers, of.routers, strict=True)):
        own = np.flatnonzero((layers == layer) & (numbers == number))
        first = int(own[0])
        router, experts = (
            arrays.of_paths(layer, paths) for paths in (of.paths[first], of.paths_of_experts[first])
        )
        texts = []
        learned = arrays.ratio[experts]
        learned = learned[np.isfinite(learned)]
        for i in router if len(learned) else ():
            if i not in behind:
                continue
            below = float(np.median(learned)) - _most(arrays)[arrays.path[i]]
            if below >= STARVED:
                texts.append(f"gets {_less(below, 'its experts')}: {UNLEARNED}")
                behind = {j: decades for j, decades in behind.items() if j != i}
        to = _all_go_to(load[own], of.tokens[first], of.selected[first])
        if to:
            texts.append(f"sends all tokens to {to} of {len(own)}")
        if texts:
            name = f" {clean(of.paths[first][0])}" if of.paths[first] else ""
            text = f"Router{name} of layer {label_of(flow, layer)} {', and '.join(texts)}."
            findings.append(Finding("router", text, layer, name.strip()))
    return findings, behind


def _all_go_to(load: np.ndarray, tokens: int, selected: int) -> str:
    """Return the experts that all tokens go to, if no others have some; else nothing."""
    count = 1 if selected == len(load) else selected
    most = np.sort(np.argsort(load)[-count:])
    if tokens < FEW_TOKENS or count == len(load) or not load[most].sum() > ALL:
        return ""
    return f"expert{'s' if count > 1 else ''} {_and([str(i + 1) for i in most])}"


def _most(arrays: Arrays) -> dict[str, float]:
    """Return the largest Δ / size of each array: what steps share learns from each of them."""
    most: dict[str, float] = {}
    for path, ratio in zip(arrays.path, arrays.ratio, strict=True):
        most[path] = np.fmax(most.get(path, -np.inf), ratio)
    return most


def _less(below: float, others: str = OTHERS) -> str:
    return "no gradient" if np.isposinf(below) else f"10^-{below:.0f} of the gradient of {others}"


def equal_positions(flow: Flow) -> int | None:
    """Return the layer from which up all positions of an example are equal; or None."""
    if flow.log_spread_within is None:
        return None
    within = np.asarray(flow.log_spread_within, np.float64)
    known = np.flatnonzero(~np.isnan(within))
    if not len(known):
        return None
    apart = np.flatnonzero(within[known] >= np.log(NOISE * _eps(flow)))
    first = int(apart.max()) + 1 if len(apart) else 0
    return int(known[first]) + 1 if first < len(known) else None


def lone_position(flow: Flow) -> list[Finding]:
    """Name the only position of the lowest state that Δ reaches, if there are others."""
    of = flow.positions
    layer = 0 if of is None else next((i for i, n in enumerate(of.counts, 1) if n > 1), 0)
    if of is None or not layer or flow.recurrences is not None:  # whose last step knows the others
        return []
    log = np.asarray(of.of(layer).log_delta, np.float64)
    *_, second, largest = np.sort(log)  # nan comes last
    if not np.isfinite(largest) or second - largest > np.log(ALONE):
        return []
    text = (
        f"Only position {int(np.argmax(log)) + 1} of {len(log)} gets a gradient in layer "
        f"{label_of(flow, layer)}: what the others hold reaches the loss nowhere above. If weights "
        "between positions start at zero, measure again after one step."
    )
    return [Finding("positions", text, layer)]


def alike_where_read(flow: Flow) -> list[Finding]:
    """Name the highest state with positions, if Δ reaches only those where examples are alike.

    As where a network whose tokens see those before them alone is read at the first one.
    """
    of = flow.positions
    layer = 0 if of is None else max((i for i, n in enumerate(of.counts, 1) if n > 1), default=0)
    if of is None or not layer or (flow.streams and flow.streams.layers.count(layer) > 1):
        return []  # another array may tell examples apart
    there = of.of(layer)
    log_delta, log_spread = (np.asarray(v, np.float64) for v in (there.log_delta, there.log_spread))
    read = np.flatnonzero(log_delta > np.max(log_delta) + np.log(ALONE))
    apart = log_spread >= np.log(NOISE * _eps(flow))
    if not len(read) or apart[read].any() or not apart.any():
        return []
    places = few_of([str(i + 1) for i in read])
    several = f"positions {places} of {len(apart)}, which alone get"
    where = several if len(read) > 1 else f"position {places} of {len(apart)}, which alone gets"
    text = (
        f"Examples differ in layer {label_of(flow, layer)}, but not at {where} a gradient: what "
        "differs is not read."
    )
    return [Finding("positions", text, layer)]


def _eps(flow: Flow) -> float:
    return float(jnp.finfo(flow.dtype).eps)  # type: ignore[no-untyped-call]


def label_of(flow: Flow, layer: int) -> str:
    """Return a layer with its name."""
    above = layer > len(flow.names)
    return clean(label(layer, "above the last cut" if above else flow.names[layer - 1]))


def _times(decades: float) -> str:
    factor = f"{10 ** abs(decades):.2g}"
    return f"{factor} times as large as" if decades > 0 else f"{factor} times smaller than"


def few_of(paths: list[str]) -> str:
    """Return the first few of many names."""
    more = len(paths) - FEW
    return _and(paths) if more <= 0 else f"{', '.join(paths[:FEW])} and {more} more"


def _and(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
