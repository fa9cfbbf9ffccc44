"""Verdict: a flow in words: vanishing, exploding or steady, what stands out, and what to change.

    flow -> rate, causes, formats, cures -> findings -> at most five sentences, the worst first

`rates.py` has what the words mean and how they are tested, `findings.py` what is named in a layer,
`formats/ranges.py` where numbers end, `network_advice.py` what to change. A sentence is there only
if something stands out; the numbers behind it, and those of all else, are fields.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from ...jaxpr.program import Closed
from ...texts import cleaned, label, percent
from ..formats.format_loss import Histogram, loss_scale
from ..formats.number_formats import NARROW
from ..formats.ranges import (
    FORMATS,
    examples_in_words,
    highest,
    indistinguishable_in,
    loss_in_words,
    loss_scales,
    lost_in,
    not_finite,
    range_of,
    spoken_of,
    tells_apart,
)
from ..record.flow import Flow
from ..view.table import assert_one, findings_as_html
from .findings import (
    Arrays,
    Finding,
    alike_where_read,
    cut_at,
    equal_positions,
    failing_routers,
    far_behind,
    has_grown,
    lone_position,
    origin_of,
    other_sizes,
    saturated_attention,
    starved,
    steps_out,
    unreached,
)
from .network_advice import Cures, of_network
from .rates import DECADES, ERRATIC, MOST_ONCE, STRETCHED, Change, Law, Rate, rate_of
from .theory_departure import theory_text
from .unseen import unseen

MOST = 5  # sentences
TRY = "Try what would help on this network: jaxnn.cures(net, params, xs, …)."
TRY_TORCH = TRY.replace("cures(net, params,", "torch_cures(module,")
MANY_ZERO = 0.5  # of the entries of a layer
SPOKEN = 0.3  # decades: a factor of two, from which on the rest is spoken of
SMALL_PART = 0.1  # of what the repeated layers do


@dataclass(frozen=True, kw_only=True)
class Verdict(Cures):
    """The verdict on a flow; `str` returns it in sentences. Layers are counted from 1.

    word: vanishing or exploding: the rate is more than three of its standard errors from zero, and
        all layers that repeat change the gradient by more than a factor of ten, or if they do not,
        all layers do; steady if they change it by less; not distinguishable from steady; a power
        law or a stretched exponential of depth; erratic if a few layers make the change; unknown
        without two layers whose gradients are neither zero nor infinite.
    decades: the rate, in decades per layer towards the input, below 0 if gradients vanish: of the
        layers that repeat, of a Network the hidden ones, without `outliers`.
    standard_error: of the rate; nan for a single factor.
    total: the decades of the whole network, from the last state to the first; where Δ is zero or no
        number, of the others.
    repeated: those of the layers that the rate is over, `outliers` too.
    law: a power law or a stretched exponential of depth, with its constant and error; else None.
    layers: the number of layers that the rate is over.
    step: whether they share their parameters, as the steps of a recurrent network.
    names: of all layers.
    outliers: the layers that stand out from those, at most two, and by how many decades each
        changes the gradient, from what it returns to what goes into it.
    others: the other layers, such as an embedding or a head, and by how many decades each changes
        it, the largest first.
    zero: the layer from which down Δ is exactly zero, every path being cut; or None.
    undefined: the layer from which down Δ is not a finite number, whatever the format; or None.
    lost: for each of `FORMATS` the layer from which down plain backpropagation in that format has
        no number for Δ, its largest entry being outside the normal numbers; or None.
    scales: for each of `FORMATS` the least and the largest k for which a loss times 2^k loses no
        layer; or None.
    indistinguishable: for each of `FORMATS` as coarse as the states or coarser, but for those of 8
        bits, the layer from which up what differs between examples is rounding, not input; or None.
        Empty unless the flow was measured with examples=True and has several.
    equal_positions: the layer from which up all positions (tokens, pixels) of an example are equal.
    out: the first layer whose state is not a finite number; or None.
    has_grown: whether what enters that layer, or its parameters, are so large that it may overflow.
    findings: all that stands out, the worst first, each with its layer and parameter array.
    activation, hidden: of a Network; None for others, and what follows is nan or None too. Lists
        where the layers that are used differ; what is said of σ_w at χ = 1 is then None.
    saturated, dead: fractions of the hidden units, as in `Units`.
    all_dead: the highest hidden layer whose units are all dead; or None.
    sigma_w: the effective σ_w of the weights, √((q[l+1] - σ_b²) / E[a[l]²]), geometric mean; nan
        where the blocks are neither the article's nor that behind a norm.
    sigma_w_error: its standard error over the layers.
    sigma_b: the root mean square of the hidden biases.
    critical_sigma_w: the σ_w at which χ = 1 for this σ and σ_b; None if there is none, or where the
        blocks are not the article's.
    unbiased_sigma_w: the σ_w at which χ = 1 for this σ and σ_b = 0; None likewise.
    broken: the first of xs, ys, cotangent, loss and parameters that is no finite number, or whose
        square is none; or "".
    unmeasured: the number of the lowest layers whose Δ was not measured.
    unreached: the paths of the weights whose Δ is exactly zero, and "inputs" if that of them is.
    to_try: how cures are tried on this network.
    notes: sentences on how the flow was measured.
    """

    decades: float
    standard_error: float
    total: float
    repeated: float
    law: Law | None
    step: bool
    names: tuple[str, ...]
    outliers: tuple[Change, ...]
    others: tuple[Change, ...]
    zero: int | None
    undefined: int | None
    lost: dict[str, int | None]
    scales: dict[str, tuple[int, int] | None]
    indistinguishable: dict[str, int | None]
    equal_positions: int | None
    findings: tuple[Finding, ...] = ()
    unmeasured: int = 0
    unreached: tuple[str, ...] = ()
    to_try: str = TRY
    notes: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        return findings_as_html([*self.sentences, *self.closing])

    def __str__(self) -> str:
        return "\n".join((*self.sentences, *self.closing))

    @property
    def closing(self) -> tuple[str, ...]:
        """Last lines: remedies with their rate in theory, and the call that measures cures."""
        return (*map(str, self.remedies), *((self.to_try,) if self.can_be_cured else ()))

    @property
    def can_be_cured(self) -> bool:
        """True if there is something to try: the network is ill, or not finite by itself."""
        ill = self.ill or self.out is not None or self.undefined is not None
        return ill and not self.broken

    @property
    def sentences(self) -> tuple[str, ...]:
        """The worst findings, one after the other, and the advice; the remedies are apart."""
        advice = (self.advice,) if self.advice else ()
        told = [finding.text for finding in self.findings][: MOST - len(advice)]
        closing = ("The size of the gradient needs no change.",) if self.well else ()
        return (*told, *(advice or closing), *self.notes)

    @property
    def well(self) -> bool:
        """True if no gradient is ill, zero or without a number, and nothing else stands out."""
        usual = all(f.kind in ("rate", "once") for f in self.findings) and not self.unmeasured
        steady = self.word == "steady" or (self.word == "unknown" and self.layers < 2)
        steady |= self.law is not None and not self.ill
        return usual and steady and not self.unreached and not abs(self.rest) >= MOST_ONCE

    @property
    def once(self) -> tuple[Change, ...]:
        """Those of `others` that change the gradient by ten or more."""
        return tuple(change for change in self.others if abs(change.decades) >= DECADES)

    @property
    def rest(self) -> float:
        """The decades of `others` together."""
        return sum((change.decades for change in self.others), 0.0)

    def label(self, layer: int) -> str:
        """Return a layer in words."""
        return label(layer, self.names[layer - 1])

    @property
    def rate_text(self) -> str:
        """The word, the rate, and what the whole network does to the gradient."""
        kind = "step" if self.step else "layer"
        counted = kind if self.activation is None else f"hidden {kind}"
        if self.layers < 2:
            there = "there is one" if self.layers else "there are none"
            large = abs(self.total) >= DECADES
            whole = f"; {self.total:+.3g} decades over the whole network" if large else ""
            measured = " whose Δ was measured" if self.unmeasured else ""
            return f"No rate: it takes two {counted}s{measured}, and {there}{whole}."
        if self.word == "unknown":
            return f"No rate: it takes two {counted}s with a gradient that is a number."
        if self.activation is not None or not self.others:
            of = f"over all {self.layers} {counted}s"
        elif self.layers == len(self.names):
            of = f"over all {counted}s but {('one', 'two')[len(self.others) - 1]}"
        else:
            of = f"over the {self.layers} {counted}s that repeat"
        over = f"{of}{self._whole_text}"
        if self.law is not None:
            way = "grows" if self.law.constant > 0 else "falls"
            return (
                f"{self.word.capitalize()}, no exponential: towards the input the gradient {way} "
                f"like {_formula(self.law)}, {self.repeated:+.3g} decades {over}."
            )
        if self.is_short:
            part = 10 ** -abs(self.repeated)
            first, other = ("first", "last") if self.repeated < 0 else ("last", "first")
            return (
                f"Too few {counted}s for a rate: {self.repeated:+.3g} decades {over}. The {first} "
                f"gets {part:.2g} of the gradient of the {other}; Adam's step sizes make up for it."
            )
        error = "" if np.isnan(self.standard_error) else f" ± {self.standard_error:.1g}"
        rate = f"{self.decades:+.3g}{error} decades a {kind}"
        if self.word == ERRATIC:
            count = sum(abs(c.decades) >= DECADES for c in (*self.outliers, *self.others))
            most = {1: "one", 2: "two"}.get(count, "a few")
            return (
                f"Erratic, {self.total:+.3g} decades over the whole network, most of it by {most}; "
                f"the others change the gradient by {rate} towards the input."
            )
        return f"{self.word.capitalize()}, {rate} towards the input, {self.repeated:+.3g} {over}."

    @property
    def _whole_text(self) -> str:
        """The change over the whole network and what the rest has in it; empty if that is little.

        Little is a factor of two, or a tenth of what the layers that repeat do.
        """
        rest = self.rest
        if abs(rest) < max(SPOKEN, SMALL_PART * abs(np.nan_to_num(self.repeated))):
            return ""
        most = max(self.others, key=lambda change: change.decades * np.sign(rest))
        at = f"at layer {self.label(most.layer)}"
        where = at if len(self.others) == 1 else f"most {at}, {most.decades:+.2g}"
        return f", {self.total:+.3g} over the whole network; the rest adds {rest:+.2g}, {where}"


def verdict(flow: Flow, formats: str | tuple[str, ...] = ()) -> Verdict:
    """Judge the gradient of one network: its rate, where it is lost, and what to change.

    Args:
        flow: of `jaxnn.gradient_flow`, of one network, and with known values (outside `jit`).
        formats: number formats to speak of in any case, such as "float8_e4m3fn". Without them it is
            that of the flow, and float32, bfloat16 and float16 where scaling the loss is no help.

    Returns:
        Verdict; `print` it to read it in sentences.

    Raises:
        TypeError: a traced flow, or one of several networks.
        ValueError: an unknown format.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(64, *[64] * 100, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), stacked=True)
        >>> flow = jax.jit(jaxnn.gradient_flow)(net, params, jnp.ones((2, 64)), jnp.array([0, 1]))
        >>> print(verdict(flow))  # doctest: +ELLIPSIS
        Vanishing, -0.6... ± 0.00... decades a layer towards the input, -6... over all 100 ...

    Source: the formats' ranges are those of IEEE 754, bfloat16 and OCP's 8-bit floats.
    """
    assert_one(flow)
    formats = (formats,) if isinstance(formats, str) else formats
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"formats: expected some of {', '.join(FORMATS)}, got {name!r}")
    log_delta, log_largest = (np.asarray(v, np.float64) for v in (flow.log_delta, flow.log_largest))
    out, used = _out(flow), _used(flow)
    judged = used if flow.net is None else used[:-1]
    rate = rate_of(flow, used)
    log_spread = np.asarray(flow.log_spread if known_apart(flow) else (), np.float64)
    undefined = not_finite(used, log_largest[used])
    first_out = int(used[np.argmax(out[used])]) + 1 if out[used].any() else None
    origin = origin_of(flow, first_out, undefined)
    found = Verdict(
        word="unknown" if first_out or origin.name not in ("", "loss") else rate.word,
        decades=rate.decades,
        standard_error=rate.error,
        total=rate.total,
        repeated=rate.repeated,
        law=rate.law,
        layers=rate.layers,
        step=flow.parameters.tied,
        names=cleaned(flow.names),
        outliers=rate.outliers,
        others=rate.others,
        zero=highest(used, np.isneginf(log_delta[used])),
        undefined=undefined,
        lost={name: lost_in(name, used, log_largest[used]) for name in FORMATS},
        scales={name: loss_scales(name, log_largest[used]) for name in FORMATS},
        indistinguishable={
            name: indistinguishable_in(name, used, log_spread)
            for name in FORMATS
            if len(log_spread) and tells_apart(name, flow.dtype)
        },
        equal_positions=equal_positions(flow),
        out=first_out,
        broken=origin.name,
        has_grown=not origin.name and first_out is not None and has_grown(flow, first_out),
        unmeasured=flow.unmeasured,
        unreached=unreached(flow),
        to_try=TRY_TORCH if flow.is_of_torch else TRY,
        notes=flow.notes,
        **({} if flow.net is None else of_network(flow, judged)),
    )
    findings = _findings(found, flow, rate, used, formats, origin.findings)
    object.__setattr__(found, "findings", tuple(origin.findings if origin.is_data else findings))
    return found


def _formula(law: Law) -> str:
    """Return what a gradient follows, as a function of depth, with the error of its constant."""
    digits = min(max(1 - math.floor(math.log10(law.error)), 1), 3) if law.error > 0 else 3
    constant = f"({law.constant:.{digits}f} ± {law.error:.{digits}f})"
    depth = f"(depth + {law.offset:.0f})" if law.offset else "depth"
    if law.word == STRETCHED:
        return f"e^({constant} √{depth})"
    return f"({depth} / {law.offset + 1:.0f})^{constant}" if law.offset else f"depth^{constant}"


def decades_of(flow: Flow) -> float:
    """Return the rate of a verdict alone, in decades a layer; nan where there is none."""
    return float(rate_of(flow, _used(flow)).decades)


def _out(flow: Flow) -> np.ndarray:
    """Return of each layer whether its signal is no finite number."""
    return np.asarray(~(np.asarray(flow.log_mean_square, np.float64) < np.inf))  # nan too


def _used(flow: Flow) -> np.ndarray:
    """Return the layers that are judged, counted from 0."""
    out = _out(flow)
    if flow.units is not None and not out[-1]:  # else a layer whose biases are nan counts too
        return np.flatnonzero(~np.isnan(flow.units.mean_square_b))  # what `depth` leaves out is nan
    return np.arange(flow.unmeasured, len(out))


def _findings(
    found: Verdict,
    flow: Flow,
    rate: Rate,
    used: np.ndarray,
    formats: tuple[str, ...],
    broken_first: tuple[Finding, ...],
) -> list[Finding]:
    """Return all that stands out, the worst first."""
    arrays = Arrays.of(flow)
    broken = found.out is not None or found.undefined is not None
    worst = [*broken_first]
    if found.out is not None:
        text = f"From layer {found.label(found.out)} up the signal is not a finite number."
        worst.append(Finding("signal", text, found.out))
    if found.zero is not None:
        above = used[used >= found.zero]  # counted from 0: the layers above it
        worst.append(cut_at(flow, arrays, found.zero, int(above[0]) + 1 if len(above) else None))
    if found.undefined is not None and found.broken != "loss":
        text = (
            f"From layer {found.label(found.undefined)} down Δ is not a finite number, whatever "
            "the format."
        )
        worst.append(Finding("undefined", text, found.undefined))
    if found.word != "unknown" or not worst:
        worst.append(Finding("rate", " ".join([found.rate_text, *_main_text(flow)])))
    if flow.closed is not None:
        worst.append(_closed_finding(found, flow.closed))
    layers = steps_out(flow, arrays, rate.outliers, once=False)
    named = {f.layer for f in layers if f.path and f.layer}
    own = tuple(dict.fromkeys((np.dtype(flow.dtype).name, *formats)))
    # What comes out of zero weights is alike anyway, and what is no number is neither.
    zero = [f.layer for f in worst if f.kind == "zero weights"]
    known = found.indistinguishable if found.out is None else {}
    alike = {n: i for n, i in known.items() if i not in zero}
    texts = (
        ("theory", "" if broken else theory_text(flow, found.label)),
        ("examples", examples_in_words(alike, own, found.label, len(used))),
        ("positions", _positions_text(found)),
        ("format", _format_text(found, flow, used, own)),
        ("entries", _entries_text(found, flow, own)),
    )
    behind = {} if worst[0].kind != "rate" or found.equal_positions else far_behind(arrays)
    attention, behind = saturated_attention(flow, arrays, behind)
    routers, behind = failing_routers(flow, arrays, behind)
    before = unseen(flow, arrays)
    return [
        *(worst + before if broken or broken_first else before + worst),
        *layers,
        *attention,
        *routers,
        *(Finding(kind, text) for kind, text in texts if text),
        *([] if broken else alike_where_read(flow) + lone_position(flow)),
        *starved(flow, arrays, behind),
        *([] if broken else other_sizes(flow, arrays, named)),
        *steps_out(flow, arrays, found.once, once=True),
        *([Finding("units", found.units_text)] if found.units_text else []),
    ]


def _main_text(flow: Flow) -> list[str]:
    """Say of which array the rate is, where some states have several."""
    if flow.streams is None:
        return []
    most = max(Counter(flow.streams.layers).values())
    return [
        "That is the rate of the main array of each state, the one that enters the next product; "
        f"states have up to {most} arrays (flow.streams)."
    ]


def _closed_finding(found: Verdict, closed: Closed) -> Finding:
    text = (
        f"Layer {found.label(closed.layer)} holds most of the products, {closed.products} in one "
        f"loop or call that is not taken apart: {closed.way_out}."
    )
    return Finding("closed", text, closed.layer)


def _positions_text(found: Verdict) -> str:
    layer = found.equal_positions
    if layer is None:
        return ""
    name = found.label(layer)
    return f"From layer {name} up all positions of an example are equal, but for rounding."


def _format_text(found: Verdict, flow: Flow, used: np.ndarray, own: tuple[str, ...]) -> str:
    spoken = spoken_of(flow.dtype, own)
    lost = {name: found.lost[name] for name in spoken}
    largest = np.asarray(flow.log_largest, np.float64)

    def above(layer: int) -> str:
        higher = used[used >= layer]
        return f"below layer {found.label(int(higher[0]) + 1)}" if len(higher) else "in every layer"

    texts = []
    for small in (True, False):
        these: dict[str, int | None] = {
            name: layer
            for name, layer in lost.items()
            if layer is not None and (largest[layer - 1] < range_of(name)[0]) == small
        }
        texts.append(loss_in_words(these, found.scales, small, own, above))
    return " ".join(filter(None, texts))


def _entries_text(found: Verdict, flow: Flow, own: tuple[str, ...]) -> str:
    """Say in which layer a 16-bit format, or one that is used, makes most entries zero."""
    if flow.entries is None:
        return ""
    texts, spoken, deltas = [], spoken_of(flow.dtype, own), Histogram(flow.entries.delta)
    for kind in (kind for kind in NARROW if kind.name in spoken):
        scale = loss_scale(kind, [deltas]).best
        kept = deltas.kept(kind, scale)
        zero = np.where(deltas.full, kept.zero, 0)
        worst = int(np.argmax(zero))
        if zero[worst] >= MANY_ZERO:
            of_square = max(kept.zero_square[worst], np.finfo(float).tiny)  # none of them was zero
            texts.append(
                f"In {kind.name} {percent(zero[worst])} of the entries of Δ become zero in layer "
                f"{found.label(worst + 1)}, {percent(of_square)} of its square norm, also with the "
                f"loss multiplied by 2^{scale}."
            )
    return " ".join(texts)


def known_apart(flow: Flow) -> bool:
    """Tell whether a flow says what is left of its examples."""
    return flow.log_spread is not None and flow.log_delta_example.shape[1] > 1
