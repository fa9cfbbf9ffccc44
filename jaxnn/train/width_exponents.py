"""Coordinate check in numbers and words: the power of width with which each size goes.

ln size[l] = exponent · ln width + constant     a line through all widths and seeds
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ..flow.view.chart import with_picture
from ..texts import clean, counted, label
from .width_chart import width_chart

LN10 = float(np.log(10))
FEWEST = 3  # widths
LIMIT = 0.25  # exponents come in halves: what is nearer to 0 than to ½ is taken for 0
CLEAR = 3  # standard errors
DEPARTS = 0.1  # of an exponent from that of other arrays
MOST = 3  # layers that a sentence names

MAXIMAL = (
    "Under maximal-update parametrisation nothing grows: draw the output's weights of variance "
    "1/width²; with Adam, divide the step size by the width where a weight's fan-in is the width; "
    "with SGD, multiply it by the width for the input's weights and all biases, and divide it by "
    "the width for the output's weights; divide the logits of attention by a head's size, not by "
    "its root."
)

STANDARD = f"So it is under standard parametrisation, with one step size. {MAXIMAL}"
VERDICTS = {  # kinds, each a word and where it holds, and their sentences
    "unclear, one shape": "Unclear: every parameter array has the same shape at all widths, from "
    "{first} to {last}; let build(width, seed) use the width.",
    "steady": "Steady: no state {after}, and nothing that a step changes in one, depends on the "
    "width, from {first} to {last}. So it is under maximal-update parametrisation, where a step "
    "size that is good at one width is good at all.",
    "falling": "Falling with width: what a step changes goes as width to the power of {falling}. "
    "The wider the network, the less it learns there; so it is with a step size that falls with "
    "the width in all arrays alike.",
    "unclear, one departs": "Unclear: no state {after}, and nothing that a step changes in one, "
    "depends clearly on the width, but not all arrays go with it as those like them.",
    "unclear, no change": "Unclear: the steps change nothing; look at the optimiser.",
    "unclear": "Unclear: what a step changes has the exponent {unclear}; more widths or seeds "
    "tell.",
    "growing, out of range": "Growing with width: at {out} numbers leave the range of {dtype} "
    "{after}, and at smaller widths they do not.",
    "growing, at the start": "Growing with width: the state of layer {layer} goes as width to "
    "the power of {start} before the first step{above}. Multiply its weights by {power}.",
    "growing": "Growing with width: what a step changes in layer {layer} goes as width to the "
    "power of {change}{above}.",
}


class Exponent(NamedTuple):
    """The power of width with which a number goes, and its standard error; nan if not known."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} ± {self.error:.2f}" if self.value == self.value else "not known"

    @property
    def word(self) -> str:
        """Growing, falling, steady, or unclear, where the limit is within an error."""
        size = abs(self.value)
        if size - self.error > LIMIT and size >= CLEAR * self.error:
            return "growing" if self.value > 0 else "falling"
        return "steady" if size + self.error <= LIMIT else "unclear"


class Departure(NamedTuple):
    """A parameter array whose change goes with another power of width than that of others like it.

    path: in the pytree of the network.
    change: the exponent of its change.
    usual: the median of those of the others.
    others: their number.
    """

    path: str
    change: Exponent
    usual: Exponent
    others: int

    def __str__(self) -> str:
        those = f"{self.others} others like it" if self.others > 1 else "the other one like it"
        return (
            f"{clean(self.path)} departs: what a step changes in it goes as width to the power of "
            f"{self.change}, in {those} as {self.usual}. If they are to learn alike, multiply its "
            f"step size by width^{self.usual.value - self.change.value:.2f}."
        )


