"""Alarms on states and gradients: numbers that leave their range, grow, merge or are cut off."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...flow.formats.ranges import indistinguishable_in, range_of
from ...flow.verdict.layer_findings import LARGEST_FLOAT16, LOGIT, SATURATED
from ...rules import Sight, one_of
from ...texts import power_of_ten
from ..measurements import ALARMS, Measurements
from ..watched import LN10

LARGE_STATE, LARGEST_STATE = 30.0, 1000.0  # root mean square
LARGE_LOGIT = 30.0
STARVED = 0.1  # of the share of an expert
SMALL_BRANCH = 1e-7  # of the stream
CHANGE = 6.0  # decades over all layers
GROWING = (4, 8)  # measurements, from the first of which to the last a number doubles
LOG2 = float(np.log10(2))


@ALARMS.rule(
    "nonfinite",
    says=one_of(
        "number",
        state="the state of layer {name} is the first that has no number in {dtype}",
        parameter="{array} is nan or infinite before the step",
        delta="Δ of the state of layer {name} is the first beyond the range of {dtype}",
        update="the update of {array} is nan or infinite, with finite states and a finite Δ",
    ),
    advises="Inspect the batch of that step; try a smaller learning rate, clipping, or bfloat16 "
    "instead of float16.",
    final=True,
    said_by="given loss nan signal undefined",
)
def nonfinite(seen: Measurements) -> Iterator[Sight]:
    """Numbers that are nan or infinite.

    A number is nan or infinite; the alarm names the first one among state, Δ and update, with
    its layer and step.

    The number left the range of its format; everything after it is nan.
    """
    out = np.flatnonzero(~(seen.column("layers", "log10_mean_square") < np.inf))
    if len(out):
        layer = int(out[0]) + 1
        size = seen.column("parameters", "log10_size")
        for array in np.flatnonzero(~(size < np.inf) & (seen.layers == layer)):
            yield seen.sight(int(array), {"number": "parameter"})
        yield Sight(layer, values={"number": "state", "dtype": seen.dtype})
    # The backward pass starts at the last layer, so the first to leave the range is the highest.
    largest = seen.column("layers", "log10_largest")
    over = np.flatnonzero(np.isnan(largest) | (largest > range_of(seen.dtype)[1] / LN10))
    if len(over):
        yield Sight(int(over[-1]) + 1, values={"number": "delta", "dtype": seen.dtype})
    broken = np.flatnonzero(~(seen.column("parameters", "log10_update") < np.inf))
    if len(broken) and seen.lines[-1]["after"]:
        yield seen.sight(int(broken[-1]), {"number": "update"})


@ALARMS.rule(
    "underflow",
    says=one_of(
        "where",
        output="Δ of the output is zero in float16; scale the loss",
        layer="Δ is {size} in layer {name}, too small for {dtype}: this layer and all below learn "
        "nothing; scale the loss",
    ),
    advises="Scale the loss; bfloat16.",
    see="[number formats](number-formats.md)",
    said_by="format",
)
def lost_in_format(seen: Measurements) -> Iterator[Sight]:
    """Gradients below the range of their format.

    Δ of a layer is below the range of float16, and its weights do not move; or Δ of the output
    is already zero.

    The gradient underflows: this layer and all below it learn nothing.
    """
    lost, delta = (seen.column("layers", name) for name in ("lost", "log10_largest"))
    if seen.dtype == "float16" and np.isneginf(delta).all():
        yield Sight(values={"where": "output"})
        return
    below = np.flatnonzero((lost > 0) & (delta < 0))
    if not len(below):
        return
    layer = int(below[-1]) + 1
    update = seen.column("parameters", "log10_update")[seen.weights & (seen.layers <= layer)]
    # Adam moves weights with a Δ that is subnormal: then nothing is lost.
    if np.isnan(update).all() or np.isneginf(update).any():
        log10 = float(delta[layer - 1])
        values = {"where": "layer", "log10": log10, "size": power_of_ten(log10)}
        yield Sight(layer, values=values | {"dtype": seen.dtype})


FORECAST = "double {pace}{end}"


@ALARMS.rule(
    "state",
    says=one_of(
        "what",
        large="the state of layer {name} has a root mean square of {size}",
        grows=f"states of layer {{name}} {FORECAST}",
    ),
    advises="A norm; smaller initial weights; a scale on the branches of a residual network.",
    changes="draw, norm",
    said_by="signal",
)
def large_state(seen: Measurements) -> Iterator[Sight]:
    """States that are large, or grow.

    The root mean square of a state is 1000 or more, or it is 30 or more and doubles.

    The signal grows; float16 ends at 65504.
    """
    rms = seen.column("layers", "log10_mean_square") / 2
    for i in np.flatnonzero(np.isfinite(rms) & (rms >= np.log10(LARGEST_STATE))):
        yield Sight(int(i) + 1, values={"what": "large", "size": _in_full(rms[i])})
    rms = seen.last("layers", "log10_mean_square", max(GROWING)) / 2
    for layer, values in _doubling(seen, rms, LARGE_STATE):
        yield Sight(layer + 1, values={"what": "grows", **values})


@ALARMS.rule(
    "sharp",
    says=one_of(
        "what",
        sharp="head {head} of layer {name} attends to a single key, with logits up to {logit:.3g}: "
        "softmax passes little gradient on",
        grows=f"attention logits of layer {{name}} {FORECAST}",
    ),
    advises="A norm on queries and keys; a smaller learning rate for them.",
    said_by="attention",
)
def sharp_attention(seen: Measurements) -> Iterator[Sight]:
    """Attention to one key, or on the way there.

    The largest logit doubles within four or eight measurements, or the entropy is below 5 % of
    its maximum.

    Attention selects a single key, and softmax passes little of the gradient on.
    """
    heads = seen.start["heads"]
    if not heads:
        return
    logit, share = (seen.column("heads", name) for name in ("largest_logit", "share"))
    for i in np.flatnonzero((logit >= LOGIT) & (share < SATURATED)):
        values = {"what": "sharp", "head": heads[i]["head"], "logit": float(logit[i])}
        yield Sight(heads[i]["layer"], values=values)
    logits = np.log10(np.maximum(seen.last("heads", "largest_logit", max(GROWING)), 1e-30))
    for head, values in _doubling(seen, logits, LARGE_LOGIT):
        yield Sight(heads[head]["layer"], values={"what": "grows", **values})


def _doubling(
    seen: Measurements, log10: np.ndarray, least: float
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the places of numbers that double steadily, the fastest first, in float16 with an end.

    A line through the logarithms of the last four or eight measurements, (count, places), against
    their steps, has to rise by a factor of two, and to leave a tenth of that.
    """
    for count in GROWING:
        if len(seen) < count:
            return
        y, x = log10[-count:], seen.steps_of(count).astype(float)
        known = np.isfinite(y).all(axis=0) & (y[-1] >= np.log10(least))
        y = np.where(known, y, 0)
        slope, start = np.polyfit(x, y, 1) if np.ptp(x) else np.zeros((2, len(known)))
        growth, rest = slope * np.ptp(x), np.std(y - slope * x[:, None] - start, axis=0)
        rises = known & (growth >= LOG2) & (rest <= 0.1 * growth) & (y[-1] > y[-2])
        for i in np.flatnonzero(rises)[np.argsort(-growth[rises])]:
            doubling = LOG2 / slope[i]
            left = max(np.log10(LARGEST_FLOAT16) - y[-1, i], 0) / LOG2 * doubling
            end = f"; if that goes on, float16 ends in about {max(_two_digits(left), 1):,.0f}"
            end *= seen.dtype == "float16"
            sizes = {"doubling": _two_digits(doubling), "left": _two_digits(left)}
            yield int(i), {**sizes, "pace": pace(sizes["doubling"]), "end": end}


