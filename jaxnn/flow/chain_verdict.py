"""Verdict on a chain: which layers lose the gradient, and which the examples."""

from dataclasses import dataclass

import numpy as np

from ..texts import cleaned
from .chain import ChainFlow
from .formats import (
    FORMATS,
    examples_in_words,
    highest,
    indistinguishable_in,
    loss_in_words,
    lost_in,
    not_finite,
    rate_of,
    tells_apart,
    word_of,
)
from .table import sentences_as_html


@dataclass(frozen=True)
class ChainVerdict:
    """The verdict on the flow of a chain; `str` returns it in sentences.

    word: vanishing, exploding or steady; not distinguishable from steady where the rate is below
        two of its standard errors; unknown without two layers whose gradients are neither zero nor
        infinite.
    decades: the rate, in decades per layer towards the input, below 0 if gradients vanish.
    standard_error: of the rate; nan for a single factor.
    steepest: the layer that changes the size of the gradient most, from what it returns to what
        goes into it, and by how many decades; None where nothing is known.
    zero: the layer from which down Δ is exactly zero; or None.
    undefined: the layer from which down Δ is not a finite number, whatever the format; or None.
    lost: for each of `FORMATS` the layer from which down plain backpropagation in that format has
        no number for Δ, its largest entry being outside the normal numbers; or None.
    indistinguishable: for each of `FORMATS` as coarse as the states or coarser, but those of 8
        bits, the layer from which up what differs between examples is rounding, not input; or None.
        Empty for a single example.
    names: of the layers.
    """

    word: str
    decades: float
    standard_error: float
    steepest: tuple[int, float] | None
    zero: int | None
    undefined: int | None
    lost: dict[str, int | None]
    indistinguishable: dict[str, int | None]
    names: tuple[str, ...]

    def _repr_html_(self) -> str:
        return sentences_as_html(str(self))

    def __str__(self) -> str:
        return " ".join(self.sentences)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict, one finding after the other."""
        return tuple(filter(None, (self.rate_text, self.turn, self.loss_text, self.examples)))

    def _name(self, layer: int | None) -> str | None:
        """The name of a layer that is counted from 1."""
        return None if layer is None else self.names[layer - 1]

    @property
    def rate_text(self) -> str:
        """The word and the rate."""
        if len(self.names) < 2:
            return "No rate: it takes two layers, and there is one."
        if self.word == "unknown":
            return "No rate: it takes two layers with a gradient that is a number."
        error = "" if np.isnan(self.standard_error) else f" ± {self.standard_error:.1g}"
        return (
            f"{self.word.capitalize()}, {self.decades:+.3g}{error} decades a layer towards the "
            f"input, over {len(self.names)} layers."
        )

    @property
    def turn(self) -> str:
        """The layer that changes the gradient most, if one stands out."""
        if self.steepest is None:
            return ""
        layer, decades = self.steepest
        return f"Layer {self._name(layer)} changes it most, by {decades:+.2g} decades."

    @property
    def loss_text(self) -> str:
        """The layers in which the gradient is zero or lost."""
        lost = {name: self._name(layer) for name, layer in self.lost.items()}
        return loss_in_words("Δ", lost, self._name(self.zero), self._name(self.undefined))

    @property
    def examples(self) -> str:
        """The layers in which examples are no longer told apart, and which loss comes first."""
        names = self.names
        return examples_in_words(
            self.indistinguishable, self.lost, lambda layer: names[layer - 1], len(names)
        )


def verdict_of_chain(flow: ChainFlow) -> ChainVerdict:
    """Judge the flow of a chain; see `jaxnn.verdict`."""
    log_delta, gain, log_largest, log_spread = (
        np.asarray(v, np.float64)
        for v in (flow.log_delta, flow.gain, flow.log_largest, flow.log_spread)
    )
    rate, error = rate_of(gain[:-1])
    used = np.arange(len(log_delta))
    several = flow.log_delta_example.shape[1] > 1
    judged = [name for name in FORMATS if several and tells_apart(name, flow.dtype)]
    return ChainVerdict(
        word=word_of(rate, len(log_delta), error),
        decades=rate,
        standard_error=error,
        steepest=_steepest(gain / np.log(10)),
        zero=highest(used, np.isneginf(log_delta)),
        undefined=not_finite(used, log_largest),
        lost={name: lost_in(name, used, log_largest) for name in FORMATS},
        indistinguishable={name: indistinguishable_in(name, used, log_spread) for name in judged},
        names=cleaned(flow.names),
    )


def _steepest(decades: np.ndarray) -> tuple[int, float] | None:
    """Return the layer that changes Δ most, and by how much, if it stands out from the others."""
    finite = np.flatnonzero(np.isfinite(decades))
    if len(finite) < 3:
        return None
    off = np.abs(decades[finite] - np.median(decades[finite]))
    most = np.argmax(np.abs(decades[finite]))  # not what is farthest from the others: that may be 1
    if off[most] < max(0.5, 6 * np.median(off)):
        return None
    place = finite[most]
    # gain[l] is the effect of the layer above state l.
    return int(place) + 2, float(decades[place])
