"""Findings on the rate of the gradient, and on a Δ that is exactly zero."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from ...rules import Sight, one_of
from .findings import CUT, FINDINGS, RATE, SET, few_of, silenced_by
from .judged import Judged
from .rate_text import rate_text

ZERO = "The weights of layer {name} are zero: {paths}. From layer {below} down Δ is exactly zero"


# Cut: Δ is exactly zero


@FINDINGS.rule(
    "output",
    "The gradient is exactly zero from the output on: {why}.",
    advises="Let the loss depend on the output by functions that have a derivative: no rounding, "
    "no comparison, no argmax.",
    changes="usual end, usual loss",
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
        second="{paths} are zero, as the second of an adapter's two matrices: {first} get no "
        "gradient in the first step, and learn from the second on.",
    ),
    advises=one_of(
        "then", learn="", stay="", never="Draw all but one of them at random.", second=""
    ),
    changes=one_of("then", learn="", stay="draw", never="draw", second=""),
    rank=CUT,
    healthy=True,
)
def zero(judged: Judged) -> Iterator[Sight]:
    """Weights of a layer that are zero.

    They cut all paths: Δ is exactly zero below. Some networks start this way; measure those again
    after one step. A last layer of zeros, which gets a gradient itself, is usual. Or Δ passes, but
    several weights are zero and get none, as both matrices of an adapter; if only the second one is
    zero, as is usual, the first one learns from the second step on.
    """
    arrays, cut = judged.arrays, judged.cut
    if cut is None:
        yield from _zero_products(judged)
        if pairs := arrays.adapters:
            firsts, seconds = zip(*pairs, strict=True)
            paths, first = (few_of(arrays.path[i] for i in v) for v in (seconds, firsts))
            layer, path = int(arrays.layer[seconds[0]]), arrays.path[seconds[0]]
            yield Sight(layer, path, {"paths": paths, "then": "second", "first": first})
    elif cut.zero:
        then = "stay" if np.isneginf(arrays.delta[list(cut.zero)]).all() else "learn"
        paths, below = few_of(arrays.path[i] for i in cut.zero), judged.label(cut.below)
        is_head = cut.above == arrays.layer[arrays.weights].max(initial=0)
        is_ill = then == "stay" or not is_head
        values = {"paths": paths, "below": below, "then": then, "is_ill": is_ill}
        yield Sight(cut.above, arrays.path[cut.zero[0]], values)


def _zero_products(judged: Judged) -> Iterator[Sight]:
    """Yield the first layer with several zero weights that get no Δ in any, though it has one."""
    arrays = judged.arrays
    still = arrays.weights & np.isneginf(arrays.size) & arrays.rests
    for layer in np.unique(arrays.layer[still]).tolist():
        there = np.flatnonzero(still & (arrays.layer == layer))
        if len(there) > 1:
            paths = few_of(arrays.path[i] for i in there)
            values = {"paths": paths, "then": "never", "is_ill": True}
            yield Sight(layer, arrays.path[there[0]], values)
            return


@FINDINGS.rule(
    "cut",
    one_of(
        "why",
        unknown="Nothing passes layer {name}: from layer {below} down Δ is exactly zero, as every "
        "path is cut: by stop_gradient, by a norm over a single number, or by units that are off "
        "or saturated for the whole batch.",
        bias="{path} turns all units of layer {name} off: its entries have a root mean square of "
        "{size:.3g}, and from layer {below} down Δ is exactly zero.",
        gain="{path} is zero and turns all units of layer {name} off: from layer {below} down Δ is "
        "exactly zero.",
    ),
    advises=one_of(
        "why",
        unknown="Remove the stop_gradient there, or give the norm more than one number; if units "
        "are off or saturated, draw weights and biases again, biases at 0.",
        bias=SET,
        gain=SET,
    ),
    changes=one_of("why", unknown="shut", bias="named, draw", gain="named"),
    rank=CUT,
    unless="oneunit relulogits",
)
def all_cut(judged: Judged) -> Iterator[Sight]:
    """A layer that nothing passes.

    Δ is exactly zero below it, though its weights are not: for example behind `stop_gradient`, or
    because all units are off for the whole batch. A bias is named if it makes up the state below,
    or is ten times as large as all of its name in other layers; so is a gain of zeros.
    """
    cut, silencer = judged.cut, judged.silencer
    if not cut or cut.above is None or cut.zero:
        return
    values: dict[str, object] = {"below": judged.label(cut.below), "why": "unknown"}
    if silencer is None:
        yield Sight(cut.above, values=values)
    else:
        arrays = judged.arrays
        layer, path = int(arrays.layer[silencer]), arrays.path[silencer]
        yield Sight(layer, path, values | silenced_by(arrays.size[silencer]))


# Rate


@FINDINGS.rule(
    "rate",
    "{text}",
    changes=lambda is_ill, **_: "draw, norm, pre-norm, relu" if is_ill else "",
    rank=RATE,
    healthy=True,
)
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
    "Layer {name} holds most of the products, {products} in one loop or call that jaxnn cannot "
    "look into: {way_out}.",
    rank=RATE,
)
def closed(judged: Judged) -> Iterator[Sight]:
    """A layer that is most of the network.

    It holds most of the products in one loop or call that is not taken apart.
    """
    if judged.flow.closed is not None:
        yield Sight(judged.flow.closed.layer, values=judged.flow.closed._asdict())