@dataclass(frozen=True, repr=False)
class WidthCheck:
    """Sizes of states and of their changes at several widths; `print` it to read it.

    widths: the widths W, from the smallest.
    steps: k, of the training.
    names: of the layers.
    paths: of the parameter arrays, in the pytree of the network.
    shapes: theirs at each width, (P, W).
    dtype: of the record.
    log_size: ln of the root mean square of the state of each layer after 0 … k steps, of each width
        and seed, (W, seeds, k + 1, L).
    log_change: likewise of what the last step has changed in the state; -inf if nothing, as before
        the first step.
    log_update: likewise of what it has changed in each parameter array, (W, seeds, k + 1, P).
    """

    widths: tuple[int, ...]
    steps: int
    names: tuple[str, ...]
    paths: tuple[str, ...]
    shapes: tuple[tuple[tuple[int, ...], ...], ...]
    dtype: str
    log_size: Float[np.ndarray, "W S T L"]
    log_change: Float[np.ndarray, "W S T L"]
    log_update: Float[np.ndarray, "W S T P"]

    def table(self) -> list[dict[str, Any]]:
        """Return a row for each layer: layer, name, exponents with their errors, and a word.

        start is the exponent of the state's size before the first step, size that after the last,
        change that of what a step changes in it, in the root mean square over steps. The word is
        growing, falling, steady or unclear, of the change, or of the start if that grows; "" of a
        state that nothing changes.
        """
        return [
            {"layer": number, "name": name}
            | {
                column: number
                for quantity, exponent in zip(("start", "size", "change"), exponents, strict=True)
                for column, number in zip((quantity, f"{quantity}_error"), exponent, strict=True)
            }
            | {"word": word}
            for number, name, exponents, word in zip(
                range(1, len(self.names) + 1), self.names, self._exponents, self._words, strict=True
            )
        ]

    def parameter_table(self) -> list[dict[str, Any]]:
        """Return a row for each parameter array: path, and the exponent of its change with error.

        The change is what a step changes in it, in the root mean square over entries and steps.
        """
        return [
            {"path": path, "change": value, "change_error": error}
            for path, (value, error) in zip(self.paths, self._updates, strict=True)
        ]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each width, seed, step and layer: log10_size and log10_change."""
        return [
            {"width": width, "seed": seed, "step": step, "layer": layer + 1, "name": name}
            | {
                "log10_size": float(self.log_size[w, seed, step, layer]) / LN10,
                "log10_change": float(self.log_change[w, seed, step, layer]) / LN10,
            }
            for w, width in enumerate(self.widths)
            for seed in range(self.log_size.shape[1])
            for step in range(self.steps + 1)
            for layer, name in enumerate(self.names)
        ]

    @property
    def word(self) -> str:
        """The verdict: steady, growing, falling, or unclear.

        steady: no size depends on the width, as under maximal-update parametrisation.
        growing: some layer grows, as under standard parametrisation, or leaves the dtype's range.
        falling: none grows, and some layer changes less and less, so that it stops learning.
        unclear: an exponent has too large an error or no number, or nothing changes, or no array
            has another shape at another width, or one departs from others like it.
        """
        return self._kind.partition(",")[0]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The verdict in words, with the layers that it is about."""
        return (self._first_sentence(), *self._other_sentences())

    def __repr__(self) -> str:
        return "\n".join(self.sentences)

    def _repr_html_(self) -> str:
        return with_picture(self.sentences, self.chart)

    def chart(self) -> Any:
        """Draw sizes and changes after the last step against width, a line for each layer.

        Returns:
            An Altair chart, as of `jaxnn.chart`.

        Raises:
            ImportError: Altair is not installed.
        """
        return width_chart(self.rows(), self.steps)

    # Exponents

    @cached_property
    def departures(self) -> tuple[Departure, ...]:
        """Arrays whose change goes with another power of width than that of others like them.

        Alike are those of which the same axes grow with the width: under any parametrisation each
        step changes them by one power of it. The change of an array departs if its exponent is off
        their median by .1 or more, and by three standard errors; of two that of the larger one.
        """
        alike: dict[tuple[bool, ...], list[int]] = {}
        for i, of_widths in enumerate(self.shapes):
            grows = tuple(len({*axis}) > 1 for axis in zip(*of_widths, strict=True))
            alike.setdefault(grows, []).append(i)
        departures = []
        for group in alike.values():
            known = [i for i in group if np.isfinite(self._updates[i].error)]
            for i in known:
                usual = sorted(self._updates[j] for j in known)[(len(known) - 1) // 2]
                off = abs(self._updates[i].value - usual.value)
                error = float(np.hypot(self._updates[i].error, usual.error))
                if off >= max(DEPARTS, CLEAR * error):
                    others = len(known) - 1
                    departures.append(Departure(self.paths[i], self._updates[i], usual, others))
        return tuple(departures)

    @cached_property
    def _updates(self) -> list[Exponent]:
        """The exponent of what a step changes in each parameter array."""
        logs = _mean_over_steps(self.log_update)
        return [self._exponent(logs[:, :, i]) for i in range(len(self.paths))]

    @property
    def _ignores_width(self) -> bool:
        return bool(self.shapes) and all(len({*of_widths}) == 1 for of_widths in self.shapes)

    @property
    def _ignores_seed(self) -> bool:
        return self.log_size.shape[1] > 1 and bool((self.log_size == self.log_size[:, :1]).all())

    @cached_property
    def _out_of_range(self) -> list[bool]:
        """A truth value for each width: some number of it is nan or infinite."""
        axes = (1, 2, 3)
        known = np.all(self.log_size < np.inf, axes) & np.all(self.log_change < np.inf, axes)
        return [not v for v in known]

    def _exponent(self, log: Float[np.ndarray, "W S"]) -> Exponent:
        """Return the slope of a line through the logarithms of all widths that are in range."""
        known = ~np.array(self._out_of_range)
        y = log[known]
        if len(y) < FEWEST or not np.isfinite(y).all():
            return Exponent(np.nan, np.nan)
        x = np.broadcast_to(np.log(np.array(self.widths)[known])[:, None], y.shape)
        off, square = x - x.mean(), np.sum((x - x.mean()) ** 2)
        slope = np.sum(off * y) / square
        rest = y - y.mean() - slope * off
        return Exponent(float(slope), float(np.sqrt(np.sum(rest**2) / (y.size - 2) / square)))

    @cached_property
    def _exponents(self) -> list[tuple[Exponent, Exponent, Exponent]]:
        """The exponents of start, size and change, a triple for each layer."""
        return [
            (
                self._exponent(self.log_size[:, :, 0, layer]),
                self._exponent(self.log_size[:, :, -1, layer]),
                self._exponent(_mean_over_steps(self.log_change)[:, :, layer]),
            )
            for layer in range(len(self.names))
        ]

    @cached_property
    def _words(self) -> list[str]:
        return [
            ""
            if np.isneginf(self.log_change[..., layer]).all()
            else start.word
            if start.word == "growing"
            else change.word
            for layer, (start, _, change) in enumerate(self._exponents)
        ]

    # Words

    @cached_property
    def _kind(self) -> str:
        """The kind of the verdict, as `VERDICTS` has them."""
        if self._ignores_width:
            return "unclear, one shape"
        words, out = {*self._words}, self._out_of_range
        if out == sorted(out) and any(out) and not out[0]:  # at the largest widths alone
            return "growing, out of range"
        if not any(out):
            if "growing" in words:
                lowest, *_ = self._exponents[self._words.index("growing")]
                return "growing, at the start" if lowest.word == "growing" else "growing"
            if "falling" in words:
                return "falling"
            if "unclear" not in words and words != {""} and not self.departures:
                return "steady"
        if "unclear" in words:
            return "unclear"
        return "unclear, one departs" if words != {""} else "unclear, no change"

    def _first_sentence(self) -> str:
        lowest = self._words.index("growing") if "growing" in self._words else 0
        start, _, change = self._exponents[lowest]
        count = self._words.count("growing")
        text = VERDICTS[self._kind].format(
            after=f"after {counted(self.steps, 'step')}",
            first=self.widths[0],
            last=self.widths[-1],
            falling=self._named("falling"),
            unclear=self._named("unclear"),
            out=self.widths[[*self._out_of_range, True].index(True) % len(self.widths)],
            dtype=self.dtype,
            layer=self._name(lowest),
            start=start,
            change=change,
            above=f", the lowest of {count} layers that grow" if count > 1 else "",
            power=f"width^{-start.value:.2f}",
        )
        # Departures say what to multiply.
        return f"{text} {STANDARD}" if self._kind == "growing" and not self.departures else text

    def _other_sentences(self) -> list[str]:
        told = []
        if self.word == "growing" and "falling" in self._words:
            falling = self._named("falling")
            told.append(f"Other layers change less with width, as width to the power of {falling}.")
        if not self._ignores_width:
            told += map(str, self.departures[:MOST])
        if self._ignores_seed:
            told.append(
                "All seeds give the same network, so that errors are too small; let build(width, "
                "seed) use the seed."
            )
        return told

    def _name(self, layer: int) -> str:
        return clean(label(layer + 1, self.names))

    def _named(self, word: str) -> str:
        """Return exponents of changes of layers of a word, with their names."""
        layers = [layer for layer, its_word in enumerate(self._words) if its_word == word]
        parts = [f"{self._exponents[i][2]} in layer {self._name(i)}" for i in layers[:MOST]]
        more = f" and {len(layers) - MOST} more" if len(layers) > MOST else ""
        return ", ".join(parts) + more


def _mean_over_steps(log: Float[np.ndarray, "W S T L"]) -> Float[np.ndarray, "W S L"]:
    """Return ln of the root mean square over all steps, from ln of that of each."""
    with np.errstate(invalid="ignore"):  # of numbers that are nan or infinite
        total = np.logaddexp.reduce(2 * log[:, :, 1:], axis=2)
    return np.asarray((total - np.log(log.shape[2] - 1)) / 2)
