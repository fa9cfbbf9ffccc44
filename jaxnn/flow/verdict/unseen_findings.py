"""Findings on what the rate of the layers does not see: stops, frozen layers, cuts and time."""

from collections.abc import Iterator

import numpy as np

from ...pytorch.block_choice import MOST
from ...pytorch.gradient_reach import MOST as HALF
from ...pytorch.gradient_reach import SMALL, Stopped
from ...rules import Sight, one_of
from ...texts import clean, percent, power_of_ten
from .findings import FINDINGS, SET, UNSEEN, few_of, silenced_by
from .judged import Judged
from .through_time import TimeChange


@FINDINGS.rule(
    "stopped",
    one_of(
        "why",
        frozen="In a training the gradient stops after {after}: {them}, {are} frozen "
        "(requires_grad=False) and {learn} nothing.",
        detached="The gradient stops after {after}: {them}, {get} none, though the loss depends on "
        "{it}, as after detach or no_grad.",
        unused="No gradient comes to {them}: the loss does not use their output, or that leaves "
        "torch on its way, as by numpy() or item().",
        among="{them}, {are} frozen ({by}) between layers that learn, and {learn} nothing.",
    ),
    advises=one_of(
        "why",
        frozen="If that is not meant, set requires_grad=True there.",
        detached="Remove the detach or no_grad, unless it is meant.",
        unused="Let the loss depend on {it} by functions of torch, or leave {it} out.",
        among="If that is not meant, take {by} away there.",
    ),
    changes=one_of("why", frozen="all learn", detached="", unused="", among="all learn"),
    rank=UNSEEN,
)
def stopped(judged: Judged) -> Iterator[Sight]:
    """A gradient that stops.

    PyTorch: parameters that the loss depends on get none, as after `detach` or `no_grad`, or are
    frozen below all that learn, and are at least 1 % of all; or half of all are not used. A second
    forward pass, only where something gets no gradient, tells these apart. In both frameworks:
    layers between some that learn are frozen, and most parameters are not.
    """
    stop = judged.flow.stopped or _frozen_among(judged)
    if stop is not None:
        several = len(stop.parts) > 1
        verbs = ("are", "learn", "get", "them") if several else ("is", "learns", "gets", "it")
        them = f"{few_of(map(clean, stop.parts))}, {percent(stop.share)} of the parameters"
        values = {"why": stop.why, "after": clean(stop.after), "them": them}
        values |= zip(("are", "learn", "get", "it"), verbs, strict=True)
        by = "requires_grad=False" if judged.flow.is_of_torch else "stop_gradient"
        yield Sight(path=stop.parts[0], values=values | {"by": by})


def _frozen_among(judged: Judged) -> Stopped | None:
    """Return the layers whose weights are all after a stop_gradient, between some that learn."""
    arrays = judged.arrays
    frozen = judged.are_to_stay & arrays.weights
    learning = arrays.layer[arrays.weights & ~frozen]
    if not frozen.any() or not len(learning):
        return None
    is_between = (arrays.layer > learning.min()) & (arrays.layer < learning.max())
    among = frozen & is_between & ~np.isin(arrays.layer, learning)
    counts = np.array([np.prod(shape) for shape in arrays.shape])
    parts = tuple(arrays.path[i] for i in np.flatnonzero(among))
    share, of_all = (float(counts[which].sum() / counts.sum()) for which in (among, frozen))
    return Stopped(parts[-1], parts, share, "among") if share >= SMALL and of_all < HALF else None


@FINDINGS.rule(
    "fixed",
    one_of(
        "why",
        unknown="No parameter of layer{s} {names} gets a gradient, although Δ is there: as after "
        "stop_gradient, in a branch that is off for the whole batch, or where only zeros enter.",
        bias="{path} turns a branch of layer {name} off, in which no parameter gets a gradient: "
        "its entries have a root mean square of {size:.3g}.",
        gain="{path} is zero and turns a branch of layer {name} off, in which no parameter gets a "
        "gradient.",
    ),
    advises=one_of(
        "why",
        unknown="Remove the stop_gradient there, or let something pass the branch.",
        bias=SET,
        gain=SET,
    ),
    changes=one_of("why", unknown="", bias="named, draw", gain="named"),
    rank=UNSEEN,
    unless="oneunit relulogits",
)
def fixed(judged: Judged) -> Iterator[Sight]:
    """Layers that learn nothing.

    No parameter of a layer gets a gradient, though Δ is there, as after `stop_gradient`. Arrays
    that have a `stop_gradient` of their own, such as drawn frequencies, are meant to stay and left
    out. A gain of zeros is named, and a bias that is ten times as large as all of its name in other
    layers.
    """
    arrays, layers, silencers = judged.arrays, [], []
    for layer in range(1, len(judged.names) + 1):
        inside = (arrays.layer == layer) & ~judged.are_to_stay
        is_fixed = (inside & arrays.weights).any() and np.isneginf(arrays.delta[inside]).all()
        passes = np.isfinite(judged.log_delta[layer - 1])
        if is_fixed and passes and not arrays.starts_at_zero(layer):
            known = arrays.silencers(layer)[:1]
            silencers += known
            layers += [] if known else [layer]
    if np.isneginf(judged.log_delta).any():  # that is said, with its cause
        return
    for i in silencers:
        yield Sight(int(arrays.layer[i]), arrays.path[i], silenced_by(arrays.size[i]))
    if layers:
        names, s = few_of(map(judged.label, layers)), "s" if len(layers) > 1 else ""
        yield Sight(layers[0], values={"why": "unknown", "s": s, "names": names})


@FINDINGS.rule(
    "shut",
    "Gains such as {path}, in {count} layer{s}, are zero: only zeros enter the weights after "
    "them, which learn nothing until the gains have grown.",
    advises="Set such gains to 1.",
    changes="named",
    rank=UNSEEN,
    unless="oneunit relulogits fixed",
)
def shut(judged: Judged) -> Iterator[Sight]:
    """Gains of zero in front of a branch.

    A gain is zero and gets a gradient, as in a norm inside a branch, and a weight of the layer gets
    none although its bias does: only zeros enter it. The last gain of a branch may start at zero.
    """
    arrays = judged.arrays
    places = {
        (layer, arrays.path[i]): layer
        for layer in range(1, len(judged.names) + 1)
        if arrays.is_fed_zeros(layer)
        for i in arrays.zero_gains(layer)
    }
    if places:
        (layer, path), *_ = places
        count = len({*places.values()})
        values = {"places": {*places}, "to": 1.0, "count": count, "s": "s" if count > 1 else ""}
        yield Sight(layer, path, values)


def _few_parameters(share: float, products: float, outside: str, cuts: str, **_: object) -> str:
    such_as = f", such as cuts={clean(cuts)!r}" if cuts else ", by their names or patterns"
    others = f", {clean(outside)} does not" if outside else ""
    return (
        f"Only {percent(share)} of the parameters and {percent(products)} of the products lie in "
        f"the layers that were found{others}: what follows is about a part of the network. Choose "
        f"layers with cuts={such_as}."
    )


@FINDINGS.rule("cuts", _few_parameters, rank=UNSEEN, healthy=True)
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
    gets = f"{power_of_ten(change.total)} of" if change.ill else f"{10**change.total:.2g} of"
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


def _change_of_time(change: TimeChange, **_: object) -> str:
    if not change.ill:
        return ""
    return "gates" if change.word == "vanishing" and change.gates else "recurrent"


@FINDINGS.rule(
    "time",
    time_text,
    advises=_gates_to_open,
    changes=_change_of_time,
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
