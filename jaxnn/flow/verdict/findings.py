"""Findings: what a verdict may say of a flow, one rule each, the worst first.

    Judged -> what a rule sees: layer, array, numbers -> its sentence

A sentence is there only if something stands out. `arrays.py`, `judged.py`, `through_time.py` and
`theory_departure.py` have what stands out, here are the words, in the order in which they are said.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ...pytorch.block_choice import MOST
from ...rules import Found, Rules, Sight, one_of
from ...texts import clean, listed, percent
from ..formats.format_loss import Histogram, loss_scale
from ..formats.number_formats import NARROW
from ..formats.ranges import range_of, spoken_of
from ..record.given import MEND
from .arrays import STARVED
from .judged import Judged
from .network_advice import DRAW_AGAIN, MANY_DEAD, MANY_SATURATED
from .rate_text import rate_text
from .rates import STANDS_OUT, Change
from .theory_departure import cause_of_departure, gradient_departure, signal_departure
from .through_time import TimeChange

# Ranks; the end of a network, its data and its parameters are seen in the evidence.
BROKEN, END, DATA, PARAMETERS, UNSEEN, CUT, RATE, LAYERS, STATES, ARRAYS, LAST = range(11)

LARGE_ENTRIES, LARGEST_OF_ALL = 10.0, 30.0  # root mean square, and times the next largest
STATE = 30.0  # root mean square of a state, or its inverse, that a change is blamed on
SATURATED, LOGIT = 0.05, 100.0  # share of its largest entropy, and largest logit of a head
SHARP, FLAT, OTHER_LOGIT = 0.25, 0.9, 30.0  # entropy of one attention and of all others; times
LARGEST_FLOAT16 = 65504.0
ALONE = 1e-9  # of a position's Δ, all others have less
ALL, FEW_TOKENS = 0.99, 16  # share of the load of a router that stands out, with more tokens
MANY_ZERO = 0.5  # of the entries of a layer
FEW = 3  # names in a sentence
ZERO = "The weights of layer {name} are zero: {paths}. From layer {below} down Δ is exactly zero"
BLOWN_UP = f"Weights or biases have blown up. {DRAW_AGAIN}"

FINDINGS: Rules[Judged] = Rules()


def is_usual(found: Found) -> bool:
    """Tell what is said of a network that needs no change, such as the rate of a healthy one."""
    return FINDINGS[found.rule].healthy and not found.values.get("is_ill", False)


# Broken: all else follows from that


@FINDINGS.rule("given", "{text}.", advises=f"{MEND}.".capitalize(), rank=BROKEN, final=True)
def given(judged: Judged) -> Iterator[Sight]:
    """Broken data.

    xs, ys or a cotangent have entries that are nan or infinite, and numbers of the network are not
    finite; or entries whose squares leave their float. Nothing else is said then. Masks and labels
    that the loss leaves out are no fault.
    """
    if judged.broken_data:
        yield Sight(values=judged.broken_data._asdict())


@FINDINGS.rule(
    "loss",
    "{text}",
    advises="Look for a division by 0, a logarithm or a root at 0 or below, or a square that "
    "leaves its float.",
    rank=BROKEN,
)
def loss(judged: Judged) -> Iterator[Sight]:
    """A broken loss.

    The loss of a finite output is nan or infinite, or its derivative is.
    """
    if judged.broken_loss:
        yield Sight(values={"text": judged.broken_loss})


@FINDINGS.rule(
    "nan", "Parameters are {what}: {paths}, from layer {layer} on.", advises=BLOWN_UP, rank=BROKEN
)
def nan(judged: Judged) -> Iterator[Sight]:
    """Parameters that are nan.

    An array has nan or infinite entries, and so has the signal or Δ.
    """
    if judged.broken == "parameters":
        arrays = judged.arrays
        broken, first = arrays.broken, arrays.broken[0]
        what = "nan" if np.isnan(arrays.size[broken]).all() else "nan or infinite"
        values = {"what": what, "paths": few_of(arrays.path[i] for i in broken)}
        yield Sight(int(arrays.layer[first]), arrays.path[first], values)


@FINDINGS.rule(
    "buffers", "nan or inf in what gets no gradient: {paths}; set it to numbers.", rank=BROKEN
)
def buffers(judged: Judged) -> Iterator[Sight]:
    """Buffers that are nan.

    PyTorch: what gets no gradient, such as a running mean, has nan or infinite entries, and numbers
    of the network are not finite.
    """
    if judged.broken == "buffers":
        yield Sight(path=judged.flow.broken[0], values={"paths": few_of(judged.flow.broken)})


@FINDINGS.rule(
    "signal",
    "From layer {name} up the signal is not a finite number.",
    advises=one_of(
        "why",
        grown=BLOWN_UP,
        broken="",
        computed="Layer {layer} makes them of finite numbers: look at what it computes, such as "
        "0/0, an exponential of a large number, a logarithm or a root at 0 or below.",
    ),
    rank=BROKEN,
)
def signal(judged: Judged) -> Iterator[Sight]:
    """A signal that is not finite.

    The state of a layer has nan or infinite entries.
    """
    if judged.out is not None:
        why = "grown" if judged.has_grown else "broken" if judged.broken else "computed"
        yield Sight(judged.out, values={"why": why})


@FINDINGS.rule(
    "undefined",
    "From layer {name} down Δ is not a finite number, whatever the format.",
    rank=BROKEN,
)
def undefined(judged: Judged) -> Iterator[Sight]:
    """A gradient that is not finite.

    Δ of a layer is nan or infinite, also in the widest format, and the loss is not broken.
    """
    if judged.undefined is not None and judged.broken != "loss":
        yield Sight(judged.undefined)


# What the rate of the layers does not see


@FINDINGS.rule(
    "stopped",
    one_of(
        "why",
        frozen="In a training the gradient stops after {after}: {them}, {are} frozen "
        "(requires_grad=False) and {learn} nothing.",
        detached="The gradient stops after {after}: {them}, {get} none, though the loss depends on "
        "{it}, as behind detach or no_grad.",
        unused="No gradient comes to {them}: the loss does not use what they make, or it leaves "
        "torch on the way, as by numpy() or item().",
    ),
    advises=one_of(
        "why",
        frozen="If that is not meant, set requires_grad=True there.",
        detached="Take detach or no_grad away, if that is not meant.",
        unused="Let the loss depend on {it} by functions of torch, or leave {it} out.",
    ),
    rank=UNSEEN,
)
def stopped(judged: Judged) -> Iterator[Sight]:
    """A gradient that stops.

    PyTorch: parameters that the loss depends on get none, as behind `detach` or `no_grad`, or are
    frozen below all that learn, and are at least 1 % of all; or half of all are not used. A second
    forward pass, only where something gets no gradient, tells these apart.
    """
    stop = judged.flow.stopped
    if stop is not None:
        several = len(stop.parts) > 1
        verbs = ("are", "learn", "get", "them") if several else ("is", "learns", "gets", "it")
        them = f"{few_of(map(clean, stop.parts))}, {percent(stop.share)} of the parameters"
        values = {"why": stop.why, "after": clean(stop.after), "them": them}
        values |= zip(("are", "learn", "get", "it"), verbs, strict=True)
        yield Sight(path=stop.parts[0], values=values)


@FINDINGS.rule(
    "fixed",
    "No parameter of layer{s} {names} gets a gradient, although Δ is there: as behind "
    "stop_gradient, in a branch that is off for the whole batch, or where only zeros enter.",
    advises="Take stop_gradient away there, or give the branch something that passes.",
    rank=UNSEEN,
    unless="oneunit relulogits",
)
def fixed(judged: Judged) -> Iterator[Sight]:
    """Layers that learn nothing.

    No parameter of a layer gets a gradient, though Δ is there, as behind `stop_gradient`.
    """
    arrays, layers = judged.arrays, []
    for layer in range(1, len(judged.names) + 1):
        inside = arrays.layer == layer
        is_fixed = (inside & arrays.weights).any() and np.isneginf(arrays.delta[inside]).all()
        passes = np.isfinite(judged.log_delta[layer - 1])
        if is_fixed and passes and not arrays.starts_at_zero(layer):
            layers.append(layer)
    if layers and not np.isneginf(judged.log_delta).any():  # else that is said, with its cause
        names = few_of(map(judged.label, layers))
        yield Sight(layers[0], values={"s": "s" if len(layers) > 1 else "", "names": names})


def _few_parameters(share: float, products: float, outside: str, cuts: str, **_: object) -> str:
    such_as = f", such as cuts={clean(cuts)!r}" if cuts else ", by their names or patterns"
    others = f", {clean(outside)} does not" if outside else ""
    return (
        f"Only {percent(share)} of the parameters and {percent(products)} of the products lie in "
        f"the layers that were found{others}: what follows is about a part of the network. Choose "
        f"layers with cuts={such_as}."
    )


@FINDINGS.rule("cuts", _few_parameters, rank=UNSEEN)
def cuts(judged: Judged) -> Iterator[Sight]:
    """Layers with few of the parameters.

    PyTorch: the layers that were found automatically hold less than half of the parameters, lookup
    tables not counted, and less than half of the products.
    """
    flow, coverage = judged.flow, judged.flow.coverage
    measured = () if flow.time is None else flow.time.names
    told = 0.0 if flow.stopped is None else flow.stopped.share
    if coverage is None or coverage.outside in measured:
        return
    if max(coverage.share + told, coverage.products) < MOST:
        yield Sight(values=coverage._asdict())


def time_text(change: TimeChange, **_: object) -> str:
    """Return the sentence on a change through time."""
    falls = "falls" if change.word == "vanishing" else "grows"
    (early, late), steps = (change.early + 1, change.late + 1), change.steps
    over, first, last = f"its {steps} steps", "the first", "the last"
    if (early, late) != (1, steps):
        over, first, last = f"steps {late} to {early} of {steps}", f"step {early}", f"step {late}"
    gets = f"10^{change.total:.0f} of" if change.ill else f"{10**change.total:.2g} of"
    error = f" ± {change.error:.1g}" if change.error > 0 else ""
    return (
        f"Through time the gradient {falls} inside {clean(change.module) or 'the module'}, "
        f"{change.rate:+.3g}{error} decades a step, {change.total:+.3g} over {over}: {first} gets "
        f"{gets} what {last} gets."
    )


def _gates_to_open(change: TimeChange, **_: object) -> str:
    if not change.ill:
        return ""
    if change.word == "exploding":
        return "Clip the gradient, or draw the recurrent weights smaller."
    if change.gates is None:
        return "Draw the recurrent weights as an orthogonal matrix, or take an LSTM."
    (start, stop), steps = change.gates, change.steps
    return (
        f"Open the gates that keep its state: set bias_hh_l0[{start}:{stop}], and that of any "
        f"further layers and directions, to ln {steps} = {np.log(steps):.2f}."
    )


@FINDINGS.rule(
    "time",
    time_text,
    advises=_gates_to_open,
    rank=UNSEEN,
    healthy=True,
)
def time(judged: Judged) -> Iterator[Sight]:
    """A gradient that falls or grows through time.

    Inside `nn.LSTM`, `nn.GRU` or `nn.RNN` Δ of what enters changes by more than a factor of ten
    over the steps, with a rate beyond three standard errors. A network that is read at every step
    has a gradient at each of them, whatever its memory loses. Less than a thousand is usual: what
    the first step holds is still learnt. From a thousand on, if that is more than the layers make,
    its word and its rate are those of the verdict.
    """
    if judged.time is not None:
        path = f"{judged.time.module}.weight_hh_l0".lstrip(".")
        yield Sight(path=path, values={"change": judged.time, "is_ill": judged.time.ill})


# Cut: Δ is exactly zero


@FINDINGS.rule(
    "output",
    "The gradient is exactly zero from the output on: {why}.",
    advises="Let the loss depend on the output by functions that have a derivative: no rounding, "
    "no comparison, no argmax.",
    rank=CUT,
    unless="oneunit relulogits",
)
def output(judged: Judged) -> Iterator[Sight]:
    """An output without a gradient.

    Δ of the output is exactly zero.
    """
    if judged.cut and judged.cut.above is None:
        dtype, argument = np.dtype(judged.flow.dtype).name, judged.flow.given
        why = "the loss does not depend on it" if argument is None else argument.why_zero(dtype)
        yield Sight(judged.cut.below, values={"why": why})


@FINDINGS.rule(
    "zero",
    one_of(
        "then",
        learn=f"{ZERO}, but they get a gradient themselves: measure again after one step.",
        stay=f"{ZERO}, and they get none themselves: draw them again.",
        never="{paths} of layer {name} are zero and get no gradient: each is multiplied by "
        "another that is zero, and none of them will ever move.",
    ),
    advises=one_of("then", learn="", stay="", never="Draw all but one of them."),
    rank=CUT,
)
def zero(judged: Judged) -> Iterator[Sight]:
    """Weights of a layer that are zero.

    They cut all paths: Δ is exactly zero below. Some networks start this way; measure those again
    after one step. Or Δ passes, and several are zero and have none, as both matrices of an adapter.
    """
    arrays, cut = judged.arrays, judged.cut
    if cut is None:
        yield from _zero_products(judged)
    elif cut.zero:
        then = "stay" if np.isneginf(arrays.delta[list(cut.zero)]).all() else "learn"
        paths, below = few_of(arrays.path[i] for i in cut.zero), judged.label(cut.below)
        values = {"paths": paths, "below": below, "then": then}
        yield Sight(cut.above, arrays.path[cut.zero[0]], values)


def _zero_products(judged: Judged) -> Iterator[Sight]:
    """Yield the first layer with several zero weights that get no Δ, though it has one."""
    arrays = judged.arrays
    still = arrays.weights & np.isneginf(arrays.size) & np.isneginf(arrays.delta)
    for layer in np.unique(arrays.layer[still]).tolist():
        there = np.flatnonzero(still & (arrays.layer == layer))
        if len(there) > 1:
            values = {"paths": few_of(arrays.path[i] for i in there), "then": "never"}
            yield Sight(layer, arrays.path[there[0]], values)
            return


@FINDINGS.rule(
    "cut",
    one_of(
        "why",
        unknown="Nothing passes layer {name}: from layer {below} down Δ is exactly zero, every "
        "path being cut, as by stop_gradient or by units that are off for the whole batch.",
        bias="{path} turns all units of layer {name} off: its entries have a root mean square of "
        "{size:.3g}, and from layer {below} down Δ is exactly zero.",
        gain="{path} is zero and turns all units of layer {name} off: from layer {below} down Δ is "
        "exactly zero.",
    ),
    advises=one_of(
        "why",
        unknown="Take stop_gradient away there; of units that are off, draw weights and biases "
        "again, biases at 0.",
        bias="Set it to 0.",
        gain="Set it to 1.",
    ),
    rank=CUT,
    unless="oneunit relulogits",
)
def all_cut(judged: Judged) -> Iterator[Sight]:
    """A layer that nothing passes.

    The same without zero weights, for example behind `stop_gradient`, or because all units are off
    for the whole batch. A bias that the state below is little but, or that is ten times as large as
    all of its name in other layers, is named, and a gain of zeros.
    """
    cut, silencer = judged.cut, judged.silencer
    if not cut or cut.above is None or cut.zero:
        return
    values: dict[str, object] = {"below": judged.label(cut.below), "why": "unknown"}
    if silencer is None:
        yield Sight(cut.above, values=values)
    else:
        arrays = judged.arrays
        size = 10 ** arrays.size[silencer]
        values |= {"why": "bias" if size else "gain", "size": size}
        yield Sight(int(arrays.layer[silencer]), arrays.path[silencer], values)


# Rate


@FINDINGS.rule("rate", "{text}", rank=RATE, healthy=True)
def rate(judged: Judged) -> Iterator[Sight]:
    """The rate, if there is one; that Adam makes up for it where it makes less than a thousand."""
    if judged.rate.word == "unknown":
        return
    text, streams = rate_text(judged), judged.flow.streams
    if streams is not None:
        most = max(Counter(streams.layers).values())
        text += (
            " That is the rate of the main array of each state, the one that enters the next "
            f"product; states have up to {most} arrays (flow.streams)."
        )
    is_ill = judged.rate.ill and not judged.rate.is_mild
    values = {"word": judged.rate.word, "decades": judged.rate.decades, "is_ill": is_ill}
    yield Sight(values=values | {"text": text})


@FINDINGS.rule(
    "no rate",
    "{text}",
    rank=RATE,
    unless="rate loss nan buffers signal undefined output zero cut oneunit relulogits",
    healthy=True,
)
def no_rate(judged: Judged) -> Iterator[Sight]:
    """The reason for which there is no rate, where nothing that is found says it."""
    yield Sight(values={"text": rate_text(judged)})


@FINDINGS.rule(
    "closed",
    "Layer {name} holds most of the products, {products} in one loop or call that is not taken "
    "apart: {way_out}.",
    rank=RATE,
)
def closed(judged: Judged) -> Iterator[Sight]:
    """A layer that is most of the network.

    It holds most of the products in one loop or call that is not taken apart.
    """
    if judged.flow.closed is not None:
        yield Sight(judged.flow.closed.layer, values=judged.flow.closed._asdict())


# Layers that stand out


@FINDINGS.rule(
    "layer", "Layer {name} changes the gradient by {decades:+.2g} decades{reason}.", rank=LAYERS
)
def layer(judged: Judged) -> Iterator[Sight]:
    """A layer unlike others that repeat.

    It changes the gradient by half a decade more than they do, and by six times the median
    deviation; at most two are.
    """
    for sight in _changes(judged, judged.rate.outliers):
        arrays = judged.arrays
        paths = [arrays.path[i] for i in np.flatnonzero(arrays.layer == sight.layer)]
        named = {(size, sight.layer, path) for size in ("largest", "size") for path in paths}
        yield sight._replace(explains=frozenset(named if sight.path else ()))


def _changes(judged: Judged, changes: Iterable[Change]) -> Iterator[Sight]:
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
        f"its {arrays.path[i]} is {_times(by)} others like it"
        for i, by in judged.resized.items()
        if arrays.layer[i] == layer
    ]
    if parts:
        return f"; {listed(parts)}"
    entering = judged.root_mean_square[layer - 2] if layer > 1 else 0.0
    if abs(entering) < np.log10(STATE) or not np.isfinite(entering):
        return ""
    return f"; what enters it has a root mean square of {10**entering:.2g}"


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
            f"; all others have logits of {others:.2g} at most and {percent(FLAT)} of it or more"
        )
    if not starved:
        return f"{text}."
    get = "gets" if len(starved) == 1 else "get"
    return f"{text}; {few_of(starved)} {get} {_less(min(starved.values()))}."


@FINDINGS.rule("attention", _saturation, rank=LAYERS)
def attention(judged: Judged) -> Iterator[Sight]:
    """Attention that is saturated.

    A head's largest logit is above 100, and the mean entropy of its attention weights is below 5 %
    of ln(number of visible keys). Or it is below 25 % in an attention whose logits are thirty times
    those of all others, two at least, in which it is above 90 %. The sentence also says what its
    queries and keys still learn.
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
    name: str, path: str, decades: float | None, experts: tuple[int, ...], count: int, **_: object
) -> str:
    parts = []
    if decades is not None:
        parts.append(f"gets {_less(decades, 'its experts')}: it does not learn")
    if experts:
        s = "s" if len(experts) > 1 else ""
        parts.append(f"sends all tokens to expert{s} {listed(map(str, experts))} of {count}")
    return f"Router{f' {path}' if path else ''} of layer {name} {', and '.join(parts)}."


