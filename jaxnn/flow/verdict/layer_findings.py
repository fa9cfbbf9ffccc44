"""Findings on layers that stand out: their gradient, attention, routers and units."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ...rules import Sight
from ...texts import clean, counted, listed, percent
from .arrays import STARVED
from .findings import FEW, FINDINGS, LAST, LAYERS, few_of, less_gradient, times_as_large
from .judged import Judged
from .network_advice import MANY_DEAD, MANY_SATURATED
from .rates import MOST_ONCE, STANDS_OUT, LayerChange

STATE = 30.0  # root mean square of a state, or its inverse, that a change is blamed on
SATURATED, LOGIT = 0.05, 100.0  # share of its largest entropy, and largest logit of a head
SHARP, FLAT, OTHER_LOGIT = 0.25, 0.9, 30.0  # entropy of one attention and of all others; times
LARGEST_FLOAT16 = 65504.0
ALL, FEW_TOKENS = 0.99, 16  # share of the load of a router that stands out, with more tokens
SHARE = 8  # tokens of an expert, of which none is no accident
BALANCE = "Draw the router's weights smaller, or add a loss that balances the load."
IDLE = {
    "dead": "dead: their slope is 0 for all examples",
    "saturated": "saturated: their slope is below a hundredth of its largest",
    "constant": "constant: they have one value for all examples",
}
# Units of relu are off for half of the examples, and where these are alike for all at once.
MANY_IDLE = {"dead": 0.8, "saturated": 0.75, "constant": 0.8}


@FINDINGS.rule(
    "layer",
    "Layer {name} changes the gradient by {decades:+.2g} decades{reason}.",
    rank=LAYERS,
    healthy=True,
)
def layer(judged: Judged) -> Iterator[Sight]:
    """A layer unlike others that repeat.

    It changes the gradient by half a decade more than the others, and by six times the median
    deviation; at most two layers do. A factor below a thousand, of it and of all layers together,
    is usual if nothing in it stands out.
    """
    makes = max(abs(judged.rate.repeated), abs(judged.rate.total))
    for sight in changes_of(judged, judged.rate.outliers):
        arrays = judged.arrays
        paths = [arrays.path[i] for i in np.flatnonzero(arrays.layer == sight.layer)]
        named = {(size, sight.layer, path) for size in ("largest", "size") for path in paths}
        decades, reason = sight.values["decades"], sight.values["reason"]
        is_ill = bool(reason) or max(makes, abs(decades)) >= MOST_ONCE
        values = {**sight.values, "is_ill": is_ill}
        yield sight._replace(values=values, explains=frozenset(named if sight.path else ()))


def changes_of(judged: Judged, changes: Iterable[LayerChange]) -> Iterator[Sight]:
    """Yield the first layers of some changes, and what in them is different."""
    for at, decades in (*changes,)[:FEW]:
        if abs(decades) >= STANDS_OUT:  # what does nothing among many that do is no culprit
            paths = [judged.arrays.path[i] for i in judged.resized if judged.arrays.layer[i] == at]
            values = {"decades": decades, "reason": _reason(judged, at)}
            yield Sight(at, paths[0] if paths else "", values)


def _reason(judged: Judged, layer: int) -> str:
    """Return what is unlike other layers in one, as the end of a sentence; empty if nothing is."""
    arrays = judged.arrays
    parts = [
        f"its {arrays.path[i]} is {times_as_large(by)} others like it"
        for i, by in judged.resized.items()
        if arrays.layer[i] == layer
    ]
    if parts:
        return f"; {listed(parts)}"
    entering = judged.root_mean_square[layer - 2] if layer > 1 else 0.0
    if abs(entering) < np.log10(STATE) or not np.isfinite(entering):
        return ""
    return f"; what enters it has a root mean square of {10**entering:.3g}"


def _saturation(
    name: str,
    number: int | None,
    heads: list[int],
    count: int,
    logit: float,
    entropy: float,
    most: float,
    others: float | None,
    starved: Mapping[str, float],
    **_: object,
) -> str:
    beyond = ", more than float16 holds" if logit > LARGEST_FLOAT16 else ""
    text = (
        f"Attention {f'{number} ' if number else ''}of layer {name} is saturated"
        f"{_heads(heads, count)}: largest logit {logit:.3g}{beyond}"
        f", entropy {entropy:.2f} of {most:.2f}"
    )
    if others is not None:
        text += (
            f"; all others have logits of {others:.2g} at most, and {percent(FLAT)} or more of the "
            "largest entropy"
        )
    if not starved:
        return f"{text}."
    get = "gets" if len(starved) == 1 else "get"
    return f"{text}; {few_of(starved)} {get} {less_gradient(min(starved.values()))}."


@FINDINGS.rule(
    "attention",
    _saturation,
    advises="Divide the logits by the root of a head's size, or put a norm on queries and keys.",
    rank=LAYERS,
)
def attention(judged: Judged) -> Iterator[Sight]:
    """Attention that is saturated.

    A head's largest logit is above 100, and the mean entropy of its attention weights is below 5 %
    of ln(number of visible keys). Or the entropy is below 25 % and logits are thirty times those of
    all other attentions, two or more, whose entropy is above 90 %. The sentence also says how much
    gradient its queries and keys still get.
    """
    record, arrays = judged.flow.attention, judged.arrays
    if record is None:
        return
    logit, entropy, most, share = (
        np.asarray(v, np.float64)
        for v in (record.largest_logit, record.entropy, record.most_entropy, record.share)
    )
    told: set[int] = set()
    places = _places(record.layers, record.attentions)
    for (layer, number), heads in places.items():
        saturated = heads[(share[heads] < SATURATED) & (logit[heads] > LOGIT)]
        others = None
        if not len(saturated):
            rest = [v for key, v in places.items() if key != (layer, number)]
            others = _logit_of_others(share, logit, heads, rest)
            saturated = heads[share[heads] < SHARP]
            if others is None:
                continue
        worst = saturated[np.argmax(logit[saturated])]
        blamed = arrays.within(layer, record.paths[worst])
        starved = [i for i in judged.starved if i in blamed and i not in told]
        told.update(starved)
        several = (layer, 2) in zip(record.layers, record.attentions, strict=True)
        values = {
            "number": number if several else None,
            "heads": [record.heads[i] for i in saturated],
            "count": len(heads),
            "logit": logit[worst],
            "entropy": entropy[worst],
            "most": most[worst],
            "others": others,
            "starved": {arrays.path[i]: judged.starved[i] for i in starved},
        }
        explains = frozenset(("starved", layer, arrays.path[i]) for i in starved)
        yield Sight(layer, arrays.path[blamed[0]] if blamed else "", values, explains)


def _logit_of_others(
    share: np.ndarray, logit: np.ndarray, heads: np.ndarray, rest: list[np.ndarray]
) -> float | None:
    """Return the largest logit of the rest, if heads are sharp and all of these are flat."""
    if len(rest) < 2 or not np.median(share[heads]) < SHARP:
        return None
    others = np.concatenate(rest)
    largest = float(np.max(logit[others]))
    is_apart = np.max(logit[heads]) > OTHER_LOGIT * largest and (share[others] > FLAT).all()
    return largest if is_apart else None


def _places(layers: Iterable[int], numbers: Iterable[int]) -> dict[tuple[int, int], np.ndarray]:
    """Return the places of heads or experts by their layer and their attention or router."""
    places: dict[tuple[int, int], list[int]] = {}
    for i, key in enumerate(zip(layers, numbers, strict=True)):
        places.setdefault(key, []).append(i)
    return {key: np.array(numbers_there) for key, numbers_there in places.items()}


def _heads(heads: list[int], count: int) -> str:
    if count == 1:
        return ""
    if len(heads) == count:
        return f" in all {count} heads"
    return f" in head{'s' if len(heads) > 1 else ''} {few_of(map(str, heads))} of {count}"


def _failure(
    name: str,
    path: str,
    decades: float | None,
    experts: tuple[int, ...],
    count: int,
    idle: tuple[int, ...],
    bias: str,
    **_: object,
) -> str:
    parts = []
    if decades is not None:
        parts.append(f"gets {less_gradient(decades, 'its experts')}: it does not learn")
    if experts:
        s = "s" if len(experts) > 1 else ""
        parts.append(f"sends all tokens to expert{s} {listed(map(str, experts))} of {count}")
    if bias:
        s = "s" if len(idle) > 1 else ""
        parts.append(
            f"sends no token to expert{s} {few_of(map(str, idle))} of {count}, which {bias}, a "
            "large bias, keeps away"
        )
    return f"Router{f' {path}' if path else ''} of layer {name} {', and '.join(parts)}."


@FINDINGS.rule(
    "router",
    _failure,
    advises=lambda bias, experts, **_: f"Set {bias} to 0." if bias else BALANCE if experts else "",
    changes="draw",
    rank=LAYERS,
)
def router(judged: Judged) -> Iterator[Sight]:
    """A router that does not learn, or sends all tokens to the same experts.

    Relative to its size it gets 10⁻⁴ of the gradient of its experts; or, with more than 16 tokens,
    99 % of them go to one expert (or to as many as are selected for each token). Or an expert gets
    no token, though its share would be eight or more, and the logits have a bias of ½ or more.
    """
    record, arrays = judged.flow.routers, judged.arrays
    if record is None:
        return
    load = np.asarray(record.load, np.float64)
    for (layer, _), experts in _places(record.layers, record.routers).items():
        first = int(experts[0])
        learned = arrays.ratio[arrays.within(layer, record.paths_of_experts[first])]
        learned = learned[np.isfinite(learned)]
        behind = {
            i: float(np.median(learned)) - arrays.most[arrays.path[i]]
            for i in arrays.within(layer, record.paths[first])
            if len(learned) and i in judged.starved
        }
        behind = {i: decades for i, decades in behind.items() if decades >= STARVED}
        all_go_to = _all_go_to(load[experts], record.tokens[first], record.selected[first])
        share = record.tokens[first] * record.selected[first] / len(experts)
        idle = tuple((np.flatnonzero(load[experts] == 0) + 1).tolist())
        biases = arrays.large_biases(layer, len(experts)) if idle and share >= SHARE else []
        bias = arrays.path[biases[0]] if biases and not all_go_to else ""
        if behind or all_go_to or bias:
            decades = max(behind.values(), default=None)
            values: dict[str, object] = {"decades": decades, "experts": all_go_to}
            values |= {"count": len(experts), "idle": idle, "bias": bias}
            path = clean(record.paths[first][0]) if record.paths[first] else ""
            idle_arrays = arrays.within(layer, record.paths_of_experts[first]) if bias else []
            explains = frozenset(
                ("starved", layer, arrays.path[i]) for i in [*behind, *idle_arrays]
            )
            yield Sight(layer, path, values, explains)


def _all_go_to(load: np.ndarray, tokens: int, selected: int) -> tuple[int, ...]:
    """Return the experts, from 1, that all tokens go to, if no others have some; else none."""
    count = 1 if selected == len(load) else selected
    most = np.sort(np.argsort(load)[-count:])
    if tokens < FEW_TOKENS or count == len(load) or not load[most].sum() > ALL:
        return ()
    return tuple(int(i) + 1 for i in most)


def _idle(name: str, what: str, share: float, others: list[str], rest: float, **_: object) -> str:
    s = "s" if len(others) > 1 else ""
    and_in = f" and of layer{s} {few_of(others)}" if others else ""
    beside = f" In the other layers {percent(rest)} are." if np.isfinite(rest) else ""
    return f"{percent(share)} of the units of layer {name}{and_in} are {IDLE[what]}.{beside}"


@FINDINGS.rule(
    "idle",
    _idle,
    advises="Draw the weights and biases there again, biases at 0, and look for inputs that are "
    "too large.",
    changes="draw, inputs",
    rank=LAYERS,
    unless="inputs drawn zero cut examples positions signal constant shut",
)
def idle(judged: Judged) -> Iterator[Sight]:
    """Units of a layer that do nothing.

    PyTorch: eight tenths of the units of a layer are dead, or have one value for all examples and
    positions (eight or more); or three quarters of its tanh or sigmoid units are saturated. The
    sentence compares with the median of the other layers.
    """
    units = judged.flow.units
    if units is None or judged.flow.net is not None:
        return
    for what, many in MANY_IDLE.items():
        shares = np.asarray(getattr(units, what), np.float64)
        known = np.flatnonzero(np.isfinite(shares))
        layers = [int(i) for i in known if shares[i] >= many]
        if layers:
            rest = [shares[i] for i in known if i not in layers]
            values = {
                "what": what,
                "share": float(min(shares[layers])),
                "others": [judged.label(i + 1) for i in layers[1:]],
                "rest": float(np.median(rest)) if rest else np.nan,
            }
            yield Sight(layers[0] + 1, values=values)
            return


# Said last, on what may be well


@FINDINGS.rule(
    "once",
    "Layer {name}, which does not repeat, changes the gradient by {decades:+.2g} decades{reason}.",
    rank=LAST,
    unless="overbatch oneunit",
    healthy=True,
)
def once(judged: Judged) -> Iterator[Sight]:
    """A layer that does not repeat and changes the gradient.

    Such a layer, for example a head, changes it by a factor of ten or more.
    """
    yield from changes_of(judged, judged.rate.once)


@FINDINGS.rule(
    "branches",
    "Gains such as {path}, in {layers}, start at {size:.1g}: their branches add next to nothing, "
    "and the weights in them get next to no gradient until the gains have grown.",
    advises="Adam's steps make up for it; for SGD start the {number} gains at 1/√{number}.",
    changes="adam",
    rank=LAST,
    unless="signal undefined",
    healthy=True,
)
def branches(judged: Judged) -> Iterator[Sight]:
    """Branches that start near zero.

    A gain of a layer, an array of one axis, has entries of 10⁻³ or less and gets a gradient, such
    as a layer scale of 10⁻⁶.
    """
    arrays = judged.arrays
    by_layer = [(i, arrays.small_gains(i)) for i in range(1, len(judged.names) + 1)]
    small = [(layer, gains) for layer, gains in by_layer if gains]
    if small:
        layer, (first, *_) = small[0]
        places = {(layer, arrays.path[i]) for layer, gains in small for i in gains}
        values = {"size": 10 ** arrays.size[first], "layers": counted(len(small), "layer")}
        values |= {"places": places, "number": len(places)}
        yield Sight(layer, arrays.path[first], values)


def _units(saturated: float, dead: float, **_: object) -> str:
    shares = ((saturated, MANY_SATURATED, "saturated"), (dead, MANY_DEAD, "dead"))
    parts = [f"{percent(share)} are {what}" for share, many, what in shares if share >= many]
    return f"Among the hidden units {' and '.join(parts)}."


@FINDINGS.rule("units", _units, rank=LAST, unless="inputs drawn")
def units(judged: Judged) -> Iterator[Sight]:
    """Units that are saturated or dead.

    At least three quarters of the hidden units are saturated, or six tenths dead.
    """
    network = judged.network
    if network and (network.saturated >= MANY_SATURATED or network.dead >= MANY_DEAD):
        yield Sight(values={"saturated": network.saturated, "dead": network.dead})