def pace(steps: float) -> str:
    """Return how often something happens, in words: never every 0 steps."""
    return "every step or faster" if steps < 1.5 else f"every {steps:,.0f} steps"


def _in_full(log10: float) -> str:
    """Return a size with two digits, or of a million and more its power of ten."""
    return f"{_two_digits(10**log10):,.0f}" if log10 < 6 else power_of_ten(log10)


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


@ALARMS.rule(
    "experts",
    says="the router of layer {name} leaves {starved} of {experts} experts without work",
    advises="A loss that balances the load; noise in the router; smaller router weights.",
    said_by="router",
)
def starved_experts(seen: Measurements) -> Iterator[Sight]:
    """Experts without work.

    In two measurements, half of the experts get a tenth of their share or less.

    Idle experts do not learn, so they stay idle.
    """
    if not seen.start["experts"] or len(seen) < 2:
        return
    load = seen.last("experts", "load", 2)
    routers: dict[tuple[int, int], list[int]] = {}
    for i, expert in enumerate(seen.start["experts"]):
        routers.setdefault((expert["layer"], expert["router"]), []).append(i)
    for (layer, _), experts in routers.items():
        starved = int((load[:, experts] <= STARVED / len(experts)).all(axis=0).sum())
        if len(experts) > 1 and 2 * starved >= len(experts):
            yield Sight(layer, values={"starved": starved, "experts": len(experts)})