@FINDINGS.rule("router", _failure, rank=LAYERS)
def router(judged: Judged) -> Iterator[Sight]:
    """A router that does not learn, or sends all tokens to the same experts.

    Relative to its size it gets 10^-4 of the gradient of its experts; or, of more than 16 tokens,
    99 % go to one expert (or to as many as are selected for each token).
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
        if behind or all_go_to:
            decades = max(behind.values(), default=None)
            values = {"decades": decades, "experts": all_go_to, "count": len(experts)}
            path = clean(record.paths[first][0]) if record.paths[first] else ""
            explains = frozenset(("starved", layer, arrays.path[i]) for i in behind)
            yield Sight(layer, path, values, explains)


def _all_go_to(load: np.ndarray, tokens: int, selected: int) -> tuple[int, ...]:
    """Return the experts, from 1, that all tokens go to, if no others have some; else none."""
    count = 1 if selected == len(load) else selected
    most = np.sort(np.argsort(load)[-count:])
    if tokens < FEW_TOKENS or count == len(load) or not load[most].sum() > ALL:
        return ()
    return tuple(int(i) + 1 for i in most)


# States: theory, examples, positions and number formats


@FINDINGS.rule(
    "theory",
    one_of(
        "cause",
        mean="{text}: the entries of {paths} have a mean that is not zero.",
        correlated="{text}: the entries of {paths} are correlated, as training makes them.",
        narrow="{text}: the network is narrow for its depth.",
        unknown="{text}: the weights are correlated or have a mean that is not zero, or the "
        "network is narrow.",
    ),
    rank=STATES,
    unless="signal undefined",
)
def theory(judged: Judged) -> Iterator[Sight]:
    """Layers that depart from theory.

    Gradient or signal are more than four standard deviations of random networks, and a tenth of a
    decade, from theory, and stay there. Needs a flow measured with `theory=True`. The cause is one
    that is seen: weights whose mean is large or whose largest singular value is half as large again
    as that of independent entries, or as many layers as half of the units.
    """
    down, up = gradient_departure(judged.flow), signal_departure(judged.flow)
    parts = []
    if down:
        follows = judged.label(down.layer + 1) if down.layer < len(judged.names) else ""
        parts.append(
            f"{f'follows theory down to layer {follows}; ' if follows else ''}from layer "
            f"{judged.label(down.layer)} down the gradient parts from that of random weights of "
            f"these sizes, by up to {down.decades:+.2g} decades"
        )
    if up:
        parts.append(
            f"from layer {judged.label(up.layer)} up the signal parts from that of random weights "
            f"of these sizes, by up to {up.decades:+.2g} decades"
        )
    first = down or up
    if first:
        text = "; ".join(parts)
        cause = cause_of_departure(judged.flow, judged.parameters)
        values = {
            "gradient": down,
            "signal": up,
            "text": f"{text[0].upper()}{text[1:]}",
            "cause": cause.kind,
            "paths": few_of(map(clean, cause.paths)) if cause.paths else "",
        }
        yield Sight(first.layer, values=values)


@FINDINGS.rule(
    "examples",
    one_of(
        "where",
        output="At the output, {number_format} cannot tell examples apart{coarser}: it is the same "
        "for all.",
        inside="From layer {name} up, {number_format} can no longer tell examples apart{coarser}: "
        "no layer above can learn to tell them apart.",
    ),
    rank=STATES,
    unless="signal constant oneunit relulogits drawn equal bottleneck",
)
def examples(judged: Judged) -> Iterator[Sight]:
    """Examples that can no longer be told apart.

    From some layer upwards they differ by less than four rounding units (eps) of the signal.
    """
    # What comes out of zero weights is alike anyway.
    zero = judged.cut.above if judged.cut and judged.cut.zero else None
    alike = {
        name: layer for name, layer in judged.indistinguishable.items() if layer not in (None, zero)
    }
    used = [name for name in alike if name in judged.in_use]
    if used:
        first = alike[used[0]]
        others = [f"{n} from layer {judged.label(i)}" for n, i in alike.items() if i < first]
        coarser = f" ({', '.join(others)})" if others else ""
        where = "output" if min(alike.values()) == len(judged.used) else "inside"
        yield Sight(first, "", {"number_format": used[0], "coarser": coarser, "where": where})


@FINDINGS.rule(
    "positions",
    "From layer {name} up all positions of an example are equal, but for rounding.",
    advises="Put a skip connection around each layer that mixes positions.",
    rank=STATES,
)
def positions(judged: Judged) -> Iterator[Sight]:
    """Positions that are all equal.

    Likewise for the positions (tokens, pixels) of an example. Nothing is lost if the inputs are
    the same at all positions, nor if one layer makes them so of positions that differ by a
    hundredth or more, and at most half of the layers are above: that is a pool whose result is
    handed on to all positions.
    """
    are_inputs = judged.data is not None and judged.data.are_positions_alike
    if judged.equal_positions is not None and not are_inputs and not judged.is_pooled:
        yield Sight(judged.equal_positions)


@FINDINGS.rule("format", "{text}.", rank=STATES)
def number_format(judged: Judged) -> Iterator[Sight]:
    """A gradient that underflows or overflows.

    Its largest entry is outside the normal numbers of the network's own format. Other formats are
    mentioned only if no scale of the loss keeps all layers in range; 8-bit formats only if they are
    used or requested by `jaxnn.verdict(flow, formats="float8_e5m2")`.
    """
    lost = {
        name: layer
        for name in spoken_of(judged.flow.dtype, judged.in_use)
        if (layer := judged.lost[name]) and (name in judged.in_use or not judged.scales[name])
    }
    for verb in ("underflows", "overflows"):
        places: dict[str, list[str]] = {}
        for name, layer in lost.items():
            is_small = judged.log_largest[layer - 1] < range_of(name)[0]
            if is_small == (verb == "underflows"):
                places.setdefault(_where_lost(judged, name, layer), []).append(name)
        if places:
            (where, names), *others = ((k, " and ".join(v)) for k, v in places.items())
            text = f"In {names} the gradient {verb} {where}"
            text += "".join(f"; in {names} {where}" for where, names in others)
            yield Sight(max(lost.values()), values={"verb": verb, "lost": lost, "text": text})


def _where_lost(judged: Judged, name: str, layer: int) -> str:
    """Return where a format has no number for Δ, and whether a scale of the loss is a way out."""
    higher = judged.used[judged.used >= layer]
    where = f"below layer {judged.label(int(higher[0]) + 1)}" if len(higher) else "in every layer"
    scales = judged.scales[name]
    if scales:
        return f"{where}, unless the loss is multiplied by 2^{scales[0]} to 2^{scales[1]}"
    return f"{where}, whatever the scale of the loss" if name == "float16" else where


def _zero_entries(
    name: str, number_format: str, share: float, of_square: float, scale: int, **_: object
) -> str:
    return (
        f"In {number_format} {percent(share)} of the entries of Δ become zero in layer {name}, "
        f"{percent(of_square)} of its square norm, also with the loss multiplied by 2^{scale}."
    )


@FINDINGS.rule("entries", _zero_entries, rank=STATES)
def entries(judged: Judged) -> Iterator[Sight]:
    """Entries that mostly become zero.

    In a layer, in float16, bfloat16 or a format that is used, whatever the scale of the loss. Needs
    a flow measured with `formats=True`. `flow.formats()` is the table of all layers and formats,
    [`jaxnn.plan`](guides/number-formats.md) chooses one for each.
    """
    if judged.flow.entries is None:
        return
    spoken = spoken_of(judged.flow.dtype, judged.in_use)
    deltas = Histogram(judged.flow.entries.delta)
    for kind in NARROW:
        if kind.name not in spoken:
            continue
        scale = loss_scale(kind, [deltas]).best
        kept = deltas.kept(kind, scale)
        share = np.where(deltas.full, kept.zero, 0)
        worst = int(np.argmax(share))
        if share[worst] >= MANY_ZERO:
            of_square = max(kept.zero_square[worst], np.finfo(float).tiny)  # none of them was zero
            values = {"number_format": kind.name, "share": share[worst]}
            yield Sight(worst + 1, values=values | {"of_square": of_square, "scale": scale})


@FINDINGS.rule(
    "unread",
    "Examples differ in layer {name}, but not at position{places} of {count}, which alone {get} a "
    "gradient: what differs is not read.",
    rank=STATES,
    unless="signal undefined",
)
def unread(judged: Judged) -> Iterator[Sight]:
    """A difference between examples that is not read.

    In the highest state with positions, examples are alike at every position that gets a gradient,
    and differ elsewhere. This happens if tokens see only those before them and the first one is
    read. `flow.record.positions` has what differs at each position.
    """
    record, streams = judged.flow.positions, judged.flow.streams
    layer = _with_positions(judged)[-1:]
    if record is None or not layer or (streams and streams.layers.count(layer[0]) > 1):
        return  # another array may tell examples apart
    there = record.of(layer[0])
    log_delta, log_spread = (np.asarray(v, np.float64) for v in (there.log_delta, there.log_spread))
    read = np.flatnonzero(log_delta > np.max(log_delta) + np.log(ALONE))
    apart = log_spread >= judged.log_noise
    if len(read) and apart.any() and not apart[read].any():
        s, get = ("s", "get") if len(read) > 1 else ("", "gets")
        places = f"{s} {few_of(str(i + 1) for i in read)}"
        yield Sight(layer[0], values={"places": places, "count": len(apart), "get": get})


@FINDINGS.rule(
    "lone position",
    "Only position {position} of {count} gets a gradient in layer {name}: what the others hold "
    "reaches the loss nowhere above. If weights between positions start at zero, measure again "
    "after one step.",
    rank=STATES,
    unless="signal undefined",
)
def lone_position(judged: Judged) -> Iterator[Sight]:
    """A single position that gets a gradient.

    In the lowest state with positions, all others have less than 10^-9 of its Δ: nothing that they
    hold reaches the loss. `flow.record.positions` has Δ at each position of each layer.
    """
    record, layer = judged.flow.positions, _with_positions(judged)[:1]
    if record is None or not layer or judged.flow.time is not None:
        return  # the last step of a recurrence knows the others
    log_delta = np.asarray(record.of(layer[0]).log_delta, np.float64)
    *_, second, largest = np.sort(log_delta)  # nan comes last
    if np.isfinite(largest) and second - largest <= np.log(ALONE):
        position = int(np.argmax(log_delta)) + 1
        yield Sight(layer[0], values={"position": position, "count": len(log_delta)})


def _with_positions(judged: Judged) -> list[int]:
    """Return the layers whose states have several positions."""
    positions = judged.flow.positions
    return [] if positions is None else [i for i, n in enumerate(positions.counts, 1) if n > 1]


# Arrays


@FINDINGS.rule("starved", "{path} of layer {name} gets {less}: it does not learn.", rank=ARRAYS)
def starved(judged: Judged) -> Iterator[Sight]:
    """An array that gets no gradient, or 10^-4 of it.

    Relative to its size, compared with the other weights of its layer. Between 10^-4 and 10^-8 it
    must also be a hundred times further behind than the array of the same name in other layers: the
    decay rates of a healthy Mamba get 10^-4 in all of them. Weights in a layer with a zero array
    that gets a gradient itself, such as the last gain of a branch, are not named: they learn after
    the first step. Nor are those in a layer with a gain below 10^-3 that gets one, such as a layer
    scale; nor queries and keys whose logits are below 0.1 in all heads, as those of tiny weights:
    what they get grows with them.
    """
    for i, decades in judged.starved.items():
        values = {"decades": decades, "less": _less(decades)}
        yield Sight(int(judged.arrays.layer[i]), judged.arrays.path[i], values)


@FINDINGS.rule(
    "largest",
    "The entries of {path}, layer {name}, have a root mean square of {size:.2g}, all other weights "
    "{next_size:.2g} or less.",
    rank=ARRAYS,
    unless="signal undefined",
)
def largest(judged: Judged) -> Iterator[Sight]:
    """An array that is larger than all others.

    Its entries have a root mean square above ten, and thirty times that of all other weights.
    """
    arrays = judged.arrays
    sizes = np.where(arrays.weights & np.isfinite(arrays.size), arrays.size, -np.inf)
    if len(sizes) < 2:
        return
    next_size, size = np.sort(sizes)[-2:]
    is_far = np.isfinite(next_size) and size - next_size >= np.log10(LARGEST_OF_ALL)
    if is_far and size >= np.log10(LARGE_ENTRIES):
        i = int(np.argmax(sizes))
        layer, path = int(arrays.layer[i]), arrays.path[i]
        values = {"size": 10**size, "next_size": 10**next_size}
        yield Sight(layer, path, values, frozenset({("size", layer, path)}))


@FINDINGS.rule(
    "size",
    "{path} of layer {name} is {times} others like it.",
    rank=ARRAYS,
    unless="signal undefined",
)
def size(judged: Judged) -> Iterator[Sight]:
    """An array of another size.

    It is ten times larger or smaller than the same array in the other layers that repeat.
    """
    for i, decades in judged.resized.items():
        values = {"decades": decades, "times": _times(decades)}
        yield Sight(int(judged.arrays.layer[i]), judged.arrays.path[i], values)


# Last, what may be well


@FINDINGS.rule(
    "once",
    "Layer {name} changes the gradient once, by {decades:+.2g} decades{reason}.",
    rank=LAST,
    unless="overbatch oneunit",
    healthy=True,
)
def once(judged: Judged) -> Iterator[Sight]:
    """A layer that changes the gradient once.

    A layer that does not repeat, such as a head, changes it by a factor of ten or more.
    """
    yield from _changes(judged, judged.rate.once)


@FINDINGS.rule(
    "branches",
    "Gains such as {path}, in {count} layers, start at {size:.1g}: their branches add next to "
    "nothing, and the weights in these get as little gradient until the gains have grown.",
    advises="Adam's steps make up for it; for SGD start them at 0.1.",
    rank=LAST,
    unless="signal undefined",
    healthy=True,
)
def branches(judged: Judged) -> Iterator[Sight]:
    """Branches that start near zero.

    A gain of a layer, an array of one axis, has entries of 10^-3 or less and gets a gradient, such
    as a layer scale of 10^-6.
    """
    arrays = judged.arrays
    by_layer = [(i, arrays.small_gains(i)) for i in range(1, len(judged.names) + 1)]
    small = [(layer, gains) for layer, gains in by_layer if gains]
    if small:
        layer, (first, *_) = small[0]
        values = {"size": 10 ** arrays.size[first], "count": len(small)}
        yield Sight(layer, arrays.path[first], values)


def _units(saturated: float, dead: float, **_: object) -> str:
    shares = ((saturated, MANY_SATURATED, "saturated"), (dead, MANY_DEAD, "dead"))
    parts = [f"{percent(share)} are {what}" for share, many, what in shares if share >= many]
    return f"Of the hidden units {' and '.join(parts)}."


@FINDINGS.rule("units", _units, rank=LAST, unless="inputs drawn")
def units(judged: Judged) -> Iterator[Sight]:
    """Units that are saturated or dead.

    At least three quarters of the hidden units are saturated, or six tenths dead.
    """
    network = judged.network
    if network and (network.saturated >= MANY_SATURATED or network.dead >= MANY_DEAD):
        yield Sight(values={"saturated": network.saturated, "dead": network.dead})


# Words


def _less(decades: float, others: str = "the other weights there") -> str:
    if np.isposinf(decades):
        return "no gradient"
    return f"10^-{decades:.0f} of the gradient of {others}"


def _times(decades: float) -> str:
    factor = f"{10 ** abs(decades):.2g}"
    return f"{factor} times as large as" if decades > 0 else f"{factor} times smaller than"


def few_of(names: Iterable[str]) -> str:
    """Return the first few of many names."""
    names = [*names]
    more = len(names) - FEW
    return listed(names) if more <= 0 else f"{', '.join(names[:FEW])} and {more} more"
