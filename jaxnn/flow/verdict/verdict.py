"""Verdict: a flow in words: vanishing, exploding or steady, what stands out, and what to change.

flow -> Judged, facts -> FINDINGS, rules -> Verdict: at most five sentences, the worst first
"""

from dataclasses import dataclass
from functools import cached_property

import jax

from ...evidence.evidence import Evidence
from ...rules import Found
from ..formats.ranges import FORMATS
from ..record.flow import Flow
from ..view.table import assert_one, findings_as_html
from .findings import FINDINGS, is_usual
from .judged import Judged
from .network_advice import NetworkRemedy
from .rate_text import rate_text
from .rates import DECADES, MOST_ONCE, Rate, rate_of
from .through_time import TimeChange
from .unseen_findings import time_text

MOST = 5  # sentences
TRY = "To see what would help, print jaxnn.cures(model, xs, …)."


@dataclass(frozen=True, eq=False, repr=False)
class Verdict(Judged, Rate):
    """The verdict on a flow; `str` returns it in sentences. Layers are counted from 1.

    word: vanishing or exploding: the rate is more than two of its standard errors from zero, and
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
    layers: the number of layers, or of steps, that the rate is over.
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
    broken: the first of xs, ys, cotangent, loss and parameters that is no finite number, or whose
        square is none; or "".
    ill: whether it is vanishing, exploding or erratic, or a law of depth makes a thousand.
    network: of a Network its units and weights, and what to change in them; None for others.
    unreached: the paths of the weights whose Δ is exactly zero, and "inputs" if that of them is.
    """

    @property
    def through_time(self) -> TimeChange | None:
        """The change through time, if it is worse than what the layers do, and the rate is its."""
        return self.time if self.time and self.time.over(self.rate) is not self.rate else None

    @property
    def step(self) -> bool:
        """True if the layers share their parameters, as the steps of a recurrent network."""
        return self.flow.parameters.tied or self.through_time is not None

    @property
    def inside(self) -> str | None:
        """The recurrent module of PyTorch whose steps the rate is over; None if of layers."""
        return self.through_time.module if self.through_time else None

    @cached_property
    def rate_text(self) -> str:
        """The word, the rate, and what the network does to the gradient, or why there is none."""
        return time_text(self.through_time) if self.through_time else rate_text(self)

    @cached_property
    def findings(self) -> tuple[Found, ...]:
        """All that stands out, the worst first, each with its rule, layer and parameter array."""
        return tuple(FINDINGS.found(self))

    @property
    def unmeasured(self) -> int:
        """The number of the lowest layers whose Δ was not measured."""
        return self.flow.unmeasured

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on how the flow was measured."""
        return self.flow.notes

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return findings_as_html([*self.sentences, *self.closing])

    def __str__(self) -> str:
        return "\n".join((*self.sentences, *self.closing))

    @property
    def closing(self) -> tuple[str, ...]:
        """Last lines: remedies with their rate in theory, and the call that measures cures."""
        return (*map(str, self.remedies), *((TRY,) if self.can_be_cured else ()))

    @property
    def can_be_cured(self) -> bool:
        """True if there is something to try: the network is ill, or not finite by itself."""
        ill = self.ill or self.out is not None or self.undefined is not None
        return ill and not self.broken

    @property
    def sentences(self) -> tuple[str, ...]:
        """The worst findings, one after the other, and the advice; the remedies are apart."""
        closing = "The size of the gradient needs no change." if self.well else ""
        return (*map(str, self.told), *filter(None, (self.advice or closing,)), *self.notes)

    @property
    def told(self) -> tuple[Found, ...]:
        """The findings that are among the sentences."""
        return self.findings[: MOST - bool(self.advice)]

    @property
    def advice(self) -> str:
        """The change to make, if any: that of the worst finding with one, or of the network."""
        of_network = self.network.advice if self.network and not self.broken else ""
        return next((found.advice for found in self.findings if found.advice), of_network)

    @property
    def remedies(self) -> tuple[NetworkRemedy, ...]:
        """Other Networks that would keep the gradient where this one loses it, the best first."""
        return self.network.remedies if self.network else ()

    @property
    def well(self) -> bool:
        """True if no gradient is ill, zero or without a number, and nothing else stands out.

        Nothing is known of a network most of which is not measured.
        """
        usual = all(map(is_usual, self.findings))
        steady = self.word == "steady" and not abs(self.repeated) > DECADES
        steady |= self.word == "unknown" and self.layers < 2
        steady |= self.law is not None and not self.ill
        rest = sum(change.decades for change in self.others)
        missing = self.unmeasured or self.unreached or any(v.rule == "cuts" for v in self.findings)
        return usual and steady and not missing and not abs(rest) >= MOST_ONCE


def verdict(
    flow: Flow, formats: str | tuple[str, ...] = (), evidence: Evidence | None = None
) -> Verdict:
    """Judge the gradient of one network: its rate, where it is lost, and what to change.

    Args:
        flow: of `jaxnn.gradient_flow`, of one network, and with known values (outside `jit`).
        formats: number formats to speak of in any case, such as "float8_e4m3fn". Without them it is
            that of the flow, and float32, bfloat16 and float16 where scaling the loss is no help.
        evidence: `.evidence` of a `jaxnn.diagnose`, about data, loss and weights; without it only
            the flow is judged.

    Returns:
        Verdict; `print` it to read it in sentences.

    Raises:
        TypeError: a traced flow, or one of several networks.
        ValueError: an unknown format.

    Example:
        >>> import jax, jax.numpy as jnp, jaxnn
        >>> net = jaxnn.Network(sizes=(64, *[64] * 100, 1), activation="sigmoid", task="binary")
        >>> params = jaxnn.init(net, jax.random.key(0), stacked=True)
        >>> flow = jax.jit(jaxnn.gradient_flow)((net, params), jnp.ones((2, 64)), jnp.array([0, 1]))
        >>> print(verdict(flow))  # doctest: +ELLIPSIS
        Vanishing, -0.6... ± 0.00... decades a layer towards the input, -6... over all 100 ...

    Source: the formats' ranges are those of IEEE 754, bfloat16 and OCP's 8-bit floats.
    """
    assert_one(flow)
    formats = (formats,) if isinstance(formats, str) else formats
    for name in formats:
        if name not in FORMATS:
            raise ValueError(f"formats: expected some of {', '.join(FORMATS)}, got {name!r}")
    judged = Judged(jax.device_get(flow), formats, evidence or Evidence())  # rules compile nothing
    rate = judged.rate if judged.time is None else judged.time.over(judged.rate)
    return Verdict(**vars(rate), flow=judged.flow, asked=formats, evidence=judged.evidence)


def decades_of(flow: Flow) -> float:
    """Return the rate of a verdict alone, in decades a layer; nan where there is none."""
    return rate_of(flow, Judged(flow).used).decades  # whatever else is known of it
