"""The rate in a sentence: the word, the decades, and what the whole network does."""

import math

import numpy as np

from .judged import Judged
from .rates import DECADES, ERRATIC, STRETCHED, THEIR_DECADES, DepthLaw, Rate

SPOKEN = 0.3  # decades: a factor of two, from which on the rest is spoken of
SMALL_PART = 0.1  # of what the repeated layers do


def rate_text(judged: Judged) -> str:
    """Return the sentence on the rate of a flow."""
    rate = judged.rate
    unit = "step" if judged.flow.parameters.tied else "layer"
    units = f"{unit}s" if judged.network is None else f"hidden {unit}s"
    if rate.layers < 2:
        return _too_few(judged, units)
    if rate.word == "unknown":
        return f"No rate: it takes two {units} with a gradient that is a number."
    over = f"{_scope(judged, units)}{_whole(judged)}"
    if rate.law is not None:
        grows = "grows" if rate.law.constant > 0 else "falls"
        return (
            f"{rate.word.capitalize()}, no exponential: towards the input the gradient {grows} "
            f"like {_formula(rate.law)}, {rate.repeated:+.3g} decades {over}."
        )
    # Adam divides what each array gets by its size; steps through time share their arrays.
    made_up_for = "" if judged.flow.parameters.tied else "; Adam makes up for it, SGD does not"
    if rate.is_short:
        part = 10 ** -abs(rate.repeated)
        first, other = ("first", "last") if rate.repeated < 0 else ("last", "first")
        return (
            f"Too few {units} for a rate: {rate.repeated:+.3g} decades {over}. The {first} "
            f"gets {part:.2g} of the gradient of the {other}{made_up_for}."
        )
    error = "" if np.isnan(rate.standard_error) else f" ± {rate.standard_error:.1g}"
    per_layer = f"{rate.decades:+.3g}{error} decades a {unit}"
    if rate.word == ERRATIC:
        return (
            f"Erratic, {rate.total:+.3g} decades over the whole network, most of it in "
            f"{_culprits(rate)}; the other layers change the gradient by {per_layer} towards the "
            f"input{made_up_for if rate.is_mild else ''}."
        )
    text = f"{per_layer} towards the input, {rate.repeated:+.3g} {over}"
    if rate.word == "steady" and abs(rate.repeated) > DECADES:
        return f"Steady, {text}{made_up_for}."
    if not rate.is_mild or judged.flow.parameters.tied:
        return f"{rate.word.capitalize()}, {text}."
    # Many modules as their packages draw them, ShuffleNet for one, are below a hundred.
    is_little = max(abs(rate.repeated), abs(rate.total)) < THEIR_DECADES
    word = f"mildly {rate.word}" if is_little else rate.word
    return f"{word.capitalize()}, {text}{made_up_for}."


def _too_few(judged: Judged, units: str) -> str:
    """Return the sentence on a network of one layer, or none, that the rate would be over."""
    rate = judged.rate
    there = "there is one" if rate.layers else "there are none"
    large = abs(rate.total) >= DECADES
    whole = f"; {rate.total:+.3g} decades over the whole network" if large else ""
    measured = " whose Δ was measured" if judged.flow.unmeasured else ""
    return f"No rate: it takes two {units}{measured}, and {there}{whole}."


def _scope(judged: Judged, units: str) -> str:
    """Return the layers that the rate is over, in words."""
    rate = judged.rate
    if judged.network is not None or not rate.others:
        return f"over all {rate.layers} {units}"
    if rate.layers == len(judged.names):
        count = len(rate.others)
        return f"over all {units} but {('one', 'two')[count - 1] if count < 3 else count}"
    return f"over the {rate.layers} {units} that repeat"


def _whole(judged: Judged) -> str:
    """Return the change over the whole network and the rest's part in it; "" if that is little."""
    rate = judged.rate
    rest = rate.rest
    if abs(rest) < max(SPOKEN, SMALL_PART * abs(np.nan_to_num(rate.repeated))):
        return ""
    whole = f", {rate.total:+.3g} over the whole network"
    if not rate.others:
        return whole
    most = max(rate.others, key=lambda change: change.decades * np.sign(rest))
    layer = f"layer {judged.label(most.layer)}"
    if len(rate.others) == 1:
        return f"{whole}; {layer} adds {rest:+.2g}"
    return f"{whole}; the other layers add {rest:+.2g}, {layer} most, {most.decades:+.2g}"


def _culprits(rate: Rate) -> str:
    """Return the number of the layers that make an erratic change, in words."""
    count = sum(abs(c.decades) >= DECADES for c in (*rate.outliers, *rate.others))
    return {1: "one layer", 2: "two layers"}.get(count, "a few layers")


def _formula(law: DepthLaw) -> str:
    """Return what a gradient follows, as a function of depth, with the error of its constant."""
    digits = min(max(1 - math.floor(math.log10(law.error)), 1), 3) if law.error > 0 else 3
    constant = f"({law.constant:.{digits}f} ± {law.error:.{digits}f})"
    depth = f"(depth + {law.offset:.0f})" if law.offset else "depth"
    if law.word == STRETCHED:
        return f"e^({constant} √{depth})"
    return f"({depth} / {law.offset + 1:.0f})^{constant}" if law.offset else f"depth^{constant}"