@ALARMS.rule(
    "merged",
    says="all examples are equal but for rounding, from layer {name} up",
    advises="Weights nearer to their critical size, a norm, a skip connection.",
    changes="draw, norm, pre-norm",
    see="[what cures it](../cures.md)",
    unless="constant",
    said_by="examples",
)
def equal_examples(seen: Measurements) -> Iterator[Sight]:
    """Examples that are told apart no longer.

    From some layer upwards the states of all examples are equal except for rounding, in two
    measurements.

    Nothing above that layer can tell inputs apart.
    """
    if len(seen) < 2:
        return
    log_spread = seen.last("layers", "log10_spread", 2).max(axis=0) * LN10
    if not np.isnan(log_spread).all():  # as of a single example
        layer = indistinguishable_in(seen.dtype, np.arange(len(log_spread)), log_spread)
        if layer is not None:
            yield Sight(layer)


@ALARMS.rule(
    "gradient",
    says="{word} gradient, {total:.2g} decades over the whole network",
    advises="`jaxnn.cures` tries changes on this very network.",
    changes="draw, norm, pre-norm",
    said_by="rate",
)
def gradient(seen: Measurements) -> Iterator[Sight]:
    """A gradient that vanishes or explodes.

    It vanishes or explodes by six decades or more over the whole network.

    Layers at one end learn far more slowly than those at the other.
    """
    word, total = (seen.lines[-1][name] for name in ("word", "total"))
    if word in ("vanishing", "exploding") and abs(total) >= CHANGE:
        layer = 1 if word == "vanishing" else None
        yield Sight(layer, values={"word": word, "total": total})


@ALARMS.rule(
    "unreached",
    says="Δ of {array} is exactly zero: it is cut off from the loss, or all that enters it is zero",
    advises="Look for what cuts it; if it is so on purpose, `intended=` with its path.",
    unless="cut zero stopped fixed output",
    said_by="cut zero stopped fixed output starved",
)
def cut(seen: Measurements) -> Iterator[Sight]:
    """Weights that are cut off from the loss.

    Δ of a weight is exactly zero, in two measurements, in all layers that share it. It had none
    before either, or the loss does not fall.

    Every path from it to the loss is cut: by a zero factor, dead units, or `stop_gradient`.
    """
    if len(seen) < 2:
        return
    zero = np.isneginf(seen.last("parameters", "log10_delta", 2))
    if not zero[-1].all():  # else the loss itself is zero
        paths = np.array([array["path"] for array in seen.start["parameters"]])
        is_cut = zero.all(axis=0) & ~np.isin(paths, paths[~zero.all(axis=0)])
        if len(seen) > 2 and seen.trend is not None and seen.trend.falls and is_cut.any():
            is_cut &= np.isneginf(seen.earlier("parameters", "log10_delta")).all(axis=0)
        highest_first = np.flatnonzero(is_cut & seen.weights)[::-1]
        yield from (seen.sight(int(array)) for array in highest_first)


@ALARMS.rule(
    "branch",
    says="the branches of layer {name} add {now} of their stream, and added {then:.2g} of it "
    "before: the layer does nothing now",
    advises="Look for weight decay on that layer, a gate or a scale at zero, a stream that grows.",
)
def dead_branch(seen: Measurements) -> Iterator[Sight]:
    """Branches that add nothing any more.

    The branches of a layer add less than 10⁻⁷ of their stream, in two measurements, and added
    more before.

    The layer has become the identity: what it adds is rounded away.
    """
    if len(seen) < 3 or any("log10_branch" not in line["layers"] for line in seen.lines[-3:]):
        return
    least, branch = np.log10(SMALL_BRANCH), seen.last("layers", "log10_branch", 2)
    small = np.flatnonzero((branch < least).all(axis=0))
    if not len(small):  # as usual: what was before is not looked at each time
        return
    most = np.fmax.reduce(seen.earlier("layers", "log10_branch")[:, small])
    for i, before in zip(small, most, strict=True):
        if before >= least:
            now = branch[-1, i]
            values = {"log10": now, "now": power_of_ten(now), "then": 10**before}
            yield Sight(int(i) + 1, values=values)
